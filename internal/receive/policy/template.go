package policy

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
)

var errNoVerifier = errors.New("no probes can be sent here")

// maxNesting bounds ${a?{${b?{...}}}}.
const maxNesting = 20

// expand replaces $name, ${name}, $(name), ${name?text}, ${name:text} and
// ${name?{text}:{text}} in a template: what own knows, and what is known of the
// session (smtpd_reject_footer of postconf(5)). What a client said passes
// smtpd_expansion_filter. ok is false if the template is no template, or asks
// for a name that does not exist.
func (p *Policy) expand(template string, s *Session, own map[string]string) (out string, ok bool) {
	x := expansion{p: p, s: s, own: own, ok: true}
	x.text(template, 0)
	return x.b.String(), x.ok
}

type expansion struct {
	p   *Policy
	s   *Session
	own map[string]string
	b   strings.Builder
	ok  bool
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
func (x *expansion) value(name string) (v string, known bool) {
	if v, known = x.own[name]; !known {
		v, known = x.attribute(name)
	}
	if !known {
		x.ok = false
		if name != "" {
			x.p.deps.Log.Warn("unknown macro name \"%s\" in expansion request", name)
		}
	}
	return x.filtered(v), known
}

// filtered writes "_" for what smtpd_expansion_filter does not let through.
func (x *expansion) filtered(v string) string {
	b := []byte(v)
	for i, c := range b {
		ok := strings.IndexByte(x.p.filter, c) >= 0
		if x.p.filter == "" {
			ok = c == '\t' || c >= ' ' && c < 0x7f
		}
		if !ok {
			b[i] = '_'
		}
	}
	return string(b)
}

// attribute is what is known of the session under a name.
func (x *expansion) attribute(name string) (string, bool) {
	s := x.s
	switch name {
	case "server_name":
		return x.p.opts.Hostname, true
	case "client":
		return s.Client(), true
	case "client_port":
		return portText(s.Port), true
	case "client_address":
		return s.Addr.Unmap().String(), true
	case "client_name":
		return s.Name, true
	case "reverse_client_name":
		return s.Reverse, true
	case "helo_name":
		return s.Helo, true
	case "localtime":
		return time.Now().Format("Jan 02 15:04:05"), true
	}
	if part, ok := strings.CutPrefix(name, "sender"); ok {
		return addressPart(s.Sender, part)
	}
	if part, ok := strings.CutPrefix(name, "recipient"); ok {
		return addressPart(s.Rcpt, part)
	}
	return "", false
}

// addressPart is $sender, $sender_name, $sender_domain and the same of the recipient.
func addressPart(a *mail.Address, part string) (string, bool) {
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

// unescape reads the escapes of C in smtpd_expansion_filter: \t, \\ and \40.
func unescape(s string) string {
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

// Final returns what has to be sent for a 4xx or 5xx reply, whoever made it: with
// soft_bounce it is a 4xx, and the text of smtpd_reject_footer_maps or
// smtpd_reject_footer stands behind it. Lines are divided by CRLF, without one at
// the end. smtpd calls it for every reply.
func (p *Policy) Final(ctx context.Context, s *Session, reply string) string {
	if p.opts.SoftBounce && len(reply) > 4 && reply[0] == '5' {
		rest := reply[1:]
		if reply[4] == '5' && isDSN(strings.SplitN(reply[4:], " ", 2)[0]) {
			rest = reply[1:4] + "4" + reply[5:]
		}
		reply = "4" + rest
	}
	if p.opts.Footer == "" && len(p.footers) == 0 || len(reply) < 4 || reply[0] != '4' && reply[0] != '5' {
		return reply
	}
	template, found, err := p.footers.Lookup(ctx, reply)
	if err != nil {
		p.deps.Log.SMTPDConfig("smtpd_reject_footer_maps lookup error", err)
	}
	if !found {
		template = p.opts.Footer
	}
	if template == "" || strings.HasPrefix(reply[3:], "-") {
		return reply
	}
	return p.withFooter(s, reply, template)
}

// withFooter adds a footer's lines, each with the reply's codes. "\c" at the
// beginning continues the reply's own line, "\n" begins another.
func (p *Policy) withFooter(s *Session, reply, template string) string {
	text, joined := strings.CutPrefix(template, `\c`)
	lines := strings.Split(strings.TrimSuffix(text, `\n`), `\n`)
	code, rest := reply[:3], reply[4:]
	prefix := ""
	if dsn, _, _ := strings.Cut(rest, " "); isDSN(dsn) {
		prefix = dsn + " "
	}
	out := []string{rest}
	for i, l := range lines {
		l, _ = p.expand(l, s, nil)
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
