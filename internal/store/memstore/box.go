package memstore

import (
	"bytes"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"packetboat/internal/store"
)

// box is one mailbox. Its Snapshot is replaced, never changed, under mu.
type box struct {
	home *Store

	mu     sync.Mutex
	snap   *store.Snapshot
	bodies map[uint32][]byte
	watch  map[chan struct{}]bool
}

func newBox(home *Store, validity uint32) *box {
	return &box{
		home:   home,
		snap:   &store.Snapshot{UIDValidity: validity, UIDNext: 1, ModSeq: 1, FirstRecent: 1},
		bodies: map[uint32][]byte{},
		watch:  map[chan struct{}]bool{},
	}
}

// Sync returns the mailbox as it is: nothing outside the process can change it.
func (b *box) Sync() (*store.Snapshot, error) { return b.Snapshot(), nil }

// Look implements store.Mailbox: everything is known.
func (b *box) Look([]uint32) (*store.Snapshot, error) { return b.Snapshot(), nil }

// Snapshot returns the mailbox as it is.
func (b *box) Snapshot() *store.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snap
}

// Read returns octets off to off+n of a message, or to its end for n < 0.
func (b *box) Read(uid uint32, off, n int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.bodies[uid]
	if !ok {
		return nil, store.ErrNoMessage
	}
	off = min(max(off, 0), int64(len(body)))
	body = body[off:]
	if n >= 0 && n < int64(len(body)) {
		body = body[:n]
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

// edit replaces the snapshot by a copy that change has worked on; b.mu is held.
func (b *box) edit(change func(*store.Snapshot)) *store.Snapshot {
	next := *b.snap
	next.Msgs = slices.Clone(b.snap.Msgs)
	next.Keywords = slices.Clone(b.snap.Keywords)
	next.ModSeq++
	change(&next)
	b.snap = &next
	for ch := range b.watch {
		select {
		case ch <- struct{}{}:
		default: // a wake-up waits there already
		}
	}
	return b.snap
}

// SetFlags changes flags of the messages named.
func (b *box) SetFlags(uids []uint32, op store.Op, f store.Flag, keywords []string) (*store.Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := *b.snap
	next.Msgs, next.Keywords = slices.Clone(b.snap.Msgs), slices.Clone(b.snap.Keywords)
	next.ModSeq++
	kw := bits(&next, keywords)
	changed := len(next.Keywords) != len(b.snap.Keywords)
	for _, uid := range uids {
		i := find(next.Msgs, uid)
		if i < 0 {
			continue
		}
		m := &next.Msgs[i]
		was, wasKw := m.Flags, m.Keywords
		apply(m, op, f, kw)
		if m.Flags != was || m.Keywords != wasKw {
			m.ModSeq, changed = next.ModSeq, true
		}
	}
	if changed {
		b.edit(func(s *store.Snapshot) { *s = next })
	}
	return b.snap, nil
}

func apply(m *store.Msg, op store.Op, f store.Flag, kw uint64) {
	switch op {
	case store.Replace:
		m.Flags, m.Keywords = f, kw
	case store.Add:
		m.Flags |= f
		m.Keywords |= kw
	case store.Remove:
		m.Flags &^= f
		m.Keywords &^= kw
	}
}

// bits returns the set of keywords, naming new ones in s while there is room.
func bits(s *store.Snapshot, keywords []string) uint64 {
	var set uint64
	for _, k := range keywords {
		i := slices.IndexFunc(s.Keywords, func(have string) bool { return strings.EqualFold(have, k) })
		if i < 0 && len(s.Keywords) < 64 {
			i = len(s.Keywords)
			s.Keywords = append(s.Keywords, k)
		}
		if i >= 0 {
			set |= 1 << i
		}
	}
	return set
}

// find returns the index of uid, or -1.
func find(msgs []store.Msg, uid uint32) int {
	i := sort.Search(len(msgs), func(i int) bool { return msgs[i].UID >= uid })
	if i < len(msgs) && msgs[i].UID == uid {
		return i
	}
	return -1
}

// Expunge removes messages.
func (b *box) Expunge(uids []uint32) (*store.Snapshot, error) {
	gone := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		gone[uid] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.edit(func(s *store.Snapshot) {
		s.Msgs = slices.DeleteFunc(s.Msgs, func(m store.Msg) bool { return gone[m.UID] })
		for uid := range gone {
			delete(b.bodies, uid)
		}
	}), nil
}

// Append reads all bodies first, without the lock, so that a body may come
// from a client that types or from this same mailbox.
func (b *box) Append(msgs []store.New) ([]uint32, error) {
	bodies := make([][]byte, len(msgs))
	var total int64
	for i, m := range msgs {
		raw, err := io.ReadAll(m.Body)
		if err != nil {
			return nil, err
		}
		bodies[i] = crlf(raw)
		total += int64(len(bodies[i]))
	}
	if err := b.home.charge(total); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	uids := make([]uint32, len(msgs))
	b.edit(func(s *store.Snapshot) {
		for i, m := range msgs {
			uids[i] = b.put(s, m, bodies[i])
		}
	})
	return uids, nil
}

// put adds one message to s; b.mu is held.
func (b *box) put(s *store.Snapshot, m store.New, body []byte) uint32 {
	if m.Date.IsZero() {
		m.Date = time.Now()
	}
	uid := s.UIDNext
	s.UIDNext++
	header := int64(len(body))
	if i := bytes.Index(body, []byte("\r\n\r\n")); i >= 0 {
		header = int64(i) + 4
	}
	if bytes.HasPrefix(body, []byte("\r\n")) {
		header = 2
	}
	s.Msgs = append(s.Msgs, store.Msg{
		UID: uid, Flags: m.Flags, Keywords: bits(s, m.Keywords), Date: m.Date.Unix(),
		Size: int64(len(body)), Header: header, ModSeq: s.ModSeq, Raw: int64(len(body)),
	})
	b.bodies[uid] = body
	return uid
}

// crlf ends every line with CRLF; a CR that is not before LF stays.
func crlf(raw []byte) []byte {
	out := make([]byte, 0, len(raw)+len(raw)/32)
	for i, c := range raw {
		if c == '\n' && (i == 0 || raw[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return out
}

// ClaimRecent raises FirstRecent to UIDNext.
func (b *box) ClaimRecent() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.snap.FirstRecent < b.snap.UIDNext {
		next := *b.snap
		next.FirstRecent = next.UIDNext
		b.snap = &next
	}
	return nil
}

// Watch returns a channel that gets a value after each change.
func (b *box) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	b.watch[ch] = true
	b.mu.Unlock()
	return ch, func() {
		b.mu.Lock()
		delete(b.watch, ch)
		b.mu.Unlock()
	}
}

// Flush does nothing: memory is all there is.
func (b *box) Flush() error { return nil }

// Close does nothing: the Store keeps the mailbox.
func (b *box) Close() error { return nil }

// drop empties a deleted mailbox and returns its octets. Sessions that have it
// open see their messages go.
func (b *box) drop() (octets int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.edit(func(s *store.Snapshot) {
		for _, m := range s.Msgs {
			octets += m.Size
		}
		s.Msgs = nil
	})
	clear(b.bodies)
	return octets
}

// giveTo moves every message to an empty mailbox, for RENAME of INBOX.
func (b *box) giveTo(to *box) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	msgs, keywords, bodies := b.snap.Msgs, b.snap.Keywords, b.bodies
	to.edit(func(s *store.Snapshot) {
		s.Msgs, s.Keywords, s.UIDNext = slices.Clone(msgs), slices.Clone(keywords), b.snap.UIDNext
	})
	to.bodies = bodies
	b.bodies = map[uint32][]byte{}
	b.edit(func(s *store.Snapshot) { s.Msgs = nil })
}
