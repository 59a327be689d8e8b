// Package location reads Dovecot's mail_location and opens the store that it
// names. Every program that opens a user's mail does it here (mrad's mail
// processes, doveadm), so that a new kind of store is entered in one place.
package location

import (
	"fmt"
	"strings"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox"
)

// Location is a mail_location whose variables and "~" are expanded.
type Location struct {
	Kind    string // "mbox"
	Inbox   string // path of the inbox
	Folders string // root of the other folders; empty = there are none
	Control string // CONTROL=, or INDEX= where that is missing; empty = the kind's default
}

// Parse reads "mbox:/home/a/mail:INBOX=/var/mail/a[:CONTROL=..][:INDEX=..]". Its
// error names what is not supported.
func Parse(s string) (Location, error) {
	var l Location
	kind, rest, _ := strings.Cut(s, ":")
	if kind != "mbox" {
		return l, fmt.Errorf("mail driver %q is not supported: only mbox is", kind)
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
		l.Inbox = l.Folders + "/inbox" // MailLocation/Mbox of Dovecot
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
		if l.Control == "" && value != "MEMORY" {
			l.Control = value
		}
	case "LAYOUT":
		if value != "fs" {
			return fmt.Errorf("LAYOUT=%s is not supported for mbox", value)
		}
	case "UTF-8":
		return fmt.Errorf("mail location option UTF-8 is not supported")
	}
	return nil
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
	return mbox.Open(mbox.Options{Inbox: l.Inbox, Folders: l.Folders, Control: l.Control,
		LockTimeout: o.LockTimeout, DotlockStale: o.DotlockStale})
}
