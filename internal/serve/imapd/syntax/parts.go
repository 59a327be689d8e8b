package syntax

import (
	"io"
	"strings"
)

// opensParts tells whether a list that follows args holds messages, or parts of one:
// RFC 4469 section 3, RFC 6855 section 4.
func opensParts(args []Arg) bool {
	if len(args) < 2 {
		return false
	}
	last := &args[len(args)-1]
	return last.Is("CATENATE") || last.Is("UTF8")
}

// Part reads one piece of a list of Parts: a word, where there is one, and the
// argument behind it, which is a Size where it is a literal to be read by the caller.
// end says that the list is over.
func (p *Parser) Part() (word string, a Arg, end bool, err error) {
	c, err := p.skipBlanks()
	if err != nil || c == ')' {
		return "", a, true, err
	}
	if c != '{' && c != '~' {
		if a, err = p.arg(c, 1, false); err != nil || a.Kind != Atom {
			return "", a, false, orInvalid(err)
		}
		word = string(a.Text)
		if c, err = p.skipBlanks(); err != nil || c == ')' {
			return word, a, false, orInvalid(err)
		}
	}
	if p.count++; p.count > maxArgs {
		return word, a, false, Error("Too many arguments")
	}
	// The URL of a part may come as a literal, too, and is then read here.
	a, err = p.arg(c, 1, !strings.EqualFold(word, "URL"))
	return word, a, false, err
}

func orInvalid(err error) error {
	if err == nil {
		err = Error("Invalid arguments")
	}
	return err
}

// skipBlanks returns the next octet of the line that is no blank.
func (p *Parser) skipBlanks() (c byte, err error) {
	for {
		switch c, err = p.next(); {
		case err != nil:
			return 0, err
		case p.ended:
			return 0, Error("Missing ')'")
		case c != ' ':
			return c, nil
		}
	}
}

// sink is a writer that takes everything and remembers its first error.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
	return len(b), nil
}

// Octets reads the n octets of a Size of Part to w and goes on with the line behind
// them. All of them are read, also where w fails, which failed tells; err is the
// connection's.
func (p *Parser) Octets(n int64, w io.Writer) (failed, err error) {
	s := sink{w: w}
	if _, err = io.CopyN(&s, p.R, n); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	p.Resume()
	return s.err, err
}
