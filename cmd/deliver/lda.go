package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// setting returns a Dovecot setting: -o on the command line wins.
func (c *call) setting(name string) string {
	for _, s := range c.set {
		if n, v, ok := strings.Cut(s, "="); ok && n == name {
			return v
		}
	}
	d, err := config.LoadDovecot(c.config)
	if err != nil {
		return ""
	}
	return d.Get(name)
}

// location finds the mailbox of dovecot-lda: mail_location's inbox, or the
// folder of -m if it is there; Dovecot, too, puts mail for a folder that does
// not exist into the inbox (lda_mailbox_autocreate=no).
func (c *call) location(who *proc.User) (path, box string, err error) {
	loc := expand(c.setting("mail_location"), who)
	if driver, _, _ := strings.Cut(loc, ":"); driver != "maildir" && driver != "mbox" {
		return "", "INBOX", nil // the spool
	}
	l, err := location.Parse(withInbox(loc, who.Name))
	if err != nil {
		return "", "", err
	}
	if c.folder == "" || strings.EqualFold(c.folder, "INBOX") {
		return l.Mailbox(), "INBOX", nil
	}
	s, err := location.OpenParsed(l, location.Options{})
	if err != nil {
		return "", "", err
	}
	defer s.Close()
	// Names come as people write them: with the separator of the mailbox.
	name := strings.ReplaceAll(c.folder, string(l.Separator()), "/")
	if path, ok := place(s, name); ok {
		return path, c.folder, nil
	}
	return l.Mailbox(), "INBOX", nil
}

// withInbox adds to an mbox location the inbox that it does not name: the spool.
func withInbox(loc, user string) string {
	if strings.HasPrefix(loc, "mbox:") && !strings.Contains(loc, ":INBOX=") {
		return loc + ":INBOX=" + filepath.Join("/var/mail", user)
	}
	return loc
}

// placer is a store that tells where the file or the Maildir of a folder is; "/"
// at the end of the path says which.
type placer interface {
	Path(name string) (string, error)
}

// place finds the mailbox of a folder that exists.
func place(s store.Store, name string) (path string, ok bool) {
	p, ok := s.(placer)
	if !ok {
		return "", false
	}
	path, err := p.Path(name)
	if err != nil {
		return "", false
	}
	if strings.HasSuffix(path, "/") {
		fi, err := os.Stat(path + "cur")
		return path, err == nil && fi.IsDir()
	}
	fi, err := os.Lstat(path)
	return path, err == nil && fi.Mode().IsRegular()
}

// expand replaces the variables of mail_location that say who the user is.
func expand(s string, who *proc.User) string {
	local, domain, _ := strings.Cut(who.Name, "@")
	s = strings.NewReplacer("%u", who.Name, "%n", local, "%d", domain, "%h", who.Home, "%{user}", who.Name, "%{home}", who.Home).Replace(s)
	return strings.ReplaceAll(s, "~/", who.Home+"/")
}

// logger opens the log as dovecot-lda does: -o log_path, else syslog.
func (c *call) logger() *maillog.Log {
	o := maillog.Options{Name: "dovecot", Bare: true}
	if path := c.setting("log_path"); path != "" && path != "syslog" {
		o.File = path
	}
	l, err := maillog.Open(o)
	if err != nil {
		return nil // a nil Log is silent: mail matters more
	}
	return l.Program("")
}

// log writes what became of the message, as lda does.
func (c *call) log(who *proc.User, box, msgid string, st *mail.Status) {
	session := rand.Text()[:16]
	if st.Outcome == mail.Sent {
		c.logger().LDASaved(who.Name, os.Getpid(), session, msgid, box)
		return
	}
	c.logger().LDAFailed(who.Name, os.Getpid(), session, msgid, box, st.Text)
}

func (c *call) logNoUser() { c.logger().LDANoUser(c.user, os.Getpid()) }
