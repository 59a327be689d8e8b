package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/store/mbox"
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
	driver, rest, _ := strings.Cut(loc, ":")
	parts := strings.Split(rest, ":")
	switch driver {
	case "maildir":
		return strings.TrimSuffix(parts[0], "/") + "/", "INBOX", nil
	case "mbox":
	default:
		return "", "INBOX", nil // the spool
	}
	o := mbox.Options{Folders: parts[0], Inbox: filepath.Join("/var/mail", who.Name)}
	for _, p := range parts[1:] {
		if v, ok := strings.CutPrefix(p, "INBOX="); ok {
			o.Inbox = v
		}
	}
	if c.folder == "" || strings.EqualFold(c.folder, "INBOX") {
		return o.Inbox, "INBOX", nil
	}
	s, err := mbox.Open(o)
	if err != nil {
		return "", "", err
	}
	defer s.Close()
	path, err = s.Path(c.folder)
	if fi, serr := os.Lstat(path); err != nil || serr != nil || !fi.Mode().IsRegular() {
		return o.Inbox, "INBOX", nil
	}
	return path, c.folder, nil
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
