// Package mapfile reads the form that all table files of Postfix share: logical
// lines with comments and continuation lines, and lists with { } in them
// (postmap(1), "table format"; postconf(5)).
package mapfile

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// MaxLine is the longest logical line of a source in bytes: mailing lists as
// aliases reach some hundred kilobytes, nothing honest reaches this.
const MaxLine = 16 << 20

// Lines reads logical lines: blank lines and comments are skipped even inside
// a continued line, and a line that begins with white space continues the one
// before it (postmap(1), "table format").
type Lines struct {
	r     *bufio.Reader
	n     int    // number of the physical line that peek holds
	start int    // number of the first physical line of the logical line
	cur   []byte // the logical line
	peek  []byte // the next physical line, when held
	held  bool
	raw   []byte // buffer of physical lines longer than r's
}

// NewLines returns the logical lines of r.
func NewLines(r io.Reader) *Lines { return &Lines{r: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next logical line without white space at its end, and the
// number of its first physical line. It returns io.EOF after the last one. The
// bytes are good until the next call.
func (l *Lines) Next() ([]byte, int, error) {
	l.cur = l.cur[:0]
	for {
		p, err := l.physical()
		if err == io.EOF && len(l.cur) > 0 {
			return l.cur, l.start, nil
		}
		if err != nil {
			return nil, l.n, err
		}
		switch {
		case Blank(p):
		case len(l.cur) == 0:
			l.start = l.n
			l.cur = append(l.cur, p...)
		case IsSpace(p[0]):
			l.cur = append(l.cur, p...)
		default:
			l.held = true
			return l.cur, l.start, nil
		}
		if len(l.cur) > MaxLine {
			return nil, l.n, fmt.Errorf("line %d: longer than %d bytes", l.start, MaxLine)
		}
	}
}

// physical returns one line of the file without its end and trailing blanks.
func (l *Lines) physical() ([]byte, error) {
	if l.held {
		l.held = false
		return l.peek, nil
	}
	l.raw = l.raw[:0]
	for {
		p, err := l.r.ReadSlice('\n')
		if err == nil && len(l.raw) == 0 {
			l.n++
			l.peek = TrimRight(p)
			return l.peek, nil
		}
		l.raw = append(l.raw, p...)
		switch {
		case err == bufio.ErrBufferFull && len(l.raw) <= MaxLine:
		case err == bufio.ErrBufferFull:
			return nil, fmt.Errorf("line %d: longer than %d bytes", l.n+1, MaxLine)
		case err == io.EOF && len(l.raw) == 0:
			return nil, io.EOF
		case err == nil || err == io.EOF:
			l.n++
			l.peek = TrimRight(l.raw)
			return l.peek, nil
		default:
			return nil, err
		}
	}
}

// Blank tells whether p says nothing: white space, or a comment.
func Blank(p []byte) bool {
	for _, c := range p {
		if !IsSpace(c) {
			return c == '#'
		}
	}
	return true
}

// IsSpace tells white space as isspace(3) of the C locale does.
func IsSpace(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

// TrimRight cuts white space off the end of p.
func TrimRight(p []byte) []byte {
	for len(p) > 0 && IsSpace(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	return p
}

// TrimLeft cuts white space off the beginning of p.
func TrimLeft(p []byte) []byte {
	for len(p) > 0 && IsSpace(p[0]) {
		p = p[1:]
	}
	return p
}

// SplitKey divides a logical line at its first white space outside double
// quotes. A key between quotes keeps them, as postmap(1) keeps them.
func SplitKey(line []byte) (key, value []byte) {
	line = TrimLeft(line)
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case IsSpace(c) && !quoted:
			return line[:i], TrimLeft(line[i:])
		}
	}
	return line, nil
}

// CutList splits s at white space and commas outside { }, as Postfix splits
// lists of tables (extpar(3)). An item in braces loses them.
func CutList(s string) ([]string, error) {
	var items []string
	for {
		s = strings.TrimLeft(s, ", \t\r\n")
		if s == "" {
			return items, nil
		}
		n := itemLen(s)
		if n < 0 {
			return nil, fmt.Errorf("missing '}' in \"%s\"", s)
		}
		item := s[:n]
		if item[0] == '{' {
			item = strings.TrimSpace(item[1 : n-1])
		}
		items = append(items, item)
		s = s[n:]
	}
}

// itemLen returns the length of the first item of s; -1 for a brace without
// its fellow. An item that begins with a brace ends with its fellow.
func itemLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
			if depth == 0 && s[0] == '{' {
				return i + 1
			}
		case depth == 0 && strings.IndexByte(", \t\r\n", c) >= 0:
			return i
		}
	}
	if depth > 0 {
		return -1
	}
	return len(s)
}
