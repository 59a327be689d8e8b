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
// quotes, missing commas, ">" and ";", blanks around dots, comments anywhere,
// routes. Words without a comma between them and without "<" behind them are
// addresses of their own, as in Postfix. It never fails; what makes no sense
// becomes an address that no table knows.
func ParseAddressList(s string) []Mailbox {
	elems := parseAddresses(s)
	out := make([]Mailbox, len(elems))
	for i := range elems {
		out[i] = elems[i].Mailbox
	}
	return out
}

// Addresses returns the addresses of a list, without group marks and "<>".
func Addresses(s string) []mail.Address {
	var out []mail.Address
	for _, m := range parseAddresses(s) {
		if a := m.Address(); m.Kind == Single && a != "" {
			out = append(out, a)
		}
	}
	return out
}

// RewriteAddresses replaces every address of the list s by what rewrite
// returns for it. When one changed, the list is written anew, with names and
// comments as they were, each address behind the first on a line of its own
// ("a@b,\nc@d", for the caller to fold); routes are left out. Otherwise the
// text is empty and changed is false.
func RewriteAddresses(s string, rewrite func(mail.Address) mail.Address) (text string, changed bool) {
	elems := parseAddresses(s)
	now := make([]mail.Address, len(elems))
	for i, e := range elems {
		if e.Kind == Single {
			old := e.Address()
			now[i] = rewrite(old)
			changed = changed || now[i] != old
		}
	}
	if !changed {
		return "", false
	}
	var b strings.Builder
	for i, e := range elems {
		if i > 0 && e.Kind != GroupEnd && elems[i-1].Kind != GroupStart {
			b.WriteString(",\n")
		}
		e.write(&b, s, now[i])
	}
	return b.String(), true
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

// element is a Mailbox with the tokens around its address.
type element struct {
	Mailbox
	angle      bool    // it stood in angle brackets
	name, tail []token // the display name; comments behind the address
}

// write writes the element with the address a.
func (e *element) write(b *strings.Builder, s string, a mail.Address) {
	switch e.Kind {
	case GroupStart:
		writeTokens(b, s, e.name)
		b.WriteString(": ")
		return
	case GroupEnd:
		b.WriteByte(';')
		return
	}
	if e.angle {
		if writeTokens(b, s, e.name); len(e.name) > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("<" + a.Quoted() + ">")
	} else {
		b.WriteString(a.Quoted())
	}
	if len(e.tail) > 0 {
		b.WriteByte(' ')
		writeTokens(b, s, e.tail)
	}
}

// writeTokens writes tokens as they stand, with one blank where there were
// blanks or line ends.
func writeTokens(b *strings.Builder, s string, toks []token) {
	for i, t := range toks {
		if i > 0 && t.start > toks[i-1].end {
			b.WriteByte(' ')
		}
		b.WriteString(unfold(s[t.start:t.end]))
	}
}

// unfold removes line ends.
func unfold(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(s)
}

// addressParser reads tokens into elements.
type addressParser struct {
	s     string
	toks  []token
	pos   int
	group bool
	out   []element
}

func parseAddresses(s string) []element {
	p := addressParser{s: s, toks: scan(s)}
	for p.pos < len(p.toks) {
		p.element()
	}
	if p.group {
		p.endGroup()
	}
	return p.out
}

func (p *addressParser) endGroup() {
	p.group = false
	p.out = append(p.out, element{Mailbox: Mailbox{Kind: GroupEnd}})
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
		p.endGroup()
	}
	p.pos++
}

func (p *addressParser) startGroup(name []token) {
	p.pos++
	p.group = true
	p.out = append(p.out, element{Mailbox: Mailbox{Kind: GroupStart, Name: p.words(name)}, name: name})
}

// plain takes addresses without angle brackets; a comment behind one is its name.
func (p *addressParser) plain(toks []token) {
	for len(toks) > 0 {
		n, tail := p.oneAddress(toks)
		m := p.addrSpec(toks[:n])
		m.tail = comments(toks[:tail])
		m.Name = p.comment(m.tail)
		if n > 0 {
			p.out = append(p.out, m)
		}
		toks = toks[tail:]
	}
}

// oneAddress returns how many tokens belong to the first address, without and
// with the comments behind it. A blank between two words parts addresses,
// except beside a dot or "@".
func (p *addressParser) oneAddress(toks []token) (n, tail int) {
	prev := -1
	for i, t := range toks {
		if t.kind == '(' {
			continue
		}
		if prev >= 0 && t.start > prev && !glues(p.s[prev-1]) && !glues(p.s[t.start]) {
			return n, i
		}
		prev, n = t.end, i+1
	}
	return n, len(toks)
}

// angle takes "<...>" at pos, what follows up to the separator, and the
// separator. name is what stood before.
func (p *addressParser) angle(name []token) {
	p.pos++
	route := p.route()
	begin := p.pos
	for p.pos < len(p.toks) && strings.IndexByte("<>,;", p.toks[p.pos].kind) < 0 {
		p.pos++
	}
	m := p.addrSpec(p.toks[begin:p.pos])
	m.Route, m.angle, m.name = route, true, name
	behind := p.pos
	for p.pos < len(p.toks) && strings.IndexByte(",;<", p.toks[p.pos].kind) < 0 {
		p.pos++ // a "<" here: a comma was forgotten, "<a@b> <c@d>"
	}
	m.tail = comments(p.toks[behind:p.pos])
	for _, text := range []string{p.words(name), p.comment(name), p.comment(m.tail)} {
		if m.Name == "" {
			m.Name = text
		}
	}
	p.out = append(p.out, m)
	if p.pos < len(p.toks) && p.toks[p.pos].kind != '<' {
		p.separator()
	}
}

// comments returns the comments among toks.
func comments(toks []token) []token {
	var out []token
	for _, t := range toks {
		if t.kind == '(' {
			out = append(out, t)
		}
	}
	return out
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
func (p *addressParser) addrSpec(toks []token) (m element) {
	at := -1
	for i, t := range toks {
		if t.kind == '@' {
			at = i
		}
	}
	if at < 0 {
		m.Local = p.words(toks)
		return m
	}
	m.Local, m.Domain = p.words(toks[:at]), p.join(toks[at+1:])
	return m
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
