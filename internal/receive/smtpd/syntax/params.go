// Package syntax reads SMTP's command lines: words, parameters, addresses
// (RFC 5321 section 4.1.2), xtext (RFC 3461 section 4). receive/smtpd and
// receive/gate use it. Nothing here keeps a reference to the line it was given.
package syntax

import (
	"math"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Command is one command line, split as Postfix splits it.
type Command struct {
	Args []Token
}

// Token is one word: "MAIL", "FROM:", "<a b@c>", "SIZE=10".
type Token struct {
	Text string
	Bad  bool // a bracket or quote that does not end
}

// Rest joins the words from i on with blanks.
func (c *Command) Rest(i int) string { return strings.Join(Words(c.Args[i:]), " ") }

// Words returns the texts of args.
func Words(args []Token) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a.Text
	}
	return out
}

// maxArgs bounds the words of one command line.
const maxArgs = 64

// Tokenize splits a line at blanks; "<...>" and quoted strings are part of a
// word with all that is in them, and a ":" ends one. What stands behind a NUL
// is not looked at, as a C program would not.
func Tokenize(line []byte) Command {
	s := string(line)
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	cmd := Command{Args: make([]Token, 0, 4)}
	for len(cmd.Args) < maxArgs {
		s = strings.TrimLeft(s, " \t\r\v\f")
		if s == "" {
			break
		}
		n, bad := wordLen(s)
		cmd.Args = append(cmd.Args, Token{s[:n], bad})
		s = s[n:]
	}
	return cmd
}

// wordLen returns the length of the word at the front of s.
func wordLen(s string) (n int, bad bool) {
	for n < len(s) {
		switch c := s[n]; c {
		case ' ', '\t', '\r', '\v', '\f':
			return n, bad
		case ':':
			return n + 1, bad
		case '<', '"':
			end := byte('"')
			if c == '<' {
				end = '>'
			}
			m := enclosed(s[n+1:], end)
			if m < 0 {
				return len(s), true
			}
			n += 1 + m
		default:
			n++
		}
	}
	return n, bad
}

// enclosed returns the length up to and with the closing byte, -1 without one.
// Quotes within angle brackets enclose too; a backslash hides the next byte.
func enclosed(s string, end byte) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == end:
			return i + 1
		case s[i] == '"':
			m := enclosed(s[i+1:], '"')
			if m < 0 {
				return -1
			}
			i += m
		}
	}
	return -1
}

// Unxtext decodes RFC 3461 section 4. What decodes to control bytes is refused:
// it would reach headers and queue files.
func Unxtext(s string) (string, bool) {
	if strings.IndexByte(s, '+') < 0 {
		return s, plainText(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, ok1 := hexDigit(s[i+1])
			lo, ok2 := hexDigit(s[i+2])
			if !ok1 || !ok2 {
				return "", false
			}
			c, i = hi<<4|lo, i+2
		}
		b = append(b, c)
	}
	return string(b), plainText(string(b))
}

func plainText(s string) bool { return strings.IndexFunc(s, IsControl) < 0 && utf8.ValidString(s) }

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// Decimal reads digits; fits is false when they are more than an int64 holds.
func Decimal(s string) (n int64, digits, fits bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false, false
	}
	for i := 0; i < len(s); i++ {
		d := int64(s[i] - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, true, false
		}
		n = n*10 + d
	}
	return n, true, true
}

// ValidUTF8 tells whether a line is UTF-8.
func ValidUTF8(line []byte) bool { return utf8.Valid(line) }

// ValidSite tells whether s is a domain or an address literal, for ETRN.
func ValidSite(s string) bool { return validDomain(s, false) }

// validLiteral is RFC 5321 section 4.1.3.
func validLiteral(d string) bool {
	inner, ok := strings.CutSuffix(d[1:], "]")
	if !ok {
		return false
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		a, err := netip.ParseAddr(inner[5:])
		return err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(inner)
	return err == nil && a.Is4()
}

// IsControl tells whether r is an ASCII control character.
func IsControl(r rune) bool { return r < ' ' || r == 0x7f }
