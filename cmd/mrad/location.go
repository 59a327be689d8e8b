package main

import (
	"fmt"
	"strings"
)

// location is a mail_location of the mbox kind.
type location struct {
	inbox, folders, control string
}

// parseLocation reads "mbox:/home/a/mail:INBOX=/var/mail/a[:CONTROL=..][:INDEX=..]".
func parseLocation(s string) (location, error) {
	var l location
	kind, rest, _ := strings.Cut(s, ":")
	if kind != "mbox" {
		return l, fmt.Errorf("mail driver %q is not supported: only mbox is", kind)
	}
	parts := strings.Split(rest, ":")
	l.folders = parts[0]
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(p, "=")
		switch key {
		case "INBOX":
			l.inbox = value
		case "CONTROL":
			l.control = value
		case "INDEX":
			if l.control == "" && value != "MEMORY" {
				l.control = value
			}
		case "LAYOUT":
			if value != "fs" {
				return l, fmt.Errorf("LAYOUT=%s is not supported for mbox", value)
			}
		case "UTF-8":
			return l, fmt.Errorf("mail location option UTF-8 is not supported")
		}
	}
	if l.inbox == "" && l.folders != "" {
		l.inbox = l.folders + "/inbox" // MailLocation/Mbox of Dovecot
	}
	if !strings.HasPrefix(l.inbox, "/") || (l.folders != "" && !strings.HasPrefix(l.folders, "/")) {
		return l, fmt.Errorf("mail location is no absolute path")
	}
	return l, nil
}
