package known

import (
	"cmp"
	"slices"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/dovecot"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/sys/disk"
)

// What Dovecot knew of a mailbox is taken once, when there is no cache of ours:
// an mbox that Dovecot has only looked at has no X-IMAPbase and no X-UID yet, and
// with mbox_lazy_writes changed flags stand in Dovecot's index alone.

// First is the state of a mailbox without a cache, before its file is read.
// ix may be nil.
func First(ix *dovecot.Index) *State {
	snap := &store.Snapshot{UIDValidity: uint32(time.Now().Unix()), UIDNext: 1, FirstRecent: 1, ModSeq: 1}
	if ix != nil {
		// Ours follow the clock, whatever has been given out meanwhile.
		snap.UIDValidity, snap.UIDNext, snap.FirstRecent = ix.Validity, ix.Next, ix.FirstRecent
		snap.ModSeq = max(ix.ModSeq, uint64(time.Now().UnixMilli()))
	}
	return &State{Snap: snap}
}

// TakeOver returns what ix says of the messages that the first scan has found,
// as the state before that scan. A message is the same one where it stands where
// Dovecot has seen it, or where it has the UID in its header. newer tells whether
// the index has flags that the file lacked: once they are written it must go,
// since Dovecot would take them for the newer ones for ever.
func TakeOver(ix *dovecot.Index, first *State, msgs []format.Scanned, base format.Base, keys *format.Keywords, st disk.Stat) (s *State, newer bool) {
	t := &taker{msgs: msgs, base: base, last: -1, byUID: map[uint32]int{}}
	for i := range msgs {
		if base.Found && msgs[i].Rec.Uid != 0 {
			t.byUID[msgs[i].Rec.Uid] = i
		}
	}
	dirty := ix.MboxSize == st.Size && ix.MboxTime == st.Mtime/1e9 || st.Size > ix.MboxSize && t.inPlace(ix)
	n := *first.Snap
	s = &State{Snap: &n}
	for i := range ix.Msgs {
		d := &ix.Msgs[i]
		k := t.find(d)
		if k < 0 {
			continue
		}
		rec := msgs[k].Rec
		msg := store.Msg{UID: d.UID, Flags: rec.Flags, Keywords: rec.Kw, ModSeq: max(d.ModSeq, 1)}
		words := bits(ix, d, keys)
		switch {
		case d.Dirty && dirty:
			msg.Flags, msg.Keywords = d.Flags, words
			newer = true
		case d.Flags != rec.Flags || words != rec.Kw:
			msg.ModSeq = n.ModSeq // another program has changed it since
		}
		n.Msgs, s.Recs = append(n.Msgs, msg), append(s.Recs, rec)
	}
	return s, newer
}

// bits turns the keywords of a message into those of the mailbox.
func bits(ix *dovecot.Index, d *dovecot.Msg, keys *format.Keywords) (b uint64) {
	for i, w := range ix.Keywords {
		if d.Keywords&(1<<i) != 0 {
			b |= keys.Bit([]byte(w))
		}
	}
	return b
}

// taker finds messages of the file.
type taker struct {
	msgs  []format.Scanned
	base  format.Base
	byUID map[uint32]int
	last  int // that was found; UIDs rise with places
}

// find returns the index of a message, -1 where it is not there any more.
func (t *taker) find(d *dovecot.Msg) int {
	i := t.place(d)
	if i < 0 || t.base.Found && t.msgs[i].Rec.Uid != 0 && t.msgs[i].Rec.Uid != d.UID {
		var ok bool
		if i, ok = t.byUID[d.UID]; !ok {
			return -1
		}
	}
	if i <= t.last {
		return -1
	}
	t.last = i
	return i
}

// place returns the index of the message that begins where d did, -1 without
// one. Dovecot counts the line end in front of a From_ line to the message.
func (t *taker) place(d *dovecot.Msg) int {
	i, _ := slices.BinarySearchFunc(t.msgs, d.Offset, func(c format.Scanned, off int64) int { return cmp.Compare(c.Msg.Pos, off) })
	if d.Offset < 0 || i == len(t.msgs) || t.msgs[i].Msg.Pos-d.Offset > 2 {
		return -1
	}
	return i
}

// inPlace tells whether all messages that Dovecot knew stand where they stood,
// so that the file has only grown since.
func (t *taker) inPlace(ix *dovecot.Index) bool {
	for i := range ix.Msgs {
		if k := t.place(&ix.Msgs[i]); k != i {
			return false
		}
	}
	return true
}
