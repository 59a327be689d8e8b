package imapd

import (
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store/names"
)

// outSize is how much may wait to be written. A client that does not read
// stops its own session here; no answer is held beyond it.
const outSize = 32 << 10

// errShort is a message that gave fewer octets than its literal announced: the
// stream cannot be mended, so the session ends.
var errShort = errors.New("message is shorter than the mailbox says")

// output collects answers and writes many with one system call. The first
// error stays: all that follows is dropped.
type output struct {
	conn    net.Conn
	timeout time.Duration
	buf     []byte
	sent    int64 // octets written so far
	err     error
}

// flush writes what waits.
func (o *output) flush() error {
	if len(o.buf) == 0 || o.err != nil {
		o.buf = o.buf[:0]
		return o.err
	}
	o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
	n, err := o.conn.Write(o.buf)
	o.sent += int64(n)
	o.err = err
	o.buf = o.buf[:0]
	if cap(o.buf) > 4*outSize {
		o.buf = make([]byte, 0, outSize) // one long ENVELOPE does not stay for ever
	}
	return err
}

// text appends strings.
func (o *output) text(parts ...string) {
	for _, p := range parts {
		o.buf = append(o.buf, p...)
	}
}

// num appends a number.
func (o *output) num(n int64) { o.buf = strconv.AppendInt(o.buf, n, 10) }

// line ends a line and writes when enough waits.
func (o *output) line() {
	o.buf = append(o.buf, '\r', '\n')
	if len(o.buf) >= outSize {
		o.flush()
	}
}

// name appends a mailbox name in the form of the wire.
func (o *output) name(name string) {
	o.buf = syntax.AppendAString(o.buf, names.Encode(name))
}

// Write appends p and writes when the buffer is full: for io.Writer's sake.
func (o *output) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && o.err == nil {
		n := min(len(p), max(outSize-len(o.buf), 0))
		o.buf = append(o.buf, p[:n]...)
		if p = p[n:]; len(o.buf) >= outSize {
			o.flush()
		}
	}
	return total, o.err
}

// literalHead announces n octets.
func (o *output) literalHead(n int64) {
	o.text("{")
	o.num(n)
	o.text("}\r\n")
}

// copyN copies exactly n octets of r through the buffer.
func (o *output) copyN(r io.Reader, n int64) error {
	for n > 0 && o.err == nil {
		if len(o.buf) >= outSize {
			o.flush()
		}
		if cap(o.buf) < outSize {
			o.buf = append(make([]byte, 0, outSize), o.buf...)
		}
		room := int(min(n, int64(outSize-len(o.buf))))
		k, err := r.Read(o.buf[len(o.buf) : len(o.buf)+room])
		render.NoNULs(o.buf[len(o.buf) : len(o.buf)+k])
		o.buf = o.buf[:len(o.buf)+k]
		n -= int64(k)
		if err != nil && n > 0 {
			o.err = errShort
			if err != io.EOF {
				o.err = err
			}
		}
	}
	return o.err
}
