package imapd

import (
	"slices"
	"strings"

	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
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

// told returns snap without the messages that the client has not been told of.
// They have the highest UIDs; the next safe command finds them as new.
func told(v *view.View, snap *store.Snapshot) *store.Snapshot {
	last := uint32(0)
	if n := len(v.Msgs); n > 0 {
		last = v.Msgs[n-1].UID
	}
	n, _ := slices.BinarySearchFunc(snap.Msgs, last, func(m store.Msg, uid uint32) int {
		if m.UID <= uid {
			return -1
		}
		return 1
	})
	if n == len(snap.Msgs) {
		return snap
	}
	short := *snap
	short.Msgs = snap.Msgs[:n:n]
	// To this client they have not come yet: QRESYNC would take a UID below UIDNEXT
	// without a message for one that has vanished, and a modseq for all it covers.
	short.UIDNext = snap.Msgs[n].UID
	for _, m := range snap.Msgs[n:] {
		short.ModSeq = max(min(short.ModSeq, m.ModSeq-1), 1)
	}
	return &short
}
