// Package wire writes the answers of an IMAP session: many with one system call,
// never more than 32 KiB held.
package wire

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store/names"
)

// Size is how much may wait to be written. A client that does not read
// stops its own session here; no answer is held beyond it.
const Size = 32 << 10

// ErrShort is a message that gave fewer octets than its literal announced: the
// stream cannot be mended, so the session ends.
var ErrShort = errors.New("message is shorter than the mailbox says")

// Output collects answers and writes many with one system call. The first
// error stays: all that follows is dropped.
type Output struct {
	Conn    net.Conn
	Timeout time.Duration
	Buf     []byte
	Sent    int64 // octets written so far
	Err     error
	UTF8    bool // names are UTF-8 in quotes (RFC 6855 section 3)

	pack   *flate.Writer // COMPRESS (RFC 4978); nil = off
	packed bytes.Buffer
}

// Compress sends everything that comes from now on deflated. What waits is sent as
// it is. It takes some 600 KiB.
func (o *Output) Compress() error {
	if err := o.Flush(); err != nil {
		return err
	}
	var err error
	o.pack, err = flate.NewWriter(&o.packed, flate.BestSpeed)
	return err
}

// Compressed tells whether Compress was called.
func (o *Output) Compressed() bool { return o.pack != nil }

// deflated returns what stands for the answers that wait. It ends at the border of
// an octet, so that the client can read all of it.
func (o *Output) deflated() ([]byte, error) {
	o.packed.Reset()
	if _, err := o.pack.Write(o.Buf); err != nil {
		return nil, err
	}
	err := o.pack.Flush()
	return o.packed.Bytes(), err
}

// Flush writes what waits.
func (o *Output) Flush() error {
	if len(o.Buf) == 0 || o.Err != nil {
		o.Buf = o.Buf[:0]
		return o.Err
	}
	b := o.Buf
	if o.pack != nil {
		var err error
		if b, err = o.deflated(); err != nil {
			o.Err = err
			return err
		}
	}
	o.Conn.SetWriteDeadline(time.Now().Add(o.Timeout))
	n, err := o.Conn.Write(b)
	o.Sent += int64(n)
	o.Err = err
	o.Buf = o.Buf[:0]
	if cap(o.Buf) > 4*Size {
		o.Buf = make([]byte, 0, Size) // one long ENVELOPE does not stay for ever
	}
	return err
}

// Text appends strings.
func (o *Output) Text(parts ...string) {
	for _, p := range parts {
		o.Buf = append(o.Buf, p...)
	}
}

// Num appends a number.
func (o *Output) Num(n int64) { o.Buf = strconv.AppendInt(o.Buf, n, 10) }

// FlushFull writes when enough waits, in the middle of a line.
func (o *Output) FlushFull() error {
	if len(o.Buf) >= Size {
		return o.Flush()
	}
	return o.Err
}

// Line ends a line and writes when enough waits.
func (o *Output) Line() {
	o.Buf = append(o.Buf, '\r', '\n')
	if len(o.Buf) >= Size {
		o.Flush()
	}
}

// Name appends a mailbox name in the form of the wire.
func (o *Output) Name(name string) {
	if o.UTF8 {
		o.Buf = syntax.AppendUTF8(o.Buf, name)
		return
	}
	o.Buf = syntax.AppendAString(o.Buf, names.Encode(name))
}

// QuotedName appends a name that may not be an atom.
func (o *Output) QuotedName(name string) {
	if o.UTF8 {
		o.Buf = syntax.AppendQuoted(o.Buf, name)
		return
	}
	o.Buf = syntax.AppendNString(o.Buf, []byte(names.Encode(name)))
}

// Write appends p and writes when the buffer is full: for io.Writer's sake.
func (o *Output) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && o.Err == nil {
		n := min(len(p), max(Size-len(o.Buf), 0))
		o.Buf = append(o.Buf, p[:n]...)
		if p = p[n:]; len(o.Buf) >= Size {
			o.Flush()
		}
	}
	return total, o.Err
}

// LiteralHead announces n octets.
func (o *Output) LiteralHead(n int64) {
	o.Text("{")
	o.Num(n)
	o.Text("}\r\n")
}

// CopyN copies exactly n octets of r through the buffer.
func (o *Output) CopyN(r io.Reader, n int64) error {
	for n > 0 && o.Err == nil {
		if len(o.Buf) >= Size {
			o.Flush()
		}
		if cap(o.Buf) < Size {
			o.Buf = append(make([]byte, 0, Size), o.Buf...)
		}
		room := int(min(n, int64(Size-len(o.Buf))))
		k, err := r.Read(o.Buf[len(o.Buf) : len(o.Buf)+room])
		render.NoNULs(o.Buf[len(o.Buf) : len(o.Buf)+k])
		o.Buf = o.Buf[:len(o.Buf)+k]
		n -= int64(k)
		if err != nil && n > 0 {
			o.Err = ErrShort
			if err != io.EOF {
				o.Err = err
			}
		}
	}
	return o.Err
}
