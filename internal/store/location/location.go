// Package location reads Dovecot's mail_location and opens the store that it
// names. Every program that opens a user's mail does it here (mrad's mail
// processes, doveadm), so that a new kind of store is entered in one place.
package location

import (
	"fmt"
	"strings"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir"
	"packetboat/internal/store/mbox"
)

// Location is a mail_location whose variables and "~" are expanded.
type Location struct {
	Kind    string // "mbox" or "maildir"
	Inbox   string // path of the inbox
	Folders string // root of the other folders; empty = there are none
	Control string // CONTROL=, or for mbox INDEX= where that is missing; empty = the kind's default
	Index   string // INDEX= of a Maildir
	Tree    bool   // LAYOUT=fs of a Maildir
}

// Parse reads "KIND:/home/a/mail[:INBOX=/var/mail/a][:CONTROL=..][:INDEX=..][:LAYOUT=..]".
// Its error names what is not supported.
func Parse(s string) (Location, error) {
	var l Location
	kind, rest, _ := strings.Cut(s, ":")
	if kind != "mbox" && kind != "maildir" {
		return l, fmt.Errorf("mail driver %q is not supported: only mbox and maildir are", kind)
	}
	l.Kind = kind
	parts := strings.Split(rest, ":")
	l.Folders = parts[0]
	for _, p := range parts[1:] {
		if err := l.option(p); err != nil {
			return l, err
		}
	}
	if l.Inbox == "" && l.Folders != "" {
		l.Inbox = l.Folders
		if kind == "mbox" {
			l.Inbox += "/inbox" // MailLocation/Mbox of Dovecot
		}
	}
	if !strings.HasPrefix(l.Inbox, "/") || (l.Folders != "" && !strings.HasPrefix(l.Folders, "/")) {
		return l, fmt.Errorf("mail location is no absolute path")
	}
	return l, nil
}

// option reads one part behind the first.
func (l *Location) option(p string) error {
	key, value, _ := strings.Cut(p, "=")
	switch key {
	case "INBOX":
		l.Inbox = value
	case "CONTROL":
		l.Control = value
	case "INDEX":
		if l.Index = value; l.Kind == "mbox" && l.Control == "" && value != "MEMORY" {
			l.Control = value
		}
	case "LAYOUT":
		switch l.Tree = value == "fs"; {
		case l.Kind == "mbox" && value != "fs", l.Kind == "maildir" && value != "fs" && value != "maildir++":
			return fmt.Errorf("LAYOUT=%s is not supported for %s", value, l.Kind)
		}
	case "UTF-8", "DIRNAME", "SUBSCRIPTIONS", "ALT", "VOLATILEDIR", "LISTINDEX", "FULLDIRNAME", "MAILBOXDIR":
		return fmt.Errorf("mail location option %s is not supported", key)
	}
	return nil
}

// Mailbox returns the inbox as deliveries name it: a "/" at its end says that
// it is a Maildir (postconf(5) home_mailbox).
func (l Location) Mailbox() string {
	if l.Kind == "maildir" {
		return strings.TrimRight(l.Inbox, "/") + "/"
	}
	return l.Inbox
}

// Separator returns what stands between the levels of a folder's name where no
// namespace says otherwise.
func (l Location) Separator() byte {
	if l.Kind == "maildir" && !l.Tree {
		return '.'
	}
	return '/'
}

// Options are the settings of a store that do not stand in mail_location.
type Options struct {
	LockTimeout  time.Duration `dovecot:"mbox_lock_timeout"`           // 0 = 20 s
	DotlockStale time.Duration `dovecot:"mbox_dotlock_change_timeout"` // 0 = 500 s
}

// Open opens the store of a mail_location, as the user that the process runs as.
func Open(s string, o Options) (store.Store, error) {
	l, err := Parse(s)
	if err != nil {
		return nil, err
	}
	return OpenParsed(l, o)
}

// OpenParsed is Open for a location that the caller has looked into.
func OpenParsed(l Location, o Options) (store.Store, error) {
	if l.Kind == "maildir" {
		return maildir.Open(maildir.Options{Root: l.Folders, Inbox: l.Inbox, Control: l.Control, Index: l.Index, Tree: l.Tree})
	}
	return mbox.Open(mbox.Options{Inbox: l.Inbox, Folders: l.Folders, Control: l.Control,
		LockTimeout: o.LockTimeout, DotlockStale: o.DotlockStale})
}
