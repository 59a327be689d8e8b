// Package known is what a process knows of an mbox: its messages as IMAP sees
// them, what their own header lines in the file say, and how both go on from one
// look at the file to the next. It reads no file but Dovecot's index; locks and
// the mailbox itself are package mbox's.
package known

import (
	"slices"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/sys/disk"
)

// State is a mailbox as this process knows it. It is never changed after it
// is published; whoever changes the mailbox publishes another one.
type State struct {
	Snap   *store.Snapshot
	Recs   []format.Record // Recs[i] belongs to Snap.Msgs[i]
	ID     disk.ID         // of the file that this was read from; zero = no file
	Base   format.Base     // as the file has it
	Pseudo int64           // octets of the pseudo message at the file's begin, 0 = none
	Saved  bool            // the cache holds this state
}

// Find returns the index of a UID, -1 when there is none.
func (s *State) Find(uid uint32) int {
	i, ok := slices.BinarySearchFunc(s.Snap.Msgs, uid, func(m store.Msg, uid uint32) int {
		return int(int64(m.UID) - int64(uid))
	})
	if !ok {
		return -1
	}
	return i
}

// Dirty tells whether message i's flags differ from those in the file.
func (s *State) Dirty(i int) bool {
	m, r := &s.Snap.Msgs[i], &s.Recs[i]
	return m.Flags != r.Flags || m.Keywords != r.Kw
}

// AnyDirty tells whether flags wait to be written.
func (s *State) AnyDirty() bool {
	for i := range s.Recs {
		if s.Dirty(i) {
			return true
		}
	}
	return false
}

// Derives tells whether the file alone gives every message the UID that it
// has, so that the cache can be lost: messages without X-UID count on from
// the highest UID that the file's first message names.
func (s *State) Derives() bool {
	if !s.Base.Found || s.Base.Validity != s.Snap.UIDValidity {
		return len(s.Recs) == 0
	}
	last := s.Base.Last
	for i := range s.Recs {
		uid := s.Recs[i].Uid
		if uid == 0 {
			last++
			uid = last
		}
		if uid != s.Snap.Msgs[i].UID {
			return false
		}
	}
	return last+1 == s.Snap.UIDNext
}

// Numbered tells whether the file names every UID.
func (s *State) Numbered() bool {
	for i := range s.Recs {
		if s.Recs[i].Uid == 0 {
			return false
		}
	}
	return len(s.Recs) == 0 || s.Base.Found
}

// NextModSeq returns a value above all given ones (RFC 7162 section 3.1). It
// follows the clock, so that it rises even when the cache is lost.
func (s *State) NextModSeq() uint64 {
	return max(s.Snap.ModSeq+1, uint64(time.Now().UnixMilli()))
}

// Derive makes a state of a full scan. old is what was known before, its snap
// nil when nothing was.
func Derive(old *State, msgs []format.Scanned, b format.Base, keys []string, id disk.ID, pseudo int64) *State {
	n := &store.Snapshot{UIDValidity: b.Validity, Keywords: keys, Msgs: make([]store.Msg, len(msgs))}
	s := &State{Snap: n, Recs: make([]format.Record, len(msgs)), ID: id, Base: b, Pseudo: pseudo}
	for i := range msgs {
		n.Msgs[i], s.Recs[i] = msgs[i].Msg, msgs[i].Rec
	}
	known := old.Snap != nil && (!b.Found || b.Validity == old.Snap.UIDValidity)
	last := b.Last
	if known {
		n.UIDValidity = old.Snap.UIDValidity
		n.ModSeq = old.Snap.ModSeq
		last = max(last, old.Snap.UIDNext-1)
	}
	if n.UIDValidity == 0 {
		n.UIDValidity = uint32(time.Now().Unix())
		if old.Snap != nil {
			n.UIDValidity = max(n.UIDValidity, old.Snap.UIDValidity+1)
		}
	}
	s.keepValid(last)
	if known {
		s.match(old)
	}
	n.UIDNext = s.number(last) + 1
	s.inherit(old, known)
	return s
}

// keepValid drops every X-UID that does not count: without X-IMAPbase, above
// the highest UID given, or not rising. What a message brought from elsewhere
// is recognised so.
func (s *State) keepValid(last uint32) {
	prev := uint32(0)
	for i := range s.Recs {
		r := &s.Recs[i]
		if !s.Base.Found || r.Uid <= prev || r.Uid > last {
			r.Uid = 0
			continue
		}
		prev = r.Uid
		s.Snap.Msgs[i].UID = r.Uid
	}
}

// match gives messages without X-UID the UIDs that they had in old. Both
// lists are in the order of the file, which nobody changes.
func (s *State) match(old *State) {
	index := make(map[uint64][]int32, len(old.Recs))
	for i := range old.Recs {
		d := old.Recs[i].Digest
		index[d] = append(index[d], int32(i))
	}
	from := int32(0) // old messages before this one are behind us
	for i := range s.Recs {
		m := &s.Snap.Msgs[i]
		if m.UID != 0 {
			from = old.after(m.UID, from)
			continue
		}
		if j := pick(index[s.Recs[i].Digest], from); j >= 0 {
			m.UID = old.Snap.Msgs[j].UID
			from = j + 1
		}
	}
	s.fill(old)
}

// after returns the index of the first old message above uid.
func (s *State) after(uid uint32, from int32) int32 {
	for int(from) < len(s.Recs) && s.Snap.Msgs[from].UID <= uid {
		from++
	}
	return from
}

// pick returns the first of list that is not below from, -1 without one.
func pick(list []int32, from int32) int32 {
	if i, _ := slices.BinarySearch(list, from); i < len(list) {
		return list[i]
	}
	return -1
}

// fill gives a run of unknown messages the UIDs that vanished between its
// neighbours: another program edited them, or was seen while it was still
// appending. A new UID in the middle would force new ones on all that follow.
func (s *State) fill(old *State) {
	for i := 0; i < len(s.Recs); i++ {
		if s.Snap.Msgs[i].UID != 0 {
			continue
		}
		end := i
		for end < len(s.Recs) && s.Snap.Msgs[end].UID == 0 {
			end++
		}
		s.fillRun(old, i, end)
		i = end
	}
}

func (s *State) fillRun(old *State, i, end int) {
	low, high := uint32(0), uint32(1<<32-1)
	if i > 0 {
		low = s.Snap.Msgs[i-1].UID
	}
	atEnd := end == len(s.Recs)
	if !atEnd {
		high = s.Snap.Msgs[end].UID
	}
	for j := old.after(low, 0); i < end && int(j) < len(old.Recs) && old.Snap.Msgs[j].UID < high; j++ {
		// At the end of the file unknown messages are new ones, unless only
		// their body grew.
		if atEnd && old.Recs[j].Digest>>32 != s.Recs[i].Digest>>32 {
			continue
		}
		s.Snap.Msgs[i].UID = old.Snap.Msgs[j].UID
		i++
	}
}

// number gives new UIDs, in the order of the file, to all who have none, and
// to those whose UID would not rise any more. It returns the highest UID.
func (s *State) number(last uint32) uint32 {
	prev := uint32(0)
	for i := range s.Snap.Msgs {
		m := &s.Snap.Msgs[i]
		if m.UID <= prev {
			last++
			m.UID = last
		}
		last = max(last, m.UID)
		prev = m.UID
	}
	return last
}

// inherit takes over what the file does not hold: mod-sequences, flags that
// are not written yet, and which messages are recent.
func (s *State) inherit(old *State, known bool) {
	n := s.Snap
	seq := uint64(time.Now().UnixMilli())
	if known {
		seq = old.NextModSeq()
	}
	changed := !known || len(s.Recs) != len(old.Recs)
	for i := range n.Msgs {
		m := &n.Msgs[i]
		m.ModSeq = seq
		if known {
			if j := old.Find(m.UID); j >= 0 {
				s.merge(i, old, j)
			}
		}
		changed = changed || m.ModSeq == seq
	}
	if changed {
		n.ModSeq = seq
	}
	switch {
	case known:
		n.FirstRecent = old.Snap.FirstRecent
	default:
		n.FirstRecent = 1
		for i := range s.Recs {
			if s.Recs[i].Old {
				n.FirstRecent = n.Msgs[i].UID + 1
			}
		}
	}
}

// merge joins what another program wrote into the file with what we have not
// written yet: our own changes since we read the file last are made again.
func (s *State) merge(i int, old *State, j int) {
	m, was, wrote := &s.Snap.Msgs[i], &old.Snap.Msgs[j], &old.Recs[j]
	m.Flags = m.Flags&^(wrote.Flags&^was.Flags) | was.Flags&^wrote.Flags
	m.Keywords = m.Keywords&^(wrote.Kw&^was.Keywords) | was.Keywords&^wrote.Kw
	if m.Flags == was.Flags && m.Keywords == was.Keywords {
		m.ModSeq = was.ModSeq
	}
}

// Grow makes a state of old and the messages that were appended to the file.
// Both may share their arrays: old is the newest state, so nobody else has
// appended to it, and what is behind its own length it never looks at.
func Grow(old *State, msgs []format.Scanned, keys []string, id disk.ID) *State {
	n := *old.Snap
	n.Keywords = keys
	s := &State{Snap: &n, Recs: old.Recs, ID: id, Base: old.Base, Pseudo: old.Pseudo}
	n.ModSeq = old.NextModSeq()
	for i := range msgs {
		m, r := msgs[i].Msg, msgs[i].Rec
		m.UID, m.ModSeq = max(n.UIDNext, r.Uid), n.ModSeq
		n.UIDNext = m.UID + 1
		n.Msgs = append(n.Msgs, m)
		s.Recs = append(s.Recs, r)
	}
	return s
}
