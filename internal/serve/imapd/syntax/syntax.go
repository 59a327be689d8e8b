// Package syntax reads what an IMAP client sends (RFC 3501 section 9): tags,
// words, arguments with their literals, number sets, and the arguments of
// FETCH and SEARCH. It knows no mailbox and no session. Everything has a limit,
// and a literal that was refused is swallowed, so that its bytes never run as
// commands. The texts of errors are Dovecot's.
package syntax

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
)

// Limits of one command. What is longer is answered with BAD and skipped.
const (
	DefaultLimit = 64 << 10 // octets of the line, and again of all its literals (imap_max_line_length)
	maxArgs      = 8192     // arguments, those inside lists counted
	maxNesting   = 64       // lists inside lists
	maxTag       = 256      // octets of a tag or a command name
)

// Error is a command that cannot be understood: its text follows "BAD Error in
// IMAP command X: ".
type Error string

// Error returns the text.
func (e Error) Error() string { return string(e) }

// Kind is what an argument is.
type Kind uint8

// The values of Kind.
const (
	Atom    Kind = iota // also NIL and numbers
	String              // quoted string
	Literal             // the text of a literal
	List                // (...)
	Size                // a literal that is still to be read (only from Args with stream)
	Parts               // "(" behind CATENATE or UTF8: a list that is still to be read with Part (likewise)
)

// Arg is one argument of a command. Text is good until the next command.
type Arg struct {
	Kind Kind
	Text []byte
	List []Arg
	Len  int64 // octets of a Size
	Sync bool  // the client of a Size waits for "+"
}

// IsString tells whether the argument can be an astring.
func (a *Arg) IsString() bool { return a.Kind <= Literal }

// Is tells whether the argument is the atom word, in any case.
func (a *Arg) Is(word string) bool {
	return a.Kind == Atom && len(a.Text) == len(word) && bytes.EqualFold(a.Text, []byte(word))
}

// Parser reads commands from one client.
type Parser struct {
	R        *bufio.Reader
	Limit    int          // octets; 0 = DefaultLimit
	Continue func() error // tells the client to send its literal

	buf   []byte // the texts of this command
	line  int    // octets of the line so far
	lits  int    // octets of literals so far
	count int    // arguments so far
	ended bool   // the line's end has been read
	owed  int64  // octets of a non-synchronizing literal that nobody has read
	torn  []byte // what has been read of "{n+}" when it turned out wrong
}

// Start begins a command and returns its tag: all up to a blank. An empty line
// gives an empty tag and ended set.
func (p *Parser) Start() (tag []byte, err error) {
	if cap(p.buf) > 8<<10 {
		p.buf = nil // a long command does not hold its memory while the client idles
	}
	p.buf, p.line, p.lits, p.count, p.ended, p.owed, p.torn = p.buf[:0], 0, 0, 0, false, 0, nil
	return p.Word()
}

// Word reads the next word of the line: the tag, or the command's name. It is
// empty at the line's end.
func (p *Parser) Word() ([]byte, error) {
	start := len(p.buf)
	for !p.ended {
		c, err := p.next()
		if err != nil {
			return nil, err
		}
		if c == ' ' || p.ended {
			break
		}
		if len(p.buf)-start >= maxTag {
			return nil, Error("Too long argument")
		}
		p.buf = append(p.buf, c)
	}
	return p.buf[start:len(p.buf):len(p.buf)], nil
}

// Ended tells whether the whole line has been read.
func (p *Parser) Ended() bool { return p.ended }

// next returns the next byte of the line. CRLF and LF end the line: then ended
// is set and the byte is LF.
func (p *Parser) next() (byte, error) {
	c, err := p.R.ReadByte()
	if err != nil {
		return 0, err
	}
	if p.line++; p.line > p.limit() {
		p.R.UnreadByte()
		return 0, Error("Too long argument")
	}
	switch c {
	case '\n':
		p.ended = true
	case '\r':
		if n, err := p.R.Peek(1); err == nil && n[0] == '\n' {
			p.R.ReadByte()
			p.ended = true
			return '\n', nil
		}
	}
	return c, nil
}

func (p *Parser) limit() int {
	if p.Limit > 0 {
		return p.Limit
	}
	return DefaultLimit
}

// Args reads the arguments up to the line's end. With stream set, the first
// literal outside a list is not read: it comes as a Size, the last of the
// arguments, and the caller reads its octets from R. An Error leaves the rest
// of the line to Skip.
func (p *Parser) Args(stream bool) ([]Arg, error) {
	args, err := p.list(0, stream)
	if err == nil && !p.ended && !endsInSize(args) && !endsIn(args, Parts) {
		return nil, Error("Unexpected ')'")
	}
	return args, err
}

func endsInSize(args []Arg) bool { return endsIn(args, Size) }

func endsIn(args []Arg, k Kind) bool { return len(args) > 0 && args[len(args)-1].Kind == k }

// list reads arguments up to the line's end or the ")" that ends the list.
func (p *Parser) list(depth int, stream bool) (args []Arg, err error) {
	for !p.ended {
		c, err := p.next()
		switch {
		case err != nil:
			return nil, err
		case c == ' ' || p.ended:
			continue
		case c == ')':
			return args, nil
		}
		if p.count++; p.count > maxArgs {
			return nil, Error("Too many arguments")
		}
		if c == '(' && stream && depth == 0 && opensParts(args) {
			return append(args, Arg{Kind: Parts}), nil
		}
		a, err := p.arg(c, depth, stream)
		if err != nil {
			return nil, err
		}
		args = append(args, a)
		if a.Kind == Size {
			return args, nil
		}
	}
	if depth > 0 {
		return nil, Error("Missing ')'")
	}
	return args, nil
}

// arg reads the argument that begins with c.
func (p *Parser) arg(c byte, depth int, stream bool) (Arg, error) {
	switch c {
	case '"':
		return p.quoted()
	case '{':
		return p.literal(stream)
	case '~': // RFC 3516 section 4.4: "~{" begins a literal that may hold NULs
		if next, err := p.R.Peek(1); stream && err == nil && next[0] == '{' {
			p.next()
			return p.literal(stream)
		}
	case '(':
		if depth >= maxNesting {
			return Arg{}, Error("Too many nested lists")
		}
		sub, err := p.list(depth+1, stream)
		if endsInSize(sub) {
			p.Owe(sub[len(sub)-1]) // a message is no part of a list
		}
		if err == nil && (p.ended || endsInSize(sub)) {
			err = Error("Missing ')'")
		}
		return Arg{Kind: List, List: sub}, err
	}
	return p.atom(c)
}

// atom reads an atom that begins with c. What ends it stays in R, but for a blank.
func (p *Parser) atom(c byte) (Arg, error) {
	start := len(p.buf)
	for {
		if c < ' ' || c == '"' || c == '{' || c == '(' || c == 0x7f {
			return Arg{}, Error("Invalid characters in atom")
		}
		if c >= 0x80 {
			return Arg{}, Error("8bit data in atom")
		}
		p.buf = append(p.buf, c)
		var err error
		if c, err = p.next(); err != nil {
			return Arg{}, err
		}
		if c == ')' {
			p.line--
			p.R.UnreadByte()
			break
		}
		if c == ' ' || p.ended {
			break
		}
	}
	return Arg{Text: p.buf[start:len(p.buf):len(p.buf)]}, nil
}

// quoted reads a quoted string whose first quote has been read.
func (p *Parser) quoted() (Arg, error) {
	start := len(p.buf)
	for {
		c, err := p.next()
		if err != nil {
			return Arg{}, err
		}
		if p.ended {
			return Arg{}, Error("Missing '\"'")
		}
		switch c {
		case '"':
			return Arg{Kind: String, Text: p.buf[start:len(p.buf):len(p.buf)]}, nil
		case 0:
			return Arg{}, Error("NULs not allowed in strings")
		case '\\':
			if c, err = p.next(); err != nil {
				return Arg{}, err
			}
			if p.ended {
				return Arg{}, Error("Missing '\"'")
			}
		}
		p.buf = append(p.buf, c)
	}
}

// literal reads "{n}" or "{n+}" and, unless the caller wants to stream it, the
// octets that follow.
func (p *Parser) literal(stream bool) (Arg, error) {
	n, sync, err := p.literalSize()
	if err != nil {
		return Arg{}, err
	}
	if stream {
		return Arg{Kind: Size, Len: n, Sync: sync}, nil
	}
	if n > int64(p.limit()-p.lits) {
		if !sync {
			p.owed = n
		}
		return Arg{}, Error("Literal size too large")
	}
	p.lits += int(n)
	if sync {
		if err := p.Continue(); err != nil {
			return Arg{}, err
		}
	}
	p.ended = false
	start := len(p.buf)
	p.buf = append(p.buf, make([]byte, n)...)
	text := p.buf[start:len(p.buf):len(p.buf)]
	if _, err := io.ReadFull(p.R, text); err != nil {
		return Arg{}, err
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return Arg{}, Error("NULs not allowed in strings")
	}
	return Arg{Kind: Literal, Text: text}, nil
}

// literalSize reads "n}" or "n+}" and the line's end behind it.
func (p *Parser) literalSize() (n int64, sync bool, err error) {
	var digits [20]byte
	i := 0
	for {
		c, err := p.next()
		if err != nil {
			p.torn = append([]byte{'{'}, digits[:i]...)
			return 0, false, err
		}
		if c == '}' {
			break
		}
		if i == len(digits) || (c < '0' || c > '9') && c != '+' {
			p.torn = append(append([]byte{'{'}, digits[:i]...), c)
			return 0, false, Error("Invalid literal size")
		}
		digits[i] = c
		i++
	}
	if c, err := p.next(); err != nil || !p.ended {
		if err == nil {
			err = Error("Missing LF after literal size")
		}
		_ = c
		return 0, false, err
	}
	text, plus := bytes.CutSuffix(digits[:i], []byte("+"))
	u, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		if plus && errors.Is(err, strconv.ErrRange) {
			p.owed = u // the client sends it already; it never ends
		}
		return 0, false, Error("Invalid literal size")
	}
	return u, !plus, nil
}

// Resume goes on with the line behind a Size whose octets have been read.
func (p *Parser) Resume() { p.ended = false }

// Skip uses up what is left of a command that was refused: the rest of its
// line, and every non-synchronizing literal in it, because the client has sent
// those already.
func (p *Parser) Skip() error {
	for {
		if p.owed > 0 {
			if _, err := io.CopyN(io.Discard, p.R, p.owed); err != nil {
				return err
			}
			p.owed, p.ended = 0, false
		}
		if p.ended {
			return nil
		}
		var err error
		if p.owed, err = p.restOfLine(); err != nil {
			return err
		}
		p.ended = true
	}
}

// restOfLine skips to the line's end and returns the length of the literal
// that it announces with "{n+}", or 0.
func (p *Parser) restOfLine() (int64, error) {
	tail := p.torn
	p.torn = nil
	for {
		piece, err := p.R.ReadSlice('\n')
		tail = append(tail, piece...)
		if len(tail) > 32 {
			tail = append(tail[:0], tail[len(tail)-32:]...)
		}
		if err == nil {
			return announced(tail), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return 0, err
		}
	}
}

// announced returns n if a line ends in "{n+}", as much as fits where n does not:
// none of what follows may run as a command.
func announced(line []byte) int64 {
	line = bytes.TrimRight(line, "\r\n")
	line, ok := bytes.CutSuffix(line, []byte("+}"))
	head := bytes.TrimRight(line, "0123456789")
	digits := line[len(head):]
	if !ok || len(digits) == 0 || len(head) > 0 && head[len(head)-1] != '{' {
		return 0
	}
	if len(head) == 0 {
		return math.MaxInt64 // longer than what is kept of a line
	}
	n, _ := strconv.ParseInt(string(digits), 10, 64) // MaxInt64 when out of range
	return n
}

// Owe hands a Size that nobody will read over to Skip. The client has sent it
// already unless it waits for "+".
func (p *Parser) Owe(a Arg) {
	if !a.Sync {
		p.owed = a.Len
	}
}
