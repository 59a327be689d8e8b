package search

import (
	"bytes"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/store"
)

// A search through bodies looks at messages ahead of the one that is asked for,
// on two processors. Each worker holds one message of up to 256 KB, its
// tree and pieces of its text, about 500 KB; one search has no more of them, however many
// processors there are.
const (
	aheadBlock = 128
	maxWorkers = 2
)

// Limit is how long one search may take: no client holds a processor for ever.
const Limit = 10 * time.Minute

// ahead is what is known of the next messages.
type ahead struct {
	from, to int
	found    [aheadBlock]bool
	workers  []*Searcher
}

// matchAhead returns what the workers have found about message i; whoever does
// not ask for messages in their order gets them looked at one by one.
func (sr *Searcher) matchAhead(i int) bool {
	a := &sr.ahead
	if i >= a.from && i < a.to {
		return a.found[i-a.from]
	}
	if i != a.to {
		a.from, a.to = i+1, i+1
		return sr.matchOne(i)
	}
	if a.workers == nil {
		a.workers = sr.newWorkers()
	}
	a.from, a.to = i, min(i+aheadBlock, len(sr.View.Msgs))
	var next atomic.Int64
	next.Store(int64(i))
	var wg sync.WaitGroup
	var trouble atomic.Pointer[any]
	for _, w := range a.workers {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					trouble.Store(&p)
				}
			}()
			for n := int(next.Add(1)) - 1; n < a.to && !sr.Expired(); n = int(next.Add(1)) - 1 {
				a.found[n-i] = w.matchOne(n)
			}
		})
	}
	wg.Wait()
	if p := trouble.Load(); p != nil {
		panic(*p) // it is the session's: that ends, and no other
	}
	return a.found[0]
}

// newWorkers makes copies of the searcher that have their own buffers.
func (sr *Searcher) newWorkers() []*Searcher {
	workers := make([]*Searcher, min(maxWorkers, runtime.GOMAXPROCS(0)))
	for i := range workers {
		w := &Searcher{View: sr.View, Source: sr.Source, Saved: sr.Saved, key: sr.key, now: sr.now, last: sr.last, keyword: sr.keyword, kinds: sr.kinds}
		w.kinds.fields = slices.Clone(w.kinds.fields)
		w.Read = w.readHeld(sr.Read)
		mime := message.NewParser()
		w.Load = func(m *store.Msg) (*message.Part, error) {
			r, err := w.Read(m.UID, 0, -1)
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return mime.Parse(r)
		}
		workers[i] = w
	}
	return workers
}

// maxWhole is the longest message that a worker holds as a whole, because its
// structure and then each of its parts are wanted; longer ones are read piece by piece.
const maxWhole = 256 << 10

// readHeld is read that goes to the store once for each short message.
func (w *Searcher) readHeld(read func(uid uint32, off, n int64) (io.ReadCloser, error)) func(uid uint32, off, n int64) (io.ReadCloser, error) {
	var held uint32
	var whole []byte
	return func(uid uint32, off, n int64) (io.ReadCloser, error) {
		if w.m == nil || w.m.UID != uid || w.m.Size > maxWhole || w.m.Size <= 0 {
			return read(uid, off, n)
		}
		if held != uid {
			held = 0
			r, err := read(uid, 0, -1)
			if err != nil {
				return nil, err
			}
			defer r.Close()
			whole = slices.Grow(whole[:0], int(w.m.Size))[:w.m.Size]
			if _, err := io.ReadFull(r, whole); err != nil {
				return nil, err
			}
			held = uid
		}
		off = min(off, int64(len(whole)))
		part := whole[off:]
		if n >= 0 && n < int64(len(part)) {
			part = part[:n]
		}
		return io.NopCloser(bytes.NewReader(part)), nil
	}
}

// Expired tells whether the search has taken longer than Limit: then nothing
// matches any more, and the command is refused.
func (sr *Searcher) Expired() bool { return !sr.now.IsZero() && time.Since(sr.now) > Limit }
