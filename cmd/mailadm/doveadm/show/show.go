// Package show prints doveadm's results in the forms of its -f option: flow, tab,
// pager, table and json, byte for byte as Dovecot 2.3 does, because scripts read
// them. A result is a sequence of values, row by row, under columns that were
// named before.
package show

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Column is one column.
type Column struct {
	Key    string // name in json
	Title  string // name in the other forms; empty = Key
	Hide   bool   // flow, pager and table leave the name out
	Right  bool   // table aligns to the right
	Expand bool   // table gives it what the line has to spare
}

// title is the name that people see.
func (c Column) title() string {
	if c.Title != "" {
		return c.Title
	}
	return c.Key
}

// Formatter prints one result.
type Formatter interface {
	// Columns names the columns; it is called once, before the first value.
	Columns(list []Column)
	// Value prints the next value.
	Value(s string)
	// Piece prints a part of a value that is too long to be held; Done ends it. An
	// error says that the form has no place for such values.
	Piece(p []byte) error
	Done()
	// Flush ends the result.
	Flush() error
}

// Forms are the names that New knows.
func Forms() []string { return []string{"flow", "json", "pager", "tab", "table"} }

// ErrMultiline says that a table has no place for a value of many lines.
var ErrMultiline = errors.New("table formatter doesn't support multi-line values")

// New returns the formatter of a name, or nil when there is none.
func New(name string, w io.Writer) Formatter {
	b := base{w: bufio.NewWriter(w)}
	switch name {
	case "flow":
		return &flow{base: b}
	case "tab":
		return &tab{base: b}
	case "pager":
		return &pager{base: b}
	case "table":
		return &table{base: b}
	case "json":
		return &json{base: b}
	}
	return nil
}

// base is what all forms share.
type base struct {
	w       *bufio.Writer
	cols    []Column
	at      int  // column of the next value
	rows    int  // rows that are complete
	inside  bool // pieces of a value were printed
	started bool
}

func (b *base) Columns(list []Column) { b.cols = append(b.cols, list...) }

func (b *base) Flush() error { return b.w.Flush() }

// next goes to the next column; it tells whether a row has ended.
func (b *base) next() bool {
	b.inside = false
	b.at++
	if b.at < len(b.cols) {
		return false
	}
	b.at = 0
	b.rows++
	return true
}

// flow: "key=value key=value", a line a row.
type flow struct{ base }

func (f *flow) begin() {
	if c := f.cols[f.at]; !c.Hide {
		f.w.WriteString(c.title() + "=")
	}
}

func (f *flow) end() {
	if f.next() {
		f.w.WriteByte('\n')
	} else {
		f.w.WriteByte(' ')
	}
}

func (f *flow) Value(s string) {
	f.begin()
	f.w.WriteString(s)
	f.end()
}

func (f *flow) Piece(p []byte) error {
	if !f.inside {
		f.begin()
		f.inside = true
	}
	f.w.Write(p)
	return nil
}

func (f *flow) Done() {
	f.Piece(nil)
	f.end()
}

// tab: a line of names, then a line a row, values with tabs between them. Each
// piece of a long value has a tab before it, as in Dovecot.
type tab struct{ base }

func (t *tab) header() {
	if t.started {
		return
	}
	t.started = true
	for i, c := range t.cols {
		if i > 0 {
			t.w.WriteByte('\t')
		}
		t.w.WriteString(c.title())
	}
	t.w.WriteByte('\n')
}

func (t *tab) Value(s string) {
	t.Piece([]byte(s))
	if t.next() {
		t.w.WriteByte('\n')
	}
}

func (t *tab) Piece(p []byte) error {
	t.header()
	if t.at > 0 {
		t.w.WriteByte('\t')
	}
	t.w.Write(p)
	return nil
}

func (t *tab) Done() { t.Value("") }

func (t *tab) Flush() error {
	if len(t.cols) > 0 {
		t.header()
	}
	return t.w.Flush()
}

// pager: "key: value", a line a value, rows parted by form feeds.
type pager struct{ base }

func (p *pager) begin() {
	if p.at == 0 && p.rows > 0 {
		p.w.WriteString("\f\n")
	}
}

func (p *pager) Value(s string) {
	p.begin()
	if c := p.cols[p.at]; !c.Hide {
		p.w.WriteString(c.title() + ": ")
	}
	p.w.WriteString(s + "\n")
	p.next()
}

// Piece parts no rows: where a long value comes first Dovecot writes no form feed.
func (p *pager) Piece(b []byte) error {
	if !p.inside {
		p.w.WriteString(p.cols[p.at].title() + ":\n")
		p.inside = true
	}
	p.w.Write(b)
	return nil
}

func (p *pager) Done() {
	if !p.inside {
		p.Piece(nil)
	}
	p.next()
}

// json: a list of objects on one line, without a line end behind it.
type json struct{ base }

func (j *json) begin() {
	switch {
	case j.at == 0 && j.rows == 0:
		j.w.WriteString("[{")
	case j.at == 0:
		j.w.WriteString(",{")
	default:
		j.w.WriteByte(',')
	}
	j.started = true
	fmt.Fprintf(j.w, `"%s":"`, escape([]byte(j.cols[j.at].Key)))
}

func (j *json) end() {
	j.w.WriteByte('"')
	if j.next() {
		j.w.WriteByte('}')
	}
}

func (j *json) Value(s string) {
	j.begin()
	j.w.Write(escape([]byte(s)))
	j.end()
}

func (j *json) Piece(p []byte) error {
	if !j.inside {
		j.begin()
		j.inside = true
	}
	j.w.Write(escape(p))
	return nil
}

func (j *json) Done() {
	if !j.inside {
		j.begin()
	}
	j.end()
}

func (j *json) Flush() error {
	switch {
	case j.started:
		j.w.WriteByte(']')
	case len(j.cols) > 0:
		j.w.WriteString("[]")
	}
	return j.w.Flush()
}

// escape writes a text as the inside of a JSON string (RFC 8259 section 7).
// Octets that are no UTF-8 pass as they are, as in Dovecot.
func escape(s []byte) []byte {
	if !bytes.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == 0x2028 || r == 0x2029 }) {
		return s
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		case c == 0xe2 && i+2 < len(s) && s[i+1] == 0x80 && s[i+2]&^1 == 0xa8:
			b = fmt.Appendf(b, `\u20%02x`, 0x28|s[i+2]&1)
			i += 2
		default:
			b = append(b, c)
		}
	}
	return b
}
