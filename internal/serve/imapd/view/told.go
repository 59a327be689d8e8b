package view

import (
	"slices"

	"packetboat/internal/store"
)

// Told returns snap without the messages that the client has not been told of.
// They have the highest UIDs; the next safe command finds them as new.
func (v *View) Told(snap *store.Snapshot) *store.Snapshot {
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
