package convert

import (
	"slices"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/route/checks"
)

// judge asks tables about a line and returns what stands in its place; false when
// it vanishes. Actions that only cleanup(8) can do are told and not obeyed.
func (c *Reader) judge(m *checks.Maps, where, line string) (string, bool) {
	if m == nil {
		return line, true
	}
	a, warning, err := m.Find(c.ctx, line)
	if err != nil {
		c.fail(mail.Defer("4.3.0", "smtp %s checks lookup error", where))
		return "", false
	}
	if warning != "" {
		c.warn(strings.Replace(warning, "unknown command", "unsupported command", 1))
	}
	switch a.Verb {
	case checks.Dunno, checks.Pass:
	case checks.Ignore:
		return "", false
	case checks.Strip:
		c.tell("strip", where, line, a.Text)
		return "", false
	case checks.Replace:
		c.tell("replace", where, line, a.Text)
		return a.Text, true
	case checks.Prepend:
		c.tell("prepend", where, line, a.Text)
		return a.Text + "\n" + line, true
	case checks.Warn:
		c.tell("warning", where, line, a.Text)
	case checks.Info:
		c.tell("info", where, line, a.Text)
	default:
		text := strings.TrimPrefix(a.Text, "5.7.1 ") // the code that package checks adds
		c.warn("unsupported command in " + m.Param() + " map: " + strings.TrimSpace(verb(a.Verb)+" "+text))
	}
	return line, true
}

// verb is the word of an action that this side does not do.
func verb(v checks.Verb) string {
	return map[checks.Verb]string{checks.Reject: "REJECT", checks.Discard: "DISCARD", checks.Hold: "HOLD",
		checks.Filter: "FILTER", checks.Redirect: "REDIRECT", checks.BCC: "BCC"}[v]
}

func (c *Reader) tell(action, where, line, text string) {
	if c.o.Action != nil {
		c.o.Action(action, where, line, text)
	}
}

func (c *Reader) warn(text string) {
	if c.o.Warn != nil {
		c.o.Warn(text)
	}
}

// addressFields are the fields that hold addresses of senders and recipients
// (header_opts.c).
func addressFields() []string {
	return []string{"From", "To", "Cc", "Bcc", "Sender", "Reply-To", "Errors-To", "Return-Receipt-To",
		"Disposition-Notification-To", "Mail-Followup-To", "Apparently-To", "Return-Path",
		"Resent-From", "Resent-To", "Resent-Cc", "Resent-Bcc", "Resent-Sender", "Resent-Reply-To"}
}

// generic maps the addresses of a field. A field without one is left as it is,
// to the byte. Lines that a check put before the field are not looked at.
func (c *Reader) generic(text string) string {
	f, ok := message.ParseField([]byte(text))
	if !ok || !slices.ContainsFunc(addressFields(), f.Is) {
		return text
	}
	list, changed := message.RewriteAddresses(f.Value(), func(a mail.Address) mail.Address {
		to, err := c.o.Generic(a)
		if err != nil {
			c.fail(err)
			return a
		}
		return to
	})
	if !changed {
		return text
	}
	return string(f.Name) + ": " + fold(list, len(f.Name)+2)
}

// foldAt is the longest line of a rewritten field in octets, if it can be broken.
const foldAt = 72

// fold puts as many of the addresses, which come on lines of their own, into one
// line as have room there; continuation lines begin with a tab.
func fold(list string, column int) string {
	var b strings.Builder
	for i, a := range strings.Split(list, "\n") {
		switch {
		case i == 0:
		case column+1+len(a) > foldAt:
			b.WriteString("\n\t")
			column = 1
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(a)
		column += len(a)
	}
	return b.String()
}

// softAt is the length in octets at which a line of quoted-printable is broken;
// with the sign of the break and a last encoded octet it stays within the 76 of
// RFC 2045 section 6.7.
const softAt = 72

// encode writes a line, or a piece of it, as quoted-printable (RFC 2045 section
// 6.7).
func (c *Reader) encode(text []byte, full bool) {
	for _, b := range text {
		if len(c.qp) > softAt {
			c.out.Write(c.qp)
			c.out.WriteString("=\n")
			c.qp = c.qp[:0]
		}
		if b < ' ' && b != '\t' && b != '\n' || b == '=' || b > '~' {
			c.qp = appendQP(c.qp, b)
		} else if b == '\n' { // a check put a line before this one
			c.endQP()
		} else {
			c.qp = append(c.qp, b)
		}
	}
	if full {
		c.endQP()
	}
}

// endQP ends a line. A blank at its end is encoded: others would cut it off.
func (c *Reader) endQP() {
	if n := len(c.qp); n > 0 && (c.qp[n-1] == ' ' || c.qp[n-1] == '\t') {
		c.qp = appendQP(c.qp[:n-1], c.qp[n-1])
	}
	c.out.Write(c.qp)
	c.out.WriteByte('\n')
	c.qp = c.qp[:0]
}

// flushQP writes what is left of a body whose last line has no end.
func (c *Reader) flushQP() {
	if len(c.qp) > 0 {
		c.endQP()
	}
}

func appendQP(b []byte, c byte) []byte {
	const hex = "0123456789ABCDEF"
	return append(b, '=', hex[c>>4], hex[c&15])
}
