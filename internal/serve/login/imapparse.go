package login

import (
	"errors"
	"strconv"
	"strings"
)

// Limits of the arguments before the login, in bytes.
const (
	maxLiteral = 4096 // one literal: a user name or a password
	maxArgs    = 64   // words of one ID command
)

// errSyntax is a command that cannot be read; its line has been read to the end.
var errSyntax = errors.New("syntax error")

// parser reads the arguments of one command. A literal may stand at the end of
// a line: the parser then asks for it and goes on behind it (RFC 3501 section
// 4.3; RFC 7888 for "+").
type parser struct {
	c    *imap // nil in tests of single lines
	rest string
	owed bool // the line announces a literal with "{n+}" that has not been read
}

// announces tells whether a line ends in "{n+}": the client sends n octets
// without waiting.
func announces(line string) bool {
	line, ok := strings.CutSuffix(line, "+}")
	head := strings.TrimRight(line, "0123456789")
	return ok && len(head) < len(line) && strings.HasSuffix(head, "{")
}

// head takes tag and command name.
func (p *parser) head() (tag, name string) {
	tag, p.rest, _ = strings.Cut(p.rest, " ")
	name, p.rest, _ = strings.Cut(p.rest, " ")
	if !isTag(tag) {
		tag = ""
	}
	return tag, name
}

// isTag holds RFC 3501's tag: it is echoed, so it may hold nothing odd.
func isTag(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`(){%*"\+`, s[i]) >= 0 {
			return false
		}
	}
	return true
}

// astring takes an atom, a quoted string or a literal, and the space behind it.
func (p *parser) astring() (string, error) {
	if p.rest == "" {
		return "", errSyntax
	}
	var s string
	var err error
	switch p.rest[0] {
	case '"':
		s, err = p.quoted()
	case '{':
		s, err = p.literal()
	default:
		s, err = p.atom()
	}
	if err != nil {
		return "", err
	}
	switch {
	case p.rest == "":
	case p.rest[0] == ' ' && len(p.rest) > 1:
		p.rest = p.rest[1:]
	default:
		return "", errSyntax
	}
	return s, nil
}

// end fails when arguments are left.
func (p *parser) end() error {
	if p.rest != "" {
		return errSyntax
	}
	return nil
}

func (p *parser) atom() (string, error) {
	n := 0
	for n < len(p.rest) && p.rest[n] > ' ' && p.rest[n] != 0x7f && strings.IndexByte(`(){"`, p.rest[n]) < 0 {
		n++
	}
	s := p.rest[:n]
	p.rest = p.rest[n:]
	if n == 0 {
		return "", errSyntax
	}
	return s, nil
}

func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch ch := p.rest[i]; ch {
		case '"':
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case '\\':
			i++
			if i == len(p.rest) || (p.rest[i] != '"' && p.rest[i] != '\\') {
				return "", errSyntax
			}
			b.WriteByte(p.rest[i])
		case 0:
			return "", errSyntax
		default:
			b.WriteByte(ch)
		}
	}
	return "", errSyntax
}

// literalSize reads "{123}" or "{123+}" at the end of the line.
func literalSize(s string) (n int, sync bool, err error) {
	s, ok := strings.CutSuffix(s[1:], "}")
	if !ok {
		return 0, false, errSyntax
	}
	digits, nonSync := strings.CutSuffix(s, "+")
	v, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || digits[0] == '+' {
		return 0, false, errSyntax
	}
	return int(v), !nonSync, nil
}

// literal asks for the bytes and reads the rest of the command. One that is
// too large ends the conversation: its bytes must not be read as commands.
func (p *parser) literal() (string, error) {
	n, sync, err := literalSize(p.rest)
	if err != nil {
		return "", err
	}
	if n > maxLiteral {
		return "", &end{"Literal size too large", "Literal size too large"}
	}
	if sync {
		p.c.put("+ OK")
		if err := p.c.flush(); err != nil {
			return "", err
		}
	}
	b, err := p.c.in.take(n)
	if err != nil {
		return "", err
	}
	s := string(b)
	line, err := p.c.in.line()
	if err != nil {
		return "", err
	}
	p.rest, p.owed = string(line), announces(string(line))
	if strings.IndexByte(s, 0) >= 0 {
		return "", errSyntax // RFC 3501: a literal holds no NUL
	}
	return s, nil
}

// skip reads the arguments of ID: NIL, or a list of strings.
func (p *parser) skip() error {
	if p.rest == "" || strings.EqualFold(p.rest, "NIL") {
		return nil
	}
	if p.rest[0] != '(' {
		return errSyntax
	}
	p.rest = p.rest[1:]
	for range maxArgs {
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.rest == ")" {
			return nil
		}
		if err := p.listItem(); err != nil {
			return err
		}
	}
	return errSyntax
}

// listItem takes one string or atom of a list; ")" may follow at once.
func (p *parser) listItem() error {
	if p.rest == "" {
		return errSyntax
	}
	switch p.rest[0] {
	case '"':
		_, err := p.quoted()
		return err
	case '{':
		_, err := p.literal()
		return err
	}
	n := strings.IndexAny(p.rest, ` ()"{`)
	if n <= 0 {
		return errSyntax
	}
	p.rest = p.rest[n:]
	return nil
}
