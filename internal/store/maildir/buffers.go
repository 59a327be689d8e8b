package maildir

import "sync"

// buffers are what a reader needs while it has its file open: 66 KB, which are
// handed on from message to message.
type buffers struct{ raw, out []byte }

// spare keeps the buffers of readers that have ended.
type spare struct{ pool sync.Pool }

func (s *spare) get() *buffers {
	if b, ok := s.pool.Get().(*buffers); ok {
		return b
	}
	return &buffers{raw: make([]byte, chunk), out: make([]byte, 0, chunk+chunk/16)}
}

func (s *spare) put(b *buffers) {
	if cap(b.out) <= 2*chunk {
		s.pool.Put(b)
	}
}
