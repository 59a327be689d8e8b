package smtpd

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// Sizes of input buffers in octets: one for command lines, one for messages.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

var (
	small = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	large = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// input reads a connection. Before it waits for the network it calls flush:
// so the replies of a pipelined batch leave in one write, when the batch has
// been worked off.
type input struct {
	conn  net.Conn
	flush func() error
	buf   []byte // of one of the pools
	r, w  int    // what is read, what is there
	small *[smallBuffer]byte
	large *[largeBuffer]byte
}

func (in *input) init(conn net.Conn, flush func() error) {
	in.conn, in.flush = conn, flush
	in.small = small.Get().(*[smallBuffer]byte)
	in.buf = in.small[:]
}

// release gives the buffers back; their bytes stay until another session
// overwrites them and are never read by it.
func (in *input) release() {
	if in.large != nil {
		large.Put(in.large)
	}
	if in.small != nil {
		small.Put(in.small)
	}
	in.small, in.large, in.buf, in.r, in.w = nil, nil, nil, 0, 0
}

// grow takes a large buffer for a message's bytes.
func (in *input) grow() {
	if in.large != nil {
		return
	}
	in.large = large.Get().(*[largeBuffer]byte)
	in.w = copy(in.large[:], in.buf[in.r:in.w])
	in.r, in.buf = 0, in.large[:]
}

// shrink gives it back as soon as what is unread fits into the small one.
func (in *input) shrink() {
	if in.large == nil || in.w-in.r > smallBuffer {
		return
	}
	in.w = copy(in.small[:], in.buf[in.r:in.w])
	in.r, in.buf = 0, in.small[:]
	large.Put(in.large)
	in.large = nil
}

// unread returns the bytes that have come but were not taken.
func (in *input) unread() []byte { return in.buf[in.r:in.w] }

// take marks n bytes as read.
func (in *input) take(n int) { in.r += n }

// fill reads more behind the unread bytes; there must be room for one byte
// after moving them to the front.
func (in *input) fill() error {
	if err := in.flush(); err != nil {
		return err
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line returns the next line without its end, valid until the next call. A
// line longer than limit is cut, and the rest is thrown away, as Postfix does.
// bare tells that it ended in LF without CR.
func (in *input) line(limit int) (line []byte, long, bare bool, err error) {
	in.shrink()
	return in.lineIn(limit)
}

// lineIn is line within the buffer there is; limit is below its size.
func (in *input) lineIn(limit int) (line []byte, long, bare bool, err error) {
	from := 0
	for {
		if i := bytes.IndexByte(in.buf[in.r+from:in.w], '\n'); i >= 0 {
			line = in.buf[in.r : in.r+from+i]
			in.r += from + i + 1
			break
		}
		from = in.w - in.r
		if from > limit {
			return in.skip(limit)
		}
		if err := in.fill(); err != nil {
			return nil, false, false, err
		}
	}
	if len(line) > limit+1 {
		return line[:limit], true, false, nil
	}
	line, crlf := bytes.CutSuffix(line, []byte{'\r'})
	return line, false, !crlf, nil
}

// skip returns the first limit bytes of a line whose end is not in sight and
// throws the rest away; the caller's deadline bounds how long that takes.
func (in *input) skip(limit int) ([]byte, bool, bool, error) {
	keep := bytes.Clone(in.buf[in.r : in.r+limit])
	for {
		if i := bytes.IndexByte(in.unread(), '\n'); i >= 0 {
			in.r += i + 1
			return keep, true, false, nil
		}
		in.r = in.w
		if err := in.fill(); err != nil {
			return nil, false, false, err
		}
	}
}

// early reads what a client sent before it was spoken to, without waiting.
func (in *input) early() []byte {
	in.conn.SetReadDeadline(time.Now().Add(time.Microsecond))
	n, _ := in.conn.Read(in.buf[in.w:]) // an error comes again at the next read
	in.w += n
	return in.unread()
}
