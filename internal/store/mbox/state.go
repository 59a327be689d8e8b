package mbox

import (
	"slices"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/sys/disk"
)

// state is a mailbox as this process knows it. It is never changed after it
// is published; whoever changes the mailbox publishes another one.
type state struct {
	snap   *store.Snapshot
	recs   []format.Record // recs[i] belongs to snap.Msgs[i]
	id     disk.ID         // of the file that this was read from; zero = no file
	base   format.Base     // as the file has it
	pseudo int64           // octets of the pseudo message at the file's begin, 0 = none
	saved  bool            // the cache holds this state
}

// find returns the index of a UID, -1 when there is none.
func (s *state) find(uid uint32) int {
	i, ok := slices.BinarySearchFunc(s.snap.Msgs, uid, func(m store.Msg, uid uint32) int {
		return int(int64(m.UID) - int64(uid))
	})
	if !ok {
		return -1
	}
	return i
}

// dirty tells whether message i's flags differ from those in the file.
func (s *state) dirty(i int) bool {
	m, r := &s.snap.Msgs[i], &s.recs[i]
	return m.Flags != r.Flags || m.Keywords != r.Kw
}

// anyDirty tells whether flags wait to be written.
func (s *state) anyDirty() bool {
	for i := range s.recs {
		if s.dirty(i) {
			return true
		}
	}
	return false
}

// derives tells whether the file alone gives every message the UID that it
// has, so that the cache can be lost: messages without X-UID count on from
// the highest UID that the file's first message names.
func (s *state) derives() bool {
	if !s.base.Found || s.base.Validity != s.snap.UIDValidity {
		return len(s.recs) == 0
	}
	last := s.base.Last
	for i := range s.recs {
		uid := s.recs[i].Uid
		if uid == 0 {
			last++
			uid = last
		}
		if uid != s.snap.Msgs[i].UID {
			return false
		}
	}
	return last+1 == s.snap.UIDNext
}

// numbered tells whether the file names every UID.
func (s *state) numbered() bool {
	for i := range s.recs {
		if s.recs[i].Uid == 0 {
			return false
		}
	}
	return len(s.recs) == 0 || s.base.Found
}

// nextModSeq returns a value above all given ones (RFC 7162 section 3.1). It
// follows the clock, so that it rises even when the cache is lost.
func (s *state) nextModSeq() uint64 {
	return max(s.snap.ModSeq+1, uint64(time.Now().UnixMilli()))
}

// derive makes a state of a full scan. old is what was known before, its snap
// nil when nothing was.
func derive(old *state, msgs []format.Scanned, b format.Base, keys []string, id disk.ID, pseudo int64) *state {
	n := &store.Snapshot{UIDValidity: b.Validity, Keywords: keys, Msgs: make([]store.Msg, len(msgs))}
	s := &state{snap: n, recs: make([]format.Record, len(msgs)), id: id, base: b, pseudo: pseudo}
	for i := range msgs {
		n.Msgs[i], s.recs[i] = msgs[i].Msg, msgs[i].Rec
	}
	known := old.snap != nil && (!b.Found || b.Validity == old.snap.UIDValidity)
	last := b.Last
	if known {
		n.UIDValidity = old.snap.UIDValidity
		n.ModSeq = old.snap.ModSeq
		last = max(last, old.snap.UIDNext-1)
	}
	if n.UIDValidity == 0 {
		n.UIDValidity = uint32(time.Now().Unix())
		if old.snap != nil {
			n.UIDValidity = max(n.UIDValidity, old.snap.UIDValidity+1)
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
func (s *state) keepValid(last uint32) {
	prev := uint32(0)
	for i := range s.recs {
		r := &s.recs[i]
		if !s.base.Found || r.Uid <= prev || r.Uid > last {
			r.Uid = 0
			continue
		}
		prev = r.Uid
		s.snap.Msgs[i].UID = r.Uid
	}
}

// match gives messages without X-UID the UIDs that they had in old. Both
// lists are in the order of the file, which nobody changes.
func (s *state) match(old *state) {
	index := make(map[uint64][]int32, len(old.recs))
	for i := range old.recs {
		d := old.recs[i].Digest
		index[d] = append(index[d], int32(i))
	}
	from := int32(0) // old messages before this one are behind us
	for i := range s.recs {
		m := &s.snap.Msgs[i]
		if m.UID != 0 {
			from = old.after(m.UID, from)
			continue
		}
		if j := pick(index[s.recs[i].Digest], from); j >= 0 {
			m.UID = old.snap.Msgs[j].UID
			from = j + 1
		}
	}
	s.fill(old)
}

// after returns the index of the first old message above uid.
func (s *state) after(uid uint32, from int32) int32 {
	for int(from) < len(s.recs) && s.snap.Msgs[from].UID <= uid {
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
func (s *state) fill(old *state) {
	for i := 0; i < len(s.recs); i++ {
		if s.snap.Msgs[i].UID != 0 {
			continue
		}
		end := i
		for end < len(s.recs) && s.snap.Msgs[end].UID == 0 {
			end++
		}
		s.fillRun(old, i, end)
		i = end
	}
}

func (s *state) fillRun(old *state, i, end int) {
	low, high := uint32(0), uint32(1<<32-1)
	if i > 0 {
		low = s.snap.Msgs[i-1].UID
	}
	atEnd := end == len(s.recs)
	if !atEnd {
		high = s.snap.Msgs[end].UID
	}
	for j := old.after(low, 0); i < end && int(j) < len(old.recs) && old.snap.Msgs[j].UID < high; j++ {
		// At the end of the file unknown messages are new ones, unless only
		// their body grew.
		if atEnd && old.recs[j].Digest>>32 != s.recs[i].Digest>>32 {
			continue
		}
		s.snap.Msgs[i].UID = old.snap.Msgs[j].UID
		i++
	}
}

// number gives new UIDs, in the order of the file, to all who have none, and
// to those whose UID would not rise any more. It returns the highest UID.
func (s *state) number(last uint32) uint32 {
	prev := uint32(0)
	for i := range s.snap.Msgs {
		m := &s.snap.Msgs[i]
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
func (s *state) inherit(old *state, known bool) {
	n := s.snap
	seq := uint64(time.Now().UnixMilli())
	if known {
		seq = old.nextModSeq()
	}
	changed := !known || len(s.recs) != len(old.recs)
	for i := range n.Msgs {
		m := &n.Msgs[i]
		m.ModSeq = seq
		if known {
			if j := old.find(m.UID); j >= 0 {
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
		n.FirstRecent = old.snap.FirstRecent
	default:
		n.FirstRecent = 1
		for i := range s.recs {
			if s.recs[i].Old {
				n.FirstRecent = n.Msgs[i].UID + 1
			}
		}
	}
}

// merge joins what another program wrote into the file with what we have not
// written yet: our own changes since we read the file last are made again.
func (s *state) merge(i int, old *state, j int) {
	m, was, wrote := &s.snap.Msgs[i], &old.snap.Msgs[j], &old.recs[j]
	m.Flags = m.Flags&^(wrote.Flags&^was.Flags) | was.Flags&^wrote.Flags
	m.Keywords = m.Keywords&^(wrote.Kw&^was.Keywords) | was.Keywords&^wrote.Kw
	if m.Flags == was.Flags && m.Keywords == was.Keywords {
		m.ModSeq = was.ModSeq
	}
}

// grow makes a state of old and the messages that were appended to the file.
// Both may share their arrays: old is the newest state, so nobody else has
// appended to it, and what is behind its own length it never looks at.
func grow(old *state, msgs []format.Scanned, keys []string, id disk.ID) *state {
	n := *old.snap
	n.Keywords = keys
	s := &state{snap: &n, recs: old.recs, id: id, base: old.base, pseudo: old.pseudo}
	n.ModSeq = old.nextModSeq()
	for i := range msgs {
		m, r := msgs[i].Msg, msgs[i].Rec
		m.UID, m.ModSeq = max(n.UIDNext, r.Uid), n.ModSeq
		n.UIDNext = m.UID + 1
		n.Msgs = append(n.Msgs, m)
		s.recs = append(s.recs, r)
	}
	return s
}
