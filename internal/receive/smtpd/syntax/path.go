package syntax

import (
	"strings"
	"unicode/utf8"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
)

// PathRules say what an address argument may be.
type PathRules struct {
	Empty  bool // <> is allowed: MAIL
	Strict bool // strict_rfc821_envelopes: angle brackets, and nothing beside the address
	UTF8   bool // the domain may hold UTF-8 (RFC 6531)
}

// ParsePath reads an address in the forms that Postfix takes: in or without
// angle brackets, quoted local parts, comments, source routes (which are thrown
// away, RFC 5321 appendix F.2). The result is in internal form.
//
// Where Postfix lets pass what nobody can deliver to, an empty local part or
// control bytes, this refuses: they have no use but to break logs, headers and
// other people's parsers.
func ParsePath(arg string, r PathRules) (mail.Address, bool) {
	if r.Strict && !strictForm(arg) {
		return "", false
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(arg, "<"), ">")
	toks, ok := lexPath(inner)
	if !ok {
		return "", false
	}
	if len(toks) == 0 {
		return "", r.Empty
	}
	if toks, ok = dropRoute(toks); !ok {
		return "", false
	}
	return joinPath(toks, r)
}

// strictForm tells whether arg is <...> without blanks and comments outside
// quotes.
func strictForm(arg string) bool {
	if len(arg) < 2 || arg[0] != '<' || arg[len(arg)-1] != '>' {
		return false
	}
	quoted := false
	for i := 0; i < len(arg); i++ {
		switch {
		case arg[i] == '\\':
			i++
		case arg[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(" \t()", arg[i]) >= 0:
			return false
		}
	}
	return true
}

// pathTok is one lexical element of an address.
type pathTok struct {
	kind byte // 'a' atom, 'q' quoted string, 'l' domain literal, or the special itself
	text string
}

// lexPath splits an address into elements; comments and blanks only separate.
func lexPath(s string) ([]pathTok, bool) {
	toks := make([]pathTok, 0, 8)
	for i := 0; i < len(s); {
		var t pathTok
		n := 1
		switch c := s[i]; {
		case c == ' ' || c == '\t':
		case c == '(':
			n = comment(s[i:])
		case c == '"':
			t.text, n = quotedString(s[i:])
			t.kind = 'q'
		case c == '[':
			n = strings.IndexByte(s[i:], ']') + 1
			t = pathTok{'l', s[i : i+n]}
		case c == '@' || c == '.' || c == ',' || c == ':':
			t = pathTok{c, s[i : i+1]}
		case c < ' ' || c == 0x7f || c == '<' || c == '>' || c == ';' || c == ')' || c == ']':
			return nil, false
		default:
			t.text, n = atom(s[i:])
			t.kind = 'a'
		}
		if n <= 0 {
			return nil, false
		}
		if t.kind != 0 {
			toks = append(toks, t)
		}
		i += n
	}
	return toks, true
}

// comment returns the length of a comment, nested ones within, or 0 if it does
// not end.
func comment(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// quotedString returns what a quoted-string stands for and its length, or 0.
func quotedString(s string) (string, int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		if c == '"' {
			return b.String(), i + 1
		}
		if c == '\\' {
			if i++; i == len(s) {
				break
			}
			c = s[i]
		}
		if c < ' ' || c == 0x7f {
			break
		}
		b.WriteByte(c)
	}
	return "", 0
}

// atom returns an atom and its length; a backslash makes the next byte a
// plain one.
func atom(s string) (string, int) {
	var b strings.Builder
	i := 0
	for ; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c == 0x7f || strings.IndexByte(`()<>@,;:".[]`, c) >= 0 {
			break
		}
		if c == '\\' {
			if i++; i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return "", 0
			}
			c = s[i]
		}
		b.WriteByte(c)
	}
	return b.String(), i
}

// dropRoute removes a source route: @a,@b:user@c.
func dropRoute(toks []pathTok) ([]pathTok, bool) {
	if toks[0].kind != '@' {
		return toks, true
	}
	for i, t := range toks {
		if t.kind == ':' {
			rest := toks[i+1:]
			return rest, len(rest) > 0 && rest[0].kind != '@'
		}
	}
	return nil, false
}

// joinPath builds the internal address: all up to the last "@" is the local
// part. Two words side by side are a phrase, not an address.
func joinPath(toks []pathTok, r PathRules) (mail.Address, bool) {
	at := -2 // where the last "@" stands
	var b strings.Builder
	word := false
	for _, t := range toks {
		// A literal is a domain, never (part of) a local part, which could hide an
		// "@" in it.
		if t.kind == ',' || t.kind == 'l' && at != b.Len()-1 {
			return "", false
		}
		isWord := t.kind == 'a' || t.kind == 'q' || t.kind == 'l'
		if isWord && word {
			return "", false
		}
		word = isWord
		if t.kind == '@' {
			at = b.Len()
		}
		b.WriteString(t.text)
	}
	s := b.String()
	if at < 0 {
		// A quoted "user@host" without a domain behind it means user at host, to
		// Postfix and to whoever splits the internal form.
		at = strings.LastIndexByte(s, '@')
	}
	switch {
	case at < 0 && validLocal(s):
		return mail.Address(s), true
	case at >= 0 && validLocal(s[:at]) && validDomain(s[at+1:], r.UTF8):
		return trimDot(s), true
	}
	return "", false
}

// trimDot removes the dot of an absolute domain name.
func trimDot(s string) mail.Address { return mail.Address(strings.TrimSuffix(s, ".")) }

// validLocal refuses what no mailbox is called: nothing, and what programs take
// for an option (allow_min_user).
func validLocal(s string) bool { return s != "" && s[0] != '-' }

// validDomain takes a host name that is no bare address, an address literal
// (RFC 5321 section 4.1.3), and with SMTPUTF8 a name of U-labels.
func validDomain(d string, smtputf8 bool) bool {
	if strings.HasPrefix(d, "[") {
		return validLiteral(d)
	}
	d = strings.TrimSuffix(d, ".")
	if isASCII(d) {
		return dns.ValidHost(d)
	}
	return smtputf8 && validULabels(d)
}

// validULabels checks what can be checked without Unicode's tables.
func validULabels(d string) bool {
	plain := func(r rune) bool { return r >= 0x80 || r == '.' || r == '-' || r == '_' || isAlnum(r) }
	if len(d) > 255 || !utf8.ValidString(d) || strings.ContainsFunc(d, func(r rune) bool { return !plain(r) }) {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func isAlnum(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' || r >= '0' && r <= '9' }

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
