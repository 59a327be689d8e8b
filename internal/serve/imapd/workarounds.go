package imapd

import (
	"slices"
	"strings"
)

// bends tells whether a word stands in imap_client_workarounds. Dovecot reads the
// words in any case, and commas between them as spaces.
func (s *session) bends(word string) bool {
	return slices.ContainsFunc(s.opts.Workarounds, func(w string) bool {
		for part := range strings.SplitSeq(w, ",") {
			if strings.EqualFold(part, word) {
				return true
			}
		}
		return false
	})
}

// holdsBack tells whether the command that runs is one in whose answer a client
// with delay-newmail cannot bear new mail. Beside NOOP and CHECK, Dovecot takes as
// safe those that change what is selected, and IDLE, which asks for it.
func (s *session) holdsBack() bool {
	switch s.cmd.name {
	case "NOOP", "CHECK", "IDLE", "EXPUNGE", "UID EXPUNGE", "MOVE", "UID MOVE", "REPLACE", "UID REPLACE":
		return false
	}
	return !s.cmd.safe && s.bends("delay-newmail")
}
