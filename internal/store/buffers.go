package store

import "sync"

// Chunk is how much of a message a store reads at a time.
const Chunk = 32 << 10

// Buffers are what a reader of a message needs while it reads: Raw takes Chunk
// octets as they stand on disk, Out the same with CRLF line ends.
type Buffers struct{ Raw, Out []byte }

// Spare hands the buffers of readers that have ended, 66 KB each, on to those
// that begin. The zero value is ready; the garbage collector empties it.
type Spare struct{ pool sync.Pool }

// Get returns buffers for one reader; Out is empty.
func (s *Spare) Get() *Buffers {
	if b, ok := s.pool.Get().(*Buffers); ok {
		return b
	}
	return &Buffers{Raw: make([]byte, Chunk), Out: make([]byte, 0, Chunk+Chunk/16)}
}

// Put gives them back, and nil is nothing.
func (s *Spare) Put(b *Buffers) {
	if b != nil && cap(b.Out) <= 2*Chunk {
		s.pool.Put(b)
	}
}
