package intake

import (
	"strings"

	"packetboat/internal/mail"
)

// Refusals of Commit, in the words of Postfix's cleanup_strerror.
const (
	tooBigText = "message file too big"
	hopsText   = "too many hops"
	writeText  = "Error: queue file write error"
)

// failure returns the failure of the queue file as a status.
func (m *Message) failure() error {
	if m.err == nil {
		return nil
	}
	return &mail.Status{Outcome: mail.Deferred, Code: "4.3.0", Reply: 451, Text: writeText}
}

// Commit ends the message: on nil it is on disk, and queued has been called, or
// somebody wanted it held or thrown away. On an error, always a *mail.Status,
// nothing is left of it. Mail of a local user is never refused for good: it is
// queued to be returned to the sender.
func (m *Message) Commit() error {
	m.takeActions()
	err := m.finish()
	if err == nil && m.wishes.discard {
		m.Abort()
		return nil
	}
	if err == nil && len(m.env.Rcpts) == 0 {
		return m.nobody()
	}
	if err == nil {
		err = m.commit()
	}
	if err != nil {
		m.Abort()
		return err
	}
	m.ended = true
	if m.in.queued != nil && !m.wishes.hold {
		m.in.queued(m.id, m.env, m.size)
	}
	return nil
}

// takeActions takes over what access tables and policy services asked for. What
// a table for the content wants goes before.
func (m *Message) takeActions() {
	a := &m.env.Actions
	m.wishes.hold = m.wishes.hold || a.Hold
	m.wishes.discard = m.wishes.discard || a.Discard
	m.wishes.redirect = orElse(m.wishes.redirect, a.Redirect)
	m.wishes.filter = orElse(m.wishes.filter, orElse(a.Filter, m.src.Filter))
}

// finish brings header, body and recipients to their end and asks the milters.
// The error is the message's refusal.
func (m *Message) finish() error {
	m.end()
	// What is returned to a local user has its recipients, too.
	if !m.stopped() || m.errs == statSize && m.env.Peer.Proto == "" {
		m.expand()
		if m.list.rcpts == nil && m.errs == 0 && !m.wishes.discard {
			return noRcpts()
		}
	}
	// Mail that is thrown away is not refused, whatever it is.
	if m.wishes.discard && m.err == nil {
		m.errs = 0
	}
	m.askMilters()
	if m.wishes.discard {
		return m.failure()
	}
	if m.errs == 0 && m.edit != nil {
		m.rewrite()
	}
	if m.errs == 0 {
		m.address()
		return nil
	}
	return m.outcome()
}

// address sets the envelope's filter and the one recipient of a REDIRECT, which
// no alias leads away from.
func (m *Message) address() {
	if m.wishes.filter != "" {
		m.env.Filter = m.wishes.filter
	}
	if to := m.wishes.redirect; to != "" && len(m.env.Rcpts) > 0 {
		r := m.env.Rcpts[0]
		r.Addr = m.in.complete(to)
		m.env.Rcpts = []mail.Rcpt{r}
	}
}

// end ends header and body.
func (m *Message) end() {
	if len(m.line) > 0 && m.state != inBody {
		m.headerLine(append(m.line, '\n'))
		m.line = m.line[:0]
	}
	switch {
	case m.state != inBody:
		m.endHeader(false)
	case m.lines:
		if len(m.line) > 0 || m.last != '\n' {
			m.bodyLine(m.line, true)
		}
	case m.last != '\n':
		m.writeBody([]byte{'\n'})
	}
	if m.walker != nil {
		m.walker.End()
		if f := m.walker.Faults(); f != 0 && m.reason == "" {
			m.refuse("5.6.0 " + f.Text())
		}
	}
	if m.tooBig() && m.errs&statSize == 0 {
		m.in.log.QueueFileTooBig(m.id)
		m.errs |= statSize
	}
}

func noRcpts() error {
	return &mail.Status{Outcome: mail.Bounced, Code: "5.5.1", Reply: 554, Text: "Error: no valid recipients"}
}

// nobody ends a message whose recipients milters took away: there is nothing to
// deliver, and nothing to complain about.
func (m *Message) nobody() error {
	m.Abort()
	return nil
}

// commit brings the message to disk.
func (m *Message) commit() error {
	if m.wishes.hold {
		m.err = m.w.CommitHold(m.env)
	} else {
		m.err = m.w.Commit(m.env)
	}
	if m.err != nil {
		m.in.log.QueueWriteError(m.id, m.err)
	}
	return m.failure()
}

// outcome turns what went wrong into the refusal of a network client; a local
// user's message is queued for the error transport, which returns it to the
// sender. The worst is told, in cleanup(8)'s order.
func (m *Message) outcome() error {
	switch {
	case m.reply != "" && m.env.Peer.Proto != "":
		return milterStatus(m.reply)
	case m.errs&statDefer != 0:
		return reasonStatus(mail.Deferred, 451, m.reason)
	case m.errs&statSize != 0:
		return m.returned("5.3.4", 552, tooBigText)
	case m.errs&statHops != 0:
		return m.returned("5.4.0", 554, hopsText)
	case m.errs&statContent != 0 && m.env.Peer.Proto != "":
		return reasonStatus(mail.Bounced, 550, m.reason)
	case m.errs&statContent != 0:
		m.env.Filter = "error:" + m.reason
		return nil
	}
	return &mail.Status{Outcome: mail.Deferred, Code: "4.3.0", Reply: 451, Text: writeText}
}

// reasonStatus is a refusal whose reason begins with its x.y.z code.
func reasonStatus(o mail.Outcome, reply int, reason string) error {
	code, text, _ := strings.Cut(reason, " ")
	return &mail.Status{Outcome: o, Code: code, Reply: reply, Text: text}
}

// milterStatus is a milter's reply. Remote holds it as it came, for replies of
// several lines.
func milterStatus(reply string) error {
	s := &mail.Status{Outcome: mail.Bounced, Reply: int(reply[0]-'0')*100 + int(reply[1]-'0')*10 + int(reply[2]-'0'), Remote: reply}
	if reply[0] == '4' {
		s.Outcome = mail.Deferred
	}
	first, _, _ := strings.Cut(reply[4:], "\r\n")
	s.Code, s.Text, _ = strings.Cut(first, " ")
	if strings.Count(s.Code, ".") != 2 || s.Code[0] != reply[0] {
		s.Code, s.Text = string(reply[0])+".0.0", first
	}
	return s
}

// returned returns the refusal for a network client; a local user's message is
// queued for the error transport, which returns it to the sender.
func (m *Message) returned(code string, reply int, text string) error {
	if m.env.Peer.Proto != "" {
		return &mail.Status{Outcome: mail.Bounced, Code: code, Reply: reply, Text: "Error: " + text}
	}
	m.env.Filter = "error:" + code + " " + text
	return nil
}
