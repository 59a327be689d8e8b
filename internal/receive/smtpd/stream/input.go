// Package stream reads a SMTP connection: command lines with a limit, and the
// bytes of a message behind DATA (RFC 5321 section 4.5.2) and BDAT (RFC 3030).
// receive/smtpd and receive/gate use it. Buffers come from pools: 4 KiB for a
// session that waits, 64 KiB more while a message's bytes come in.
package stream

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// Sizes of input buffers in octets: one for command lines, one for messages.
const (
	SmallBuffer = 4 << 10
	LargeBuffer = 64 << 10
)

var (
	small = sync.Pool{New: func() any { return new([SmallBuffer]byte) }}
	large = sync.Pool{New: func() any { return new([LargeBuffer]byte) }}
)

// Input reads a connection. Before it waits for the network it calls flush:
// so the replies of a pipelined batch leave in one write, when the batch has
// been worked off.
type Input struct {
	Conn  net.Conn // changed to TLS by whoever does the handshake
	flush func() error
	buf   []byte // of one of the pools
	r, w  int    // what is read, what is there
	small *[SmallBuffer]byte
	large *[LargeBuffer]byte
}

// Init makes the input ready for a connection; flush sends what waits to be sent.
func (in *Input) Init(conn net.Conn, flush func() error) {
	in.Conn, in.flush = conn, flush
	in.small = small.Get().(*[SmallBuffer]byte)
	in.buf = in.small[:]
}

// Release gives the buffers back; their bytes stay until another session
// overwrites them and are never read by it.
func (in *Input) Release() {
	if in.large != nil {
		large.Put(in.large)
	}
	if in.small != nil {
		small.Put(in.small)
	}
	in.small, in.large, in.buf, in.r, in.w = nil, nil, nil, 0, 0
}

// Grow takes a large buffer for a message's bytes.
func (in *Input) Grow() {
	if in.large != nil {
		return
	}
	in.large = large.Get().(*[LargeBuffer]byte)
	in.w = copy(in.large[:], in.buf[in.r:in.w])
	in.r, in.buf = 0, in.large[:]
}

// Shrink gives it back as soon as what is unread fits into the small one.
func (in *Input) Shrink() {
	if in.large == nil || in.w-in.r > SmallBuffer {
		return
	}
	in.w = copy(in.small[:], in.buf[in.r:in.w])
	in.r, in.buf = 0, in.small[:]
	large.Put(in.large)
	in.large = nil
}

// Unread returns the bytes that have come but were not taken.
func (in *Input) Unread() []byte { return in.buf[in.r:in.w] }

// Take marks n bytes as read.
func (in *Input) Take(n int) { in.r += n }

// Fill reads more behind the unread bytes; there must be room for one byte
// after moving them to the front.
func (in *Input) Fill() error {
	if err := in.flush(); err != nil {
		return err
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	n, err := in.Conn.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Line returns the next line without its end, valid until the next call. A
// Line longer than limit is cut, and the rest is thrown away, as Postfix does.
// bare tells that it ended in LF without CR.
func (in *Input) Line(limit int) (line []byte, long, bare bool, err error) {
	in.Shrink()
	return in.LineIn(limit)
}

// LineIn is line within the buffer there is; limit is below its size.
func (in *Input) LineIn(limit int) (line []byte, long, bare bool, err error) {
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
		if err := in.Fill(); err != nil {
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
func (in *Input) skip(limit int) ([]byte, bool, bool, error) {
	keep := bytes.Clone(in.buf[in.r : in.r+limit])
	for {
		if i := bytes.IndexByte(in.Unread(), '\n'); i >= 0 {
			in.r += i + 1
			return keep, true, false, nil
		}
		in.r = in.w
		if err := in.Fill(); err != nil {
			return nil, false, false, err
		}
	}
}

// Early reads what a client sent before it was spoken to, without waiting.
func (in *Input) Early() []byte {
	in.Conn.SetReadDeadline(time.Now().Add(time.Microsecond))
	n, _ := in.Conn.Read(in.buf[in.w:]) // an error comes again at the next read
	in.w += n
	return in.Unread()
}
