// Package template expands the texts of main.cf that go to clients:
// default_rbl_reply and smtpd_reject_footer.
package template

import (
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/reply"
)

// maxNesting bounds ${a?{${b?{...}}}}.
const maxNesting = 20

// Expand replaces $name, ${name}, $(name), ${name?text}, ${name:text} and
// ${name?{text}:{text}} in a template by what value knows. What a client said must
// not do harm: only the bytes of filter get through, the printable ones of ASCII
// if it is empty; for others there is "_". ok is false if the template is no
// template, or asks for a name that does not exist.
func Expand(template, filter string, value func(name string) (string, bool)) (out string, ok bool) {
	x := expansion{filter: filter, lookup: value, ok: true}
	x.text(template, 0)
	return x.b.String(), x.ok
}

type expansion struct {
	filter string
	lookup func(name string) (string, bool)
	b      strings.Builder
	ok     bool
}

func (x *expansion) text(t string, depth int) {
	for depth <= maxNesting {
		i := strings.IndexByte(t, '$')
		if i < 0 || i == len(t)-1 {
			x.b.WriteString(t)
			return
		}
		x.b.WriteString(t[:i])
		t = x.name(t[i+1:], depth)
	}
	x.ok = false
}

// name expands what stands behind a "$" and returns the rest.
func (x *expansion) name(t string, depth int) string {
	switch t[0] {
	case '$':
		x.b.WriteByte('$')
		return t[1:]
	case '{', '(':
		inner, rest, ok := enclosed(t)
		if !ok {
			x.ok = false
			return ""
		}
		x.braced(inner, depth)
		return rest
	}
	n := nameLength(t)
	if n == 0 {
		x.ok = false
		return ""
	}
	v, _ := x.value(t[:n])
	x.b.WriteString(v)
	return t[n:]
}

// braced expands the inside of ${}.
func (x *expansion) braced(inner string, depth int) {
	n := nameLength(inner)
	v, known := x.value(inner[:n])
	rest := inner[n:]
	switch {
	case n == 0 || !known && rest == "":
		x.ok = false
	case rest == "":
		x.b.WriteString(v)
	case rest[0] == '?':
		yes, no := branches(rest[1:])
		if v == "" {
			yes = no
		}
		x.text(yes, depth+1)
	case rest[0] == ':':
		if v == "" {
			no, _ := branches(rest[1:])
			x.text(no, depth+1)
		}
	default:
		x.ok = false
	}
}

// branches divides {text}:{text}; without braces all of it is the first.
func branches(t string) (first, second string) {
	trimmed := strings.TrimLeft(t, " \t")
	if !strings.HasPrefix(trimmed, "{") {
		return t, ""
	}
	first, rest, ok := enclosed(trimmed)
	if !ok {
		return t, ""
	}
	rest = strings.TrimLeft(rest, " \t")
	if rest, ok = strings.CutPrefix(rest, ":"); ok {
		second, _ = branches(rest)
	}
	return strings.TrimSpace(first), second
}

// enclosed divides "{inner}rest".
func enclosed(t string) (inner, rest string, ok bool) {
	end := map[byte]byte{'{': '}', '(': ')'}[t[0]]
	depth := 0
	for i := range len(t) {
		switch t[i] {
		case t[0]:
			depth++
		case end:
			if depth--; depth == 0 {
				return t[1:i], t[i+1:], true
			}
		}
	}
	return "", "", false
}

func nameLength(t string) int {
	n := 0
	for n < len(t) && (t[n] == '_' || t[n] >= '0' && t[n] <= '9' || t[n]|0x20 >= 'a' && t[n]|0x20 <= 'z') {
		n++
	}
	return n
}

// value is a name's value; known is false if there is no such name.
func (x *expansion) value(name string) (string, bool) {
	v, known := x.lookup(name)
	x.ok = x.ok && known
	return x.filtered(v), known
}

// filtered writes "_" for what the filter does not let through.
func (x *expansion) filtered(v string) string {
	b := []byte(v)
	for i, c := range b {
		ok := strings.IndexByte(x.filter, c) >= 0
		if x.filter == "" {
			ok = c == '\t' || c >= ' ' && c < 0x7f
		}
		if !ok {
			b[i] = '_'
		}
	}
	return string(b)
}

// Unescape reads the escapes of C in smtpd_expansion_filter: \t, \\ and \40.
func Unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i == len(s)-1 {
			b.WriteByte(s[i])
			continue
		}
		i++
		n := i
		for n < len(s) && n < i+3 && s[n] >= '0' && s[n] <= '7' {
			n++
		}
		if c, err := strconv.ParseUint(s[i:n], 8, 8); err == nil {
			b.WriteByte(byte(c))
			i = n - 1
			continue
		}
		if c := strings.IndexByte("abfnrtv", s[i]); c >= 0 {
			b.WriteByte("\a\b\f\n\r\t\v"[c])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Footer adds the lines of smtpd_reject_footer to an answer, each with its codes. "\c" at the
// beginning continues the reply's own line, "\n" begins another.
// What is no answer of SMTP gets no footer, and is one line.
func Footer(answer, template string, expand func(string) string) string {
	if len(answer) < 4 || strings.Trim(answer[:3], "0123456789") != "" {
		return clean(answer)
	}
	text, joined := strings.CutPrefix(template, `\c`)
	lines := strings.Split(strings.TrimSuffix(text, `\n`), `\n`)
	code, rest := answer[:3], answer[4:]
	prefix := ""
	if dsn, _, _ := strings.Cut(rest, " "); reply.IsDSN(dsn) {
		prefix = dsn + " "
	}
	out := []string{rest}
	for i, l := range lines {
		l = expand(l)
		if i == 0 && joined {
			out[0] += l
			continue
		}
		out = append(out, prefix+l)
	}
	var b strings.Builder
	for i, l := range out {
		sep := "-"
		if i == len(out)-1 {
			sep = " "
		}
		b.WriteString(code + sep + clean(l))
		if i < len(out)-1 {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

// clean keeps a line a line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// AddressPart is what $sender, $sender_name and $sender_domain stand for, and the
// same of the recipient; part is what stands behind the first word. A nil address
// is not known yet.
func AddressPart(a *mail.Address, part string) (string, bool) {
	if part != "" && part != "_name" && part != "_domain" {
		return "", false
	}
	switch {
	case a == nil:
		return "", true
	case part == "_domain":
		return a.Domain(), true
	case *a == "":
		return "<>", true
	case part == "_name":
		return a.Local(), true
	}
	return string(*a), true
}
