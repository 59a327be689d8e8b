package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/deliver"
	"packetboat/internal/deliver/dovecot"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/store/location"
	"packetboat/internal/store/quota"
	"packetboat/internal/sys/config"
	doveconf "packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// ldaArgs is what dovecot-lda prints of its arguments.
const ldaArgs = `Usage: dovecot-lda [-c <config file>] [-d <username>] [-p <path>]
                   [-m <mailbox>] [-e] [-k] [-f <envelope sender>]
                   [-a <original envelope recipient>]
                   [-r <final envelope recipient>] `

// ldaUsage is the answer to a command line that cannot be read, in getopt's words.
func ldaUsage(argv0 string, err error) error {
	text := err.Error()
	if _, letter, ok := strings.Cut(text, "unknown shorthand flag: '"); ok {
		text = "invalid option -- '" + letter[:1] + "'"
	} else if strings.Contains(text, "flag needs an argument: '") {
		_, letter, _ := strings.Cut(text, "flag needs an argument: '")
		text = "option requires an argument -- '" + letter[:1] + "'"
	}
	return &failure{code: exUsage, text: argv0 + ": " + text + "\n" + ldaArgs, bare: true}
}

// lda is one run of dovecot-lda.
type lda struct {
	*call
	conf    *config.Dovecot
	who     *proc.User        // whom the process becomes
	name    string            // of the user
	fields  map[string]string // of the userdb
	session string
}

// ldaWords are the settings of the mail that refuses another one.
type ldaWords struct {
	Reason     string `dovecot:"rejection_reason"`
	Subject    string `dovecot:"rejection_subject"`
	Sendmail   string `dovecot:"sendmail_path"`
	Postmaster string `dovecot:"postmaster_address"`
	Host       string `dovecot:"hostname"`
}

// askTime bounds the question to the userdb.
const askTime = time.Minute

// runLDA is dovecot-lda: who is the user, becoming him, and the delivery.
func (c *call) runLDA(stdin io.Reader) error {
	l := &lda{call: c, session: rand.Text()[:16]}
	var err error
	if l.conf, err = c.dovecotConf(); err != nil {
		return err
	}
	if err := l.find(); err != nil {
		return err
	}
	if os.Geteuid() == 0 || os.Geteuid() != l.who.UID {
		group, err := proc.LookupGroup("mail")
		if _, system := l.fields["system_groups_user"]; err != nil || l.fields != nil && !system {
			group = 0
		}
		if err := proc.Become(l.who, group); err != nil {
			return &failure{code: exTempFail, text: err.Error(), hint: "run it as the user, or as root"}
		}
	}
	return l.deliver(stdin)
}

// dovecotConf reads dovecot.conf, with what -o says over it. Without a file of that
// name everything has its default: the program also works on a machine without mrad.
func (c *call) dovecotConf() (*config.Dovecot, error) {
	path := c.config
	if path == "" {
		path = config.DefaultDovecot
	}
	text := "!include_try " + path + "\n"
	if c.config != "" {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, &failure{code: exTempFail, text: fmt.Sprintf("lda(%d): Fatal: Error reading configuration: stat(%s) failed: No such file or directory", os.Getpid(), path), bare: true}
		}
	}
	for _, s := range c.set {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, &failure{code: exTempFail, text: fmt.Sprintf("lda(%d): Fatal: Error reading configuration: Invalid -o parameter %s: Missing '='", os.Getpid(), s), bare: true}
		}
		if _, known := doveconf.Lookup("", name); !known && !strings.HasPrefix(name, "plugin/") {
			continue // Dovecot, too, passes over what it does not know here
		}
		text += blocks(strings.Split(name, "/"), strings.NewReplacer("\n", " ", "\r", " ").Replace(value))
	}
	conf, err := config.ParseDovecot("-o", text)
	if err != nil {
		return nil, err
	}
	return conf.For(config.Context{Protocol: "lda"}), nil
}

// blocks writes "plugin/quota" = value as a file has it.
func blocks(name []string, value string) string {
	if len(name) == 1 {
		return name[0] + " = " + value + "\n"
	}
	return name[0] + " {\n" + blocks(name[1:], value) + "}\n"
}

// find says whose mail it is: what the userdb says of -d, else the account of that
// name, else the caller.
func (l *lda) find() error {
	if !l.named {
		u, err := proc.LookupUID(os.Geteuid())
		if err != nil {
			return fmt.Errorf("who runs this? uid %d: %w", os.Geteuid(), err)
		}
		l.who, l.name = u, u.Name
		return nil
	}
	l.name = l.user
	sock := l.conf.Get("auth_socket_path")
	if !filepath.IsAbs(sock) {
		sock = filepath.Join(l.conf.Get("base_dir"), sock)
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	name, f, _, err := wire.LookupUser(ctx, sock, l.user, "lda")
	switch {
	case errors.Is(err, wire.ErrNoUser):
		return l.noUser()
	case err == nil:
		l.name, l.fields = name, f
		return l.fromFields()
	case !noServer(sock):
		return &failure{code: exTempFail, text: "userdb lookup: " + err.Error(), hint: "see the log of the auth process"}
	}
	u, err := proc.LookupUser(l.user)
	if errors.Is(err, proc.ErrNoUser) {
		return l.noUser()
	}
	l.who = u
	return err
}

// noServer tells whether nobody has made the socket: there is no mrad here.
func noServer(sock string) bool {
	_, err := os.Stat(sock)
	return errors.Is(err, fs.ErrNotExist)
}

// fromFields takes the account that the userdb names.
func (l *lda) fromFields() error {
	uid, err1 := strconv.Atoi(l.fields["uid"])
	gid, err2 := strconv.Atoi(l.fields["gid"])
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("userdb of %s: %w", l.name, err)
	}
	l.who = &proc.User{Name: l.name, UID: uid, GID: gid, Home: l.fields["home"]}
	if system := l.fields["system_groups_user"]; system != "" {
		l.who.Name = system
	}
	return nil
}

// open opens the mail. A mail_location that is none of a file or a Maildir is the
// spool, as on a machine without a dovecot.conf.
func (l *lda) open() (*dovecot.User, error) {
	loc := l.expand(l.conf.Get("mail_location"))
	if v := l.fields["mail"]; v != "" && !l.sets("mail_location") {
		loc = v
	}
	if driver, _, _ := strings.Cut(loc, ":"); driver != "maildir" && driver != "mbox" {
		loc = "mbox:" + l.who.Home + "/mail:INBOX=" + filepath.Join("/var/mail", l.name)
	}
	if strings.HasPrefix(loc, "mbox:") && !strings.Contains(loc, ":INBOX=") && l.fields == nil {
		loc += ":INBOX=" + filepath.Join("/var/mail", l.name)
	}
	where, err := location.Parse(loc)
	if err != nil {
		return nil, err
	}
	var o dovecot.Options
	if err := l.conf.Decode(&o); err != nil {
		return nil, err
	}
	if o.Agent, err = l.options(); err != nil {
		return nil, err
	}
	o.Quota = l.quota()
	spaces, err := l.conf.Namespaces()
	if err != nil {
		return nil, err
	}
	for _, n := range spaces {
		if n.Inbox {
			o.Prefix = n.Prefix
			if n.Separator != "" {
				o.Separator = n.Separator[0]
			}
		}
	}
	return dovecot.Open(o, deliver.Account{User: l.name, UID: l.who.UID, Home: l.who.Home}, where), nil
}

func (l *lda) sets(name string) bool {
	for _, s := range l.set {
		if strings.HasPrefix(s, name+"=") {
			return true
		}
	}
	return false
}

// quota returns the settings of the quota, nil without the plugin.
func (l *lda) quota() quota.Settings {
	if !strings.Contains(" "+l.conf.Get("mail_plugins")+" ", " quota ") {
		return nil
	}
	s := quota.Settings{}
	for _, b := range l.conf.Merged().Blocks {
		for _, v := range b.Values {
			if b.Kind == "plugin" && quota.Reads(v.Name) {
				s[v.Name] = strings.ReplaceAll(l.expand(v.Value), "%%", "%")
			}
		}
	}
	for name, v := range l.fields {
		if quota.Reads(name) {
			s[name] = v
		}
	}
	return s
}

// expand replaces the variables that say who the user is.
func (l *lda) expand(s string) string {
	local, domain, _ := strings.Cut(l.name, "@")
	s = strings.NewReplacer("%%", "%%", "%u", l.name, "%n", local, "%d", domain, "%h", l.who.Home,
		"%{user}", l.name, "%{username}", local, "%{domain}", domain, "%{home}", l.who.Home).Replace(s)
	return strings.ReplaceAll(s, "~/", l.who.Home+"/")
}

// deliver delivers the message on standard input, or in the file of -p.
func (l *lda) deliver(stdin io.Reader) error {
	if l.path != "" {
		f, err := os.Open(l.path)
		if err != nil {
			return err
		}
		defer f.Close()
		stdin = f
	}
	u, err := l.open()
	if err != nil {
		return err
	}
	defer u.Close()
	spool := &lmtpd.Spool{}
	defer spool.Close()
	m, err := l.read(stdin, spool)
	if err != nil {
		return err
	}
	box, st := u.Save(l.folder, m, spool.Reader(), nil)
	msgid := deliver.MessageID(spool.Reader())
	if msgid == "" {
		msgid = "unspecified"
	}
	l.log(box, msgid, st)
	if st.Outcome == mail.Bounced && st.Code == "5.2.2" {
		return l.reject(m.Sender, msgid, st.Text, spool.Reader())
	}
	err = exit(st)
	if f := (*failure)(nil); errors.As(err, &f) {
		f.bare = true // it goes into a bounce
	}
	return err
}

// logger opens the log as dovecot-lda does: log_path, else syslog.
func (l *lda) logger() *maillog.Log { return openLog(l.conf.Get("log_path")) }

func openLog(path string) *maillog.Log {
	o := maillog.Options{Name: "dovecot", Bare: true}
	if path != "" && path != "syslog" {
		o.File = path
	}
	log, err := maillog.Open(o)
	if err != nil {
		return nil // a nil Log is silent: mail matters more
	}
	return log.Program("")
}

// log writes what became of the message, as lda does.
func (l *lda) log(box, msgid string, st *mail.Status) {
	if st.Outcome == mail.Sent {
		l.logger().LDASaved(l.name, os.Getpid(), l.session, msgid, box)
		return
	}
	l.logger().LDAFailed(l.name, os.Getpid(), l.session, msgid, box, st.Text)
}

func (l *lda) noUser() error {
	l.logger().LDANoUser(l.user, os.Getpid())
	return &failure{code: exNoUser, text: "no such user: " + l.user}
}
