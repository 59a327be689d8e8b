package format

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ownHeaders are the header fields in which an mbox keeps its own state, in
// lower case. They are not part of the message: readers do not see them, and
// who brings them along from outside would set flags and UIDs of a mailbox
// that is not his.
var ownHeaders = [...]string{"status", "x-status", "x-keywords", "x-uid", "x-imap", "x-imapbase", "content-length"}

// IsOwn tells whether a header field is one of ownHeaders.
func IsOwn(name []byte) bool {
	if len(name) < 5 || len(name) > 14 {
		return false
	}
	if c := name[0] | 32; c != 's' && c != 'x' && c != 'c' {
		return false
	}
	for _, own := range ownHeaders {
		if equalFold(name, own) {
			return true
		}
	}
	return false
}

// equalFold compares b with a string in lower case, ASCII only.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 32
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// FieldName returns the name of a header line, nil when it is none or the
// continuation of the line before.
func FieldName(line []byte) []byte {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || line[0] == ' ' || line[0] == '\t' {
		return nil
	}
	return bytes.TrimRight(line[:i], " \t")
}

// copier writes one message into an mbox: own header fields and Lines are
// dropped, and one empty line stands behind. A line of the body that begins
// with "From ", ">From ", ">>From " ... gets one more ">" in front (mboxrd),
// which reading takes off again. In the header only a bare "From " does, as in
// mail_copy(3) of Postfix: no header is ever unquoted.
type copier struct {
	w     io.Writer
	crlf  bool // the message has CRLF line ends, which become LF
	state copyState
	head  bool // the last header line was dropped: so are its continuations
	bol   bool // at the begin of a line
	cr    bool // a CR at the end of a piece, which may be half of a CRLF
	lead  bool // of this line there were only ">" so far, and
	held  int  // octets of "From ", which wait for the rest of it
	last  byte
}

type copyState uint8

const (
	inHeader copyState = iota
	inBody
)

var (
	gt = []byte(">")
	cr = []byte("\r")
)

// CopyMessage copies all of r to w, whose errors its owner keeps, and returns the octets of r. The tail callback writes
// the mbox's own header lines where the header ends.
func CopyMessage(w io.Writer, r *bufio.Reader, crlf bool, tail func(io.Writer)) (int64, error) {
	c := copier{w: w, crlf: crlf, bol: true, last: '\n'}
	var n int64
	for {
		line, err := r.ReadSlice('\n')
		n += int64(len(line))
		if len(line) > 0 {
			c.line(line, tail)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, &ReadError{err}
		}
	}
	c.end(tail)
	return n, nil
}

// ReadError says that the message could not be read, not that the mailbox
// could not be written.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "reading the message: " + e.Err.Error() }

// Unwrap returns the reader's error.
func (e *ReadError) Unwrap() error { return e.Err }

// line takes one line or, where it is longer than the buffer, a piece of one.
func (c *copier) line(b []byte, tail func(io.Writer)) {
	start := c.bol
	c.bol = b[len(b)-1] == '\n'
	if c.crlf {
		if b = c.bare(b); len(b) == 0 {
			return
		}
	}
	if start && c.state == inHeader {
		c.header(b, tail)
	}
	if c.head {
		return
	}
	if start && (b[0] == 'F' || b[0] == '>') {
		c.lead, c.held = true, 0
	}
	if c.lead {
		if b = c.quote(b); len(b) == 0 {
			return
		}
	}
	c.w.Write(b)
	c.last = b[len(b)-1]
}

// quote takes the begin of a line, which may be cut anywhere, and returns what
// of b is still to be written.
func (c *copier) quote(b []byte) []byte {
	if n := quotes(b); n > 0 && c.held == 0 && c.state == inBody {
		c.w.Write(b[:n])
		c.last = '>'
		b = b[n:]
	}
	for len(b) > 0 && c.held < len(fromPrefix) && b[0] == fromPrefix[c.held] {
		c.held++
		b = b[1:]
	}
	if c.held == len(fromPrefix) {
		c.w.Write(gt)
	}
	if len(b) > 0 || c.held == len(fromPrefix) {
		c.release()
	}
	return b
}

// release writes the begin of "From " that waits.
func (c *copier) release() {
	if c.held > 0 {
		c.w.Write(fromPrefix[:c.held])
		c.last = fromPrefix[c.held-1]
	}
	c.lead, c.held = false, 0
}

// bare returns a line with LF in place of CRLF. A CR that ends a piece waits
// for the next piece.
func (c *copier) bare(b []byte) []byte {
	if c.cr && b[0] != '\n' && !c.head {
		c.release()
		c.w.Write(cr)
		c.last = '\r'
	}
	n := len(b)
	c.cr = b[n-1] == '\r'
	if c.cr {
		return b[:n-1]
	}
	if n >= 2 && b[n-1] == '\n' && b[n-2] == '\r' {
		b[n-2] = '\n'
		return b[:n-1]
	}
	return b
}

// header looks at a line of the header: is it dropped, or does the body begin?
func (c *copier) header(b []byte, tail func(io.Writer)) {
	if b[0] == '\n' || (b[0] == '\r' && len(b) == 2) {
		c.state, c.head = inBody, false
		if tail != nil {
			tail(c.w)
		}
		return
	}
	if b[0] == ' ' || b[0] == '\t' {
		return // as the line before
	}
	name := FieldName(b)
	c.head = name != nil && (IsOwn(name) || equalFold(name, "lines"))
}

// end completes the message: its last line, the end of a header that had no
// body, and the empty line that stands before the next From_ line.
func (c *copier) end(tail func(io.Writer)) {
	c.release()
	if c.cr && !c.head {
		c.w.Write(cr)
		c.last = '\r'
	}
	if c.last != '\n' {
		c.w.Write(lf)
	}
	if c.state == inHeader {
		if tail != nil {
			tail(c.w)
		}
		c.w.Write(lf)
	}
	c.w.Write(lf)
}
