package login

import (
	"bytes"
	"io"
	"sync"
)

// bufSize is the input buffer of one client in bytes: the longest line, and
// the longest literal with its line. Dovecot takes 8 KiB of SASL data.
const bufSize = 8 << 10

// buffers are shared: most clients are here for milliseconds.
var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// reader reads lines and literals, and knows what was read ahead.
type reader struct {
	src  io.Reader
	buf  *[bufSize]byte
	r, w int
}

func newReader(src io.Reader) *reader {
	return &reader{src: src, buf: buffers.Get().(*[bufSize]byte)}
}

// free gives the buffer back, wiped: a password was in it.
func (r *reader) free() {
	if r.buf != nil {
		clear(r.buf[:])
		buffers.Put(r.buf)
		r.buf = nil
	}
}

// reset goes on with another source; nothing may be buffered.
func (r *reader) reset(src io.Reader) { r.src, r.r, r.w = src, 0, 0 }

func (r *reader) buffered() int { return r.w - r.r }

// rest returns a copy of what was read ahead.
func (r *reader) rest() []byte { return bytes.Clone(r.buf[r.r:r.w]) }

// line returns the next line without its end (CRLF or LF). It is valid until
// the next call.
func (r *reader) line() ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(r.buf[r.r+seen:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.r+seen+i]
			r.r += seen + i + 1
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		seen = r.w - r.r
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// take returns the next n bytes; valid until the next call.
func (r *reader) take(n int) ([]byte, error) {
	for r.w-r.r < n {
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	b := r.buf[r.r : r.r+n]
	r.r += n
	return b, nil
}

// fill reads more behind what is there; a full buffer is an error.
func (r *reader) fill() error {
	if r.r > 0 {
		r.w = copy(r.buf[:], r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == bufSize {
		return errFull
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	return err
}
