// Package message reads Internet messages (RFC 5322) as a stream: header
// fields with their raw bytes, and address lists as real mail writes them.
package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// HeaderLimits bounds what a HeaderReader keeps. Zero values are replaced by
// the defaults that stand behind.
type HeaderLimits struct {
	Field  int // octets of one field that are kept, 102400 (header_size_limit); more is skipped
	Header int // octets of all fields together, 50 MiB; then the header counts as ended
}

const (
	defaultFieldLimit  = 102400
	defaultHeaderLimit = 50 << 20
)

// maxName is the length in octets within which a field's colon must stand when
// the reader's buffer is smaller.
const maxName = 1000

// Field is one header field. Its slices belong to the reader and hold until
// the next field is read.
type Field struct {
	Raw       []byte // as it stands, all lines with their line ends
	Name      []byte // the bytes before the colon, without trailing blanks
	Body      []byte // the bytes behind the colon, line ends included
	Truncated bool   // the field was longer than the limit: the end is missing
}

// ParseField takes a field apart. It returns false when raw does not begin
// with a field name and a colon. Names are printable ASCII without blanks and
// colon (RFC 5322 section 2.2); blanks before the colon are tolerated
// (section 4.5).
func ParseField(raw []byte) (Field, bool) {
	n := NameLen(raw)
	if n == 0 {
		return Field{}, false
	}
	colon := n + bytes.IndexByte(raw[n:], ':')
	return Field{Raw: raw, Name: raw[:n], Body: raw[colon+1:]}, true
}

// NameLen returns the length of the field name at the start of line, and 0
// when line begins no header field.
func NameLen(line []byte) int {
	n := 0
	for n < len(line) && line[n] > ' ' && line[n] < 0x7f && line[n] != ':' {
		n++
	}
	for i := n; i < len(line) && n > 0; i++ {
		if line[i] == ':' {
			return n
		}
		if line[i] != ' ' && line[i] != '\t' {
			break
		}
	}
	return 0
}

// Is tells whether the field has this name, in any case.
func (f Field) Is(name string) bool {
	return len(f.Name) == len(name) && strings.EqualFold(string(f.Name), name)
}

// Value returns the unfolded value (RFC 5322 section 2.2.3): line ends
// removed, blanks at both ends trimmed.
func (f Field) Value() string {
	b := bytes.Trim(f.Body, " \t\r\n")
	if bytes.IndexByte(b, '\n') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for line := range bytes.Lines(b) {
		out = append(out, bytes.TrimRight(line, "\r\n")...)
	}
	return string(out)
}

// HeaderReader reads the header of a message, with LF or CRLF line ends, field
// by field.
type HeaderReader struct {
	r      *bufio.Reader
	limits HeaderLimits
	buf    []byte // the field being read
	line   []byte // a line that was read and belongs to the next field or the body
	size   int
	blank  bool
	done   bool
}

// NewHeaderReader returns a reader of the header that begins at r's position.
func NewHeaderReader(r *bufio.Reader, l HeaderLimits) *HeaderReader {
	if l.Field <= 0 {
		l.Field = defaultFieldLimit
	}
	if l.Header <= 0 {
		l.Header = defaultHeaderLimit
	}
	return &HeaderReader{r: r, limits: l}
}

// Next returns the next field. It returns io.EOF at the end of the header: at
// the empty line, which is consumed, at a line that is no header field, at the
// limit, or at the end of r. Other errors are r's.
func (h *HeaderReader) Next() (Field, error) {
	if h.done {
		return Field{}, io.EOF
	}
	if err := h.first(); err != nil {
		h.done = true
		return Field{}, err
	}
	truncated, err := h.lines()
	if err != nil {
		return Field{}, err
	}
	f, _ := ParseField(h.buf) // first has seen to it that this is a field
	f.Truncated = truncated
	return f, nil
}

// first puts the first line of a field into buf.
func (h *HeaderReader) first() error {
	if h.line == nil {
		err := bufio.ErrBufferFull
		for errors.Is(err, bufio.ErrBufferFull) && NameLen(h.line) == 0 && len(h.line) < maxName {
			var line []byte
			line, err = h.r.ReadSlice('\n')
			h.line = append(h.line, line...)
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	switch {
	case isEmptyLine(h.line):
		h.blank, h.line = true, h.line[:0]
		return io.EOF
	case NameLen(h.line) == 0, h.size > h.limits.Header:
		return io.EOF
	}
	h.buf = append(h.buf[:0], h.line...)
	h.line = h.line[:0]
	return nil
}

// lines adds the rest of the first line and all continuation lines to buf.
func (h *HeaderReader) lines() (truncated bool, err error) {
	whole := bytes.HasSuffix(h.buf, []byte("\n"))
	for {
		if whole {
			next, err := h.r.Peek(1)
			if err != nil || (next[0] != ' ' && next[0] != '\t') {
				h.line = nil
				h.size += len(h.buf)
				return truncated, ignoreEOF(err)
			}
		}
		part, err := h.r.ReadSlice('\n')
		if room := h.limits.Field - len(h.buf); len(part) > room {
			truncated = true
			part, whole = part[:max(room, 0)], err == nil
		} else {
			whole = err == nil
		}
		h.buf = append(h.buf, part...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			h.line = nil
			return truncated, ignoreEOF(err)
		}
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func isEmptyLine(line []byte) bool {
	return len(line) == 1 && line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}

// Blank tells, after Next has returned io.EOF, whether the header ended with
// an empty line.
func (h *HeaderReader) Blank() bool { return h.blank }

// Rest returns, after Next has returned io.EOF, the bytes that the reader took
// from r and that belong to the body.
func (h *HeaderReader) Rest() []byte { return h.line }
