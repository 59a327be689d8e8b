package message

import (
	"bytes"
	"io"
	"sync"
)

// Limits of Parse. A message beyond them is still described, less deeply:
// what is too much counts as a plain body.
const (
	MaxNesting  = 100      // levels of parts: mime_nesting_limit of postconf(5)
	MaxParts    = 10000    // parts of one message, as Dovecot's parser
	MaxHeader   = 10 << 20 // octets of one header that are looked at
	maxField    = 256 << 10
	maxKept     = 1 << 20 // octets of field values kept for one message
	maxBoundary = 80      // octets of a boundary that are compared, as Dovecot; RFC 2046 section 5.1.1 allows 70
)

// Param is one parameter of a header field. A name that ends with "*" has a
// value in RFC 2231 encoding, which is passed on as it came.
type Param struct{ Key, Value []byte }

// Part is one part of the tree that MIME (RFC 2046) makes of a message. Octets
// are counted with CRLF line ends, offsets from the first octet of the message.
// A nil slice stands for a field that is absent.
type Part struct {
	Pos        int64 // offset of the part's header
	HeaderSize int64 // octets of the header, empty line included
	BodySize   int64 // octets of the body, without the line end before a boundary
	Lines      int64 // line ends in the body

	Type, Subtype []byte // "text" and "plain" where Content-Type is absent or broken
	Params        []Param
	ID            []byte
	Description   []byte
	Encoding      []byte
	MD5           []byte
	Disposition   []byte
	DispParams    []Param
	Language      [][]byte
	Location      []byte

	MIME      bool      // MIME-Version or Content-Type is there
	Multipart bool      // Children are its parts (none when no boundary was found)
	Message   bool      // Children[0] is the message inside (message/rfc822)
	Envelope  *Envelope // of the whole message, and of the message inside a message/rfc822
	Children  []*Part
}

// BodyPos returns the offset of the part's body.
func (p *Part) BodyPos() int64 { return p.Pos + p.HeaderSize }

// bufSize is how much of the message is held at a time.
const bufSize = 32 << 10

// parser reads the message once, from front to end.
type parser struct {
	r     io.Reader
	err   error
	buf   []byte
	a, b  int   // buf[a:b] is read and not used yet
	pos   int64 // offset of buf[a]
	lines int64 // line ends before pos

	fresh   bool  // a header has just been read, and
	headEOL int64 // its last line ended with so many octets
	parts   int
	kept    int
	field   []byte // the field value being unfolded
	marks   [][]byte
}

// Parser makes trees of messages and keeps its buffers for the next one. It is
// safe for many goroutines.
type Parser struct{ pool *sync.Pool }

// buffers is what one Parse works with.
type buffers struct {
	data  []byte
	field []byte
}

// NewParser returns a Parser.
func NewParser() *Parser {
	return &Parser{&sync.Pool{New: func() any { return &buffers{data: make([]byte, bufSize)} }}}
}

// Parse reads a message and returns its tree. It holds 32 KiB of the message
// and at most 1 MiB of field values. The error is that of r.
func (ps *Parser) Parse(r io.Reader) (*Part, error) {
	bufs := ps.pool.Get().(*buffers)
	p := &parser{r: r, buf: bufs.data, field: bufs.field, parts: 1}
	defer ps.giveBack(bufs, p)
	root := &Part{Envelope: &Envelope{}}
	p.part(root, false, 0)
	if p.err == io.EOF {
		return root, nil
	}
	return root, p.err
}

// Header reads no further than a message's header and returns its envelope.
func (ps *Parser) Header(r io.Reader) (*Envelope, error) {
	bufs := ps.pool.Get().(*buffers)
	p := &parser{r: r, buf: bufs.data, field: bufs.field}
	defer ps.giveBack(bufs, p)
	root := &Part{Envelope: &Envelope{}}
	p.header(root)
	if p.err != nil && p.err != io.EOF {
		return nil, p.err
	}
	return root.Envelope, nil
}

// giveBack keeps the buffers, but not one that a giant field has made big.
func (ps *Parser) giveBack(b *buffers, p *parser) {
	if b.field = p.field[:0]; cap(b.field) > bufSize {
		b.field = nil
	}
	ps.pool.Put(b)
}

// Parse is NewParser().Parse for callers who read one message.
func Parse(r io.Reader) (*Part, error) { return NewParser().Parse(r) }

// fill makes room and reads more. It returns false when nothing more comes.
func (p *parser) fill() bool {
	if p.err != nil || p.a == 0 && p.b == len(p.buf) {
		return false
	}
	if p.a > 0 {
		p.b = copy(p.buf, p.buf[p.a:p.b])
		p.a = 0
	}
	for range 100 { // a reader that gives nothing a hundred times is broken: io.ErrNoProgress
		n, err := p.r.Read(p.buf[p.b:])
		p.b += n
		p.err = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	p.err = io.ErrNoProgress
	return false
}

// peek returns the next line with its line end, or as much of it as the
// buffer holds. It returns nil at the end.
func (p *parser) peek() []byte {
	seen := 0
	for {
		if i := bytes.IndexByte(p.buf[p.a+seen:p.b], '\n'); i >= 0 {
			return p.buf[p.a : p.a+seen+i+1]
		}
		seen = p.b - p.a
		if !p.fill() {
			return p.buf[p.a:p.b]
		}
	}
}

// skip uses up n octets of what peek returned.
func (p *parser) skip(n int) {
	p.a += n
	p.pos += int64(n)
}

// stop says where a body ended and why.
type stop struct {
	mark    int   // the boundary's place in parser.marks; -1 at the end of the message
	closing bool  // the boundary had "--" behind it
	end     int64 // offset of the body's end, the line end before the boundary left out
	lines   int64 // line ends before end, in the whole message
}

// part reads one part: its header, then its body up to a boundary of an outer
// multipart. In a multipart/digest the default type is message/rfc822.
func (p *parser) part(t *Part, digest bool, depth int) stop {
	t.Pos = p.pos
	boundary, cut := p.header(t)
	t.HeaderSize = p.pos - t.Pos
	t.setType(digest)
	t.Multipart = t.Multipart && depth < MaxNesting
	t.Message = t.Message && depth < MaxNesting && p.parts < MaxParts
	before := p.lines
	var s stop
	switch {
	case t.Multipart && boundary != nil && !cut:
		s = p.multipart(t, boundary, depth)
	case t.Message:
		s = p.message(t, depth)
	default:
		s = p.body()
	}
	t.BodySize, t.Lines = s.end-t.BodyPos(), max(s.lines-before, 0)
	if t.BodySize < 0 {
		// A boundary stands where the body should. The line end before it is
		// the boundary's; the parts around this one count it all the same.
		s.lines++
		s.end = t.BodyPos()
		t.HeaderSize, t.BodySize = t.HeaderSize+t.BodySize, 0
	}
	return s
}

// message reads the message inside a message/rfc822: its body is one part.
func (p *parser) message(t *Part, depth int) stop {
	child := &Part{Envelope: &Envelope{}}
	p.parts++
	t.Children = []*Part{child}
	return p.part(child, false, depth+1)
}

// multipart reads preamble, parts and epilogue.
func (p *parser) multipart(t *Part, boundary []byte, depth int) stop {
	mine := len(p.marks)
	p.marks = append(p.marks, boundary)
	digest := bytes.EqualFold(t.Subtype, []byte("digest"))
	s := p.body()
	for s.mark == mine && !s.closing && p.parts < MaxParts {
		p.skipLine()
		child := &Part{}
		p.parts++
		t.Children = append(t.Children, child)
		s = p.part(child, digest, depth+1)
	}
	p.marks = p.marks[:mine]
	if s.mark == mine {
		p.skipLine()
		s = p.body()
	}
	return s
}

// body reads to the next boundary.
func (p *parser) body() stop {
	eol, first := int64(0), true
	if p.fresh {
		eol, p.fresh = p.headEOL, false
	}
	for {
		line := p.peek()
		if len(line) == 0 {
			return stop{-1, false, p.pos, p.lines}
		}
		if first && len(p.marks) > 0 && len(line) > 2 && line[0] == '-' && line[1] == '-' {
			if mark, closing := p.match(line[2:]); mark >= 0 {
				return stop{mark, closing, p.pos - eol, p.lines - min(eol, 1)}
			}
		}
		eol = lineEnd(line)
		first = eol > 0
		p.lines += min(eol, 1)
		p.skip(len(line))
	}
}

// lineEnd returns the length of a line's end: 2 for CRLF, 1 for LF, 0 for none.
func lineEnd(line []byte) int64 {
	n := len(line)
	switch {
	case n == 0 || line[n-1] != '\n':
		return 0
	case n > 1 && line[n-2] == '\r':
		return 2
	}
	return 1
}

// match finds the boundary that a line after its "--" begins with: the longest
// one, the innermost of equals, and an exact one before all (as Dovecot does;
// RFC 2046 section 5.1.2 wants only the beginning compared).
func (p *parser) match(line []byte) (mark int, closing bool) {
	line = bytes.TrimRight(line, "\r\n")
	best := -1
	for i := len(p.marks) - 1; i >= 0; i-- {
		m := p.marks[i]
		if !bytes.HasPrefix(line, m) || best >= 0 && len(p.marks[best]) >= len(m) {
			continue
		}
		best = i
		if rest := line[len(m):]; len(rest) == 0 || string(rest) == "--" {
			break
		}
	}
	if best < 0 {
		return -1, false
	}
	return best, bytes.HasPrefix(line[len(p.marks[best]):], []byte("--"))
}

// skipLine uses up a boundary line, however long it is.
func (p *parser) skipLine() {
	for {
		line := p.peek()
		p.skip(len(line))
		if len(line) == 0 || line[len(line)-1] == '\n' {
			p.lines++
			return
		}
	}
}
