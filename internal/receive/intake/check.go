package intake

import (
	"bytes"
	"context"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/route/checks"
	"packetboat/internal/sys/maillog"
)

// judges tells whether a table judges fields of this kind. Content-* and
// MIME-Version belong to mime_header_checks wherever they stand.
func (m *Message) judges(kind headerKind) bool {
	if !m.checked {
		return false
	}
	if kind&mime != 0 {
		return m.in.mime != nil
	}
	return m.in.header != nil
}

// checkField asks the tables about a field of the message's own header. keep is
// false when it goes; a replaced field is returned.
func (m *Message) checkField(f message.Field, kind headerKind) (out message.Field, keep bool) {
	maps := m.in.header
	if kind&mime != 0 {
		maps = m.in.mime
	}
	text := string(bytes.TrimSuffix(f.Raw, []byte{'\n'}))
	if f.Raw[len(f.Name)] != ':' { // "Name : value" is looked up as "Name: value"
		text = string(f.Name) + ":" + strings.TrimSuffix(string(f.Body), "\n")
	}
	to, keep := m.act("header", text, maps)
	if !keep || to == text {
		return f, keep
	}
	f, _ = message.ParseField([]byte(to + "\n"))
	return f, true
}

// act asks tables about a line and does what they say. It returns the line that
// is to be written, and false when none is.
func (m *Message) act(what, text string, maps *checks.Maps) (string, bool) {
	a, warning, err := maps.Find(context.Background(), text)
	if err != nil {
		m.in.log.MapProblem(m.id, maps.Param(), "")
		m.errs |= statWrite
		return text, true
	}
	if warning != "" {
		m.in.log.Warn("%s", warning)
	}
	switch a.Verb {
	case checks.Dunno:
		return text, true
	case checks.Ignore:
		return "", false
	case checks.Hold:
		if m.wishes.hold || m.wishes.discard {
			return text, true
		}
	case checks.Reject:
		m.refuse(a.Text)
	}
	m.tell(what, text, a)
	switch a.Verb {
	case checks.Strip:
		return "", false
	case checks.Replace:
		return a.Text, true
	case checks.Prepend:
		m.prepend(what, a.Text)
	default:
		m.wish(a)
	}
	return text, true
}

// wish notes what is to be done with the message. After some actions there is
// nothing more to judge.
func (m *Message) wish(a checks.Action) {
	switch a.Verb {
	case checks.Filter:
		m.wishes.filter = a.Text
	case checks.Redirect:
		m.wishes.redirect = mail.Address(a.Text)
	case checks.BCC:
		m.wishes.bcc = append(m.wishes.bcc, mail.Address(a.Text))
	case checks.Hold:
		m.wishes.hold = true
	case checks.Discard:
		m.wishes.discard = true
	}
	switch a.Verb {
	case checks.Redirect, checks.Discard, checks.Pass, checks.Reject:
		m.checked = false
	}
}

// prepend writes a line before the one that is being looked at.
func (m *Message) prepend(what, text string) {
	if what == "header" {
		m.write(cutField([]byte(text+"\n"), m.limit))
		return
	}
	m.writeLine([]byte(text), true)
}

// refuse notes a refusal with its reason, "5.7.1 text".
func (m *Message) refuse(reason string) {
	m.reason = reason
	if reason[0] == '4' {
		m.errs |= statDefer
	} else {
		m.errs |= statContent
	}
}

// refuseLine refuses a message for an octet of message_reject_characters.
func (m *Message) refuseLine(text []byte) {
	a := checks.Action{Verb: checks.Reject, Text: "5.7.1 disallowed character"}
	m.refuse(a.Text)
	m.tell("content", string(text), a)
	m.checked = false
}

// tell writes the log line of an action.
func (m *Message) tell(what, text string, a checks.Action) {
	word := map[checks.Verb]string{checks.Reject: "reject", checks.Warn: "warning", checks.Info: "info", checks.Filter: "filter",
		checks.Pass: "pass", checks.Discard: "discard", checks.Hold: "hold", checks.Prepend: "prepend", checks.Replace: "replace",
		checks.Redirect: "redirect", checks.BCC: "bcc", checks.Strip: "strip"}[a.Verb]
	l := m.match(what, text)
	l.Action, l.Reason = word, a.Text
	m.in.log.Matched(l)
}

// match says of a line whose message it stands in.
func (m *Message) match(what, text string) maillog.Match {
	p := &m.env.Peer
	l := maillog.Match{ID: m.id, What: what, Text: text, Origin: "local", From: m.env.Sender.Quoted(), To: m.lastRcpt().Quoted()}
	if p.Proto != "" {
		l.Origin, l.Proto, l.Helo = clientName(p), p.Proto, p.Helo
	}
	return l
}

// clientName is "name[address]".
func clientName(p *mail.Peer) string {
	return orElse(p.Name, "unknown") + "[" + addrText(p.Addr) + "]"
}

// addrText is an address as the log has it.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "unknown"
	}
	return a.Unmap().WithZone("").String()
}

// lastRcpt returns the last recipient so far, as it is sent on.
func (m *Message) lastRcpt() mail.Address {
	if len(m.env.Rcpts) == 0 {
		return ""
	}
	return m.mapAddress(m.in.complete(m.env.Rcpts[len(m.env.Rcpts)-1].Addr), envelopeRecipient)
}

// MIMEField implements checks.Sink: a header field of a part.
func (m *Message) MIMEField(class checks.Class, field []byte) {
	kind := headerKind(0)
	if f, ok := message.ParseField(field); ok {
		kind = m.in.kind(f.Name)
		if kind&encoding != 0 {
			m.detectEncoding(f.Value())
		}
	}
	maps := m.in.nested
	if kind&mime != 0 || class == checks.MIME {
		maps = m.in.mime
	}
	if m.checked && maps != nil {
		text, keep := m.act("header", string(field), maps)
		if !keep {
			return
		}
		field = []byte(text)
	}
	m.writeBody(cutField(append(field[:len(field):len(field)], '\n'), m.limit))
}

// MIMELine implements checks.Sink: a line of a body, or a piece of it.
func (m *Message) MIMELine(line []byte, full bool, off int64) {
	limit := int64(m.in.o.Content.BodyLimit)
	if len(line) == 0 || !m.checked || m.in.body == nil || limit > 0 && off >= limit { // tables have no empty key
		m.writeLine(line, full)
		return
	}
	text, keep := m.act("body", string(line), m.in.body)
	switch {
	case !keep:
	case text == string(line):
		m.writeLine(line, full)
	default:
		m.writeLine([]byte(text), full)
	}
}

// MIMEFault implements checks.Sink.
func (m *Message) MIMEFault(f checks.Fault, text []byte) {
	l := m.match("", string(text))
	l.Reason = f.Text()
	m.in.log.MIMEFault(l)
}
