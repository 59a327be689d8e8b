package reply

import (
	"runtime"
	"sync"
	"sync/atomic"

	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
)

// Where a client asks for the headers of many messages that nobody has looked
// into, their digests are made a block ahead of the answer, on two processors.
// Each worker holds one header of up to 64 KB.
const (
	aheadBlock = 64
	maxWorkers = 2
)

// wantsDigests tells whether some item is answered out of digests.
func (f *Fetcher) wantsDigests() bool {
	if f.Index == nil {
		return false
	}
	for i := range f.items {
		it := &f.items[i]
		sec := &it.Section
		if it.Kind == syntax.ItemEnvelope || it.Kind == syntax.ItemSection && len(sec.Part) == 0 && sec.HeaderFields != nil && f.wantedOf(sec).set != 0 {
			return true
		}
	}
	return false
}

// lookAhead makes the digests of a block of messages, unless the first of them
// has one, and so most likely all.
func (f *Fetcher) lookAhead(block []int) {
	if len(block) < aheadBlock/4 || f.hasDigest(&f.View.Msgs[block[0]]) {
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	var trouble atomic.Pointer[any]
	for range min(maxWorkers, runtime.GOMAXPROCS(0)) {
		w := &Fetcher{Box: f.Box, Index: f.Index}
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					trouble.Store(&p)
				}
			}()
			for i := next.Add(1) - 1; i < int64(len(block)); i = next.Add(1) - 1 {
				m := &f.View.Msgs[block[i]]
				if m.Size > 0 && !w.hasDigest(m) {
					w.digest(m)
				}
			}
		})
	}
	wg.Wait()
	if p := trouble.Load(); p != nil {
		panic(*p) // it is the session's: that ends, and no other
	}
}

func (f *Fetcher) hasDigest(m *store.Msg) (ok bool) {
	f.held, ok = f.Index.Append(f.held[:0], f.Index.Kind(render.DigestKind), m.UID, tagOf(m))
	return ok
}
