package message

import (
	"strings"

	"packetboat/internal/mail"
)

// maxTokens is the number of lexical tokens after which an address list is no
// longer read (header_address_token_limit of postconf(5)): a megabyte of
// commas costs no more than a long mailing list.
const maxTokens = 10240

// MailboxKind says what one element of an address list is.
type MailboxKind uint8

// The values of MailboxKind. A group "friends: a@b, c@d;" is four elements:
// GroupStart, two of Single, GroupEnd.
const (
	Single     MailboxKind = iota // an address
	GroupStart                    // Name is the group's name
	GroupEnd                      // the end of the group; all else is empty
)

// Mailbox is one element of an address list (RFC 5322 section 3.4).
type Mailbox struct {
	Kind   MailboxKind
	Name   string // display name without its quotes, else the last comment; encoded words as they are
	Route  string // obsolete source route "@a,@b" (RFC 5322 section 4.4), which mail no longer follows
	Local  string // local part without its quotes
	Domain string // without blanks; empty for a bare name like "root"

	start, end int // the addr-spec's bytes in the text
}

// Address returns the mailbox in internal form. It is empty for group marks
// and for "<>".
func (m Mailbox) Address() mail.Address {
	if m.Domain == "" {
		return mail.Address(m.Local)
	}
	return mail.Address(m.Local + "@" + m.Domain)
}

// ParseAddressList reads the value of an address header, folded or not, as
// RFC 822 section 6 with every habit of real mail: bare names, names without
// quotes, missing ">" and ";", blanks around dots, comments anywhere, routes.
// It never fails; what makes no sense becomes an address that no table knows.
func ParseAddressList(s string) []Mailbox {
	p := addressParser{s: s, toks: scan(s)}
	for p.pos < len(p.toks) {
		p.element()
	}
	if p.group {
		p.out = append(p.out, Mailbox{Kind: GroupEnd})
	}
	return p.out
}

// Addresses returns the addresses of a list without group marks.
func Addresses(s string) []mail.Address {
	var out []mail.Address
	for _, m := range ParseAddressList(s) {
		if m.Kind == Single {
			out = append(out, m.Address())
		}
	}
	return out
}

// RewriteAddresses appends the address list s to dst with every address
// replaced by what rewrite returns for it; all other bytes stay as they are.
// The bool tells whether any address changed.
func RewriteAddresses(dst []byte, s string, rewrite func(mail.Address) mail.Address) ([]byte, bool) {
	last, changed := 0, false
	for _, m := range ParseAddressList(s) {
		if m.Kind != Single {
			continue
		}
		old := m.Address()
		now := rewrite(old)
		if now == old {
			continue
		}
		changed = true
		dst = append(append(dst, s[last:m.start]...), now.Quoted()...)
		last = m.end
	}
	return append(dst, s[last:]...), changed
}

// QuotePhrase returns s as a display name: as it is when it consists of atoms,
// else as a quoted-string (RFC 5322 section 3.2.5). Control bytes, line ends
// above all, become blanks, so that a name can never begin another header.
func QuotePhrase(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if !strings.ContainsAny(s, `()<>@,;:\".[]`) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// token is one lexical token: kind is the special itself, or 'a' for an atom,
// '"' for a quoted-string, '[' for a domain literal, '(' for a comment.
type token struct {
	kind       byte
	start, end int
}

// scan cuts s into tokens. A "." belongs to its atom: "a.b" is one token.
func scan(s string) []token {
	var toks []token
	for i := 0; i < len(s) && len(toks) < maxTokens; {
		start, kind := i, s[i]
		switch {
		case isBlank(kind):
			i++
			continue
		case kind == '"':
			i = skipQuoted(s, i+1, '"')
		case kind == '[':
			i = skipQuoted(s, i+1, ']')
		case kind == '(':
			i = skipComment(s, i+1)
		case isSpecial(kind):
			i++
		default:
			kind = 'a'
			i = skipAtom(s, i)
		}
		toks = append(toks, token{kind, start, i})
	}
	return toks
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isSpecial(c byte) bool {
	switch c {
	case ')', '<', '>', '@', ',', ';', ':', ']':
		return true
	}
	return false
}

func skipAtom(s string, i int) int {
	for i < len(s) && !isBlank(s[i]) && !isSpecial(s[i]) && s[i] != '"' && s[i] != '(' && s[i] != '[' {
		if s[i] == '\\' {
			i++
		}
		i++
	}
	return min(i, len(s))
}

func skipQuoted(s string, i int, end byte) int {
	for ; i < len(s) && s[i] != end; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(s))
}

// skipComment returns the index behind the comment that began before i.
// Comments nest; nesting is counted, not followed by calls.
func skipComment(s string, i int) int {
	for depth := 1; i < len(s); i++ {
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
	return len(s)
}

// addressParser reads tokens into mailboxes.
type addressParser struct {
	s     string
	toks  []token
	pos   int
	group bool
	out   []Mailbox
}

// element reads up to the next separator. What stood before decides: ":"
// makes it a group's name, "<" its display name, anything else an address.
func (p *addressParser) element() {
	begin, sawAt := p.pos, false
	for ; p.pos < len(p.toks); p.pos++ {
		switch t := p.toks[p.pos]; t.kind {
		case '@':
			sawAt = true
		case '<':
			p.angle(p.toks[begin:p.pos])
			return
		case ':':
			if !sawAt && !p.group {
				p.startGroup(p.toks[begin:p.pos])
				return
			}
		case ',', ';':
			p.plain(p.toks[begin:p.pos])
			p.separator()
			return
		}
	}
	p.plain(p.toks[begin:p.pos])
}

// separator takes the "," or ";" at pos; ";" ends a group.
func (p *addressParser) separator() {
	if p.toks[p.pos].kind == ';' && p.group {
		p.group = false
		p.out = append(p.out, Mailbox{Kind: GroupEnd})
	}
	p.pos++
}

func (p *addressParser) startGroup(name []token) {
	p.pos++
	p.group = true
	p.out = append(p.out, Mailbox{Kind: GroupStart, Name: p.words(name)})
}

// plain takes an address without angle brackets; a comment is its name.
func (p *addressParser) plain(toks []token) {
	if m, ok := p.addrSpec(toks); ok {
		m.Name = p.comment(toks)
		p.out = append(p.out, m)
	}
}

// angle takes "<...>" at pos, what follows up to the separator, and the
// separator. name is what stood before.
func (p *addressParser) angle(name []token) {
	p.pos++
	route := p.route()
	begin := p.pos
	for p.pos < len(p.toks) && !strings.ContainsRune("<>,;", rune(p.toks[p.pos].kind)) {
		p.pos++
	}
	m, ok := p.addrSpec(p.toks[begin:p.pos])
	if !ok {
		// "<>": the null address, with its place for a rewriter.
		m.start = p.toks[begin-1].end
		m.end = m.start
	}
	m.Route = route
	if m.Name = p.words(name); m.Name == "" {
		m.Name = p.comment(name)
	}
	behind := p.pos
	for p.pos < len(p.toks) && p.toks[p.pos].kind != ',' && p.toks[p.pos].kind != ';' {
		if p.toks[p.pos].kind == '<' {
			break // a comma was forgotten: "<a@b> <c@d>"
		}
		p.pos++
	}
	if m.Name == "" {
		m.Name = p.comment(p.toks[behind:p.pos])
	}
	p.out = append(p.out, m)
	if p.pos < len(p.toks) && p.toks[p.pos].kind != '<' {
		p.separator()
	}
}

// route takes "@a,@b:" if it stands at pos.
func (p *addressParser) route() string {
	if p.pos >= len(p.toks) || p.toks[p.pos].kind != '@' {
		return ""
	}
	for i := p.pos; i < len(p.toks) && p.toks[i].kind != '>'; i++ {
		if p.toks[i].kind == ':' {
			text := p.join(p.toks[p.pos:i])
			p.pos = i + 1
			return text
		}
	}
	return ""
}

// addrSpec reads local part and domain. The last "@" parts them.
func (p *addressParser) addrSpec(toks []token) (m Mailbox, ok bool) {
	at, first, last := -1, -1, -1
	for i, t := range toks {
		if t.kind == '(' {
			continue
		}
		if first < 0 {
			first = i
		}
		if last = i; t.kind == '@' {
			at = i
		}
	}
	if first < 0 {
		return m, false
	}
	m.start, m.end = toks[first].start, toks[last].end
	if at < 0 {
		m.Local = p.words(toks)
		return m, true
	}
	m.Local, m.Domain = p.words(toks[:at]), p.join(toks[at+1:])
	return m, true
}

// words joins tokens without their quotes and comments. Words that stood
// apart stay apart by one blank, but not around a dot or "@".
func (p *addressParser) words(toks []token) string {
	var b strings.Builder
	prev := -1
	for _, t := range toks {
		if t.kind == '(' {
			continue
		}
		if prev >= 0 && t.start > prev && !glues(p.s[prev-1]) && !glues(p.s[t.start]) {
			b.WriteByte(' ')
		}
		prev = t.end
		p.unquote(&b, t)
	}
	return b.String()
}

func glues(c byte) bool { return c == '.' || c == '@' }

// unquote writes the meaning of one token: without quotes, backslashes and
// the line ends of folding.
func (p *addressParser) unquote(b *strings.Builder, t token) {
	text := p.s[t.start:t.end]
	if t.kind == '"' || t.kind == '(' {
		text = text[1:]
		if end := closing(t.kind); len(text) > 0 && text[len(text)-1] == end && !escaped(text) {
			text = text[:len(text)-1]
		}
	}
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		if text[i] != '\n' && text[i] != '\r' {
			b.WriteByte(text[i])
		}
	}
}

func closing(kind byte) byte {
	if kind == '(' {
		return ')'
	}
	return kind
}

// escaped tells whether the last byte of s stands behind an odd number of backslashes.
func escaped(s string) bool {
	n := 0
	for i := len(s) - 2; i >= 0 && s[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

// join returns the tokens as they stand, without blanks and comments.
func (p *addressParser) join(toks []token) string {
	var b strings.Builder
	for _, t := range toks {
		if t.kind == '(' {
			continue
		}
		for i := t.start; i < t.end; i++ {
			if p.s[i] != '\n' && p.s[i] != '\r' {
				b.WriteByte(p.s[i])
			}
		}
	}
	return b.String()
}

// comment returns the text of the last comment among toks.
func (p *addressParser) comment(toks []token) string {
	for i := len(toks) - 1; i >= 0; i-- {
		if toks[i].kind == '(' {
			var b strings.Builder
			p.unquote(&b, toks[i])
			return strings.TrimSpace(b.String())
		}
	}
	return ""
}
