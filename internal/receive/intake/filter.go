package intake

import (
	"io"
	"net/netip"

	"packetboat/internal/mail"
	"packetboat/internal/receive/milter"
	"packetboat/internal/sys/maillog"
)

// hasMilters tells whether milters will look at the message.
func (m *Message) hasMilters() bool {
	if m.src.NoMilters {
		return false
	}
	return m.milters != nil || m.src.Milters != nil && m.env.Peer.Proto == ""
}

// milterOK tells whether milters are (still) to be asked.
func (m *Message) milterOK() bool { return m.errs == 0 && m.err == nil && !m.wishes.discard }

// askMilters shows the message to the milters. For local mail an SMTP session is
// pretended first, as cleanup(8) does: from this machine, with EHLO.
func (m *Message) askMilters() {
	if !m.hasMilters() || !m.milterOK() {
		return
	}
	x := m.milters
	if x == nil {
		x = m.src.Milters.Open(m.macro, m.in.log)
		defer x.Close()
		if !m.pretend(x) {
			return
		}
	} else {
		x.Log(m.in.log)
	}
	m.edit = newEditor(m)
	m.apply("END-OF-MESSAGE", x.Message(m.edit, m.own, m.edit))
}

// localClient is who brings local mail, as milters see it.
var localClient = mail.Peer{Name: "localhost", Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}

// pretend tells the milters of a session up to DATA; false when one of them
// ended it.
func (m *Message) pretend(x *milter.Session) bool {
	c := localClient
	m.apply("CONNECT", x.Connect(c.Name, c.Addr, 0))
	if m.milterOK() {
		m.apply("EHLO", x.Helo(c.Name))
	}
	if m.milterOK() {
		m.apply("MAIL", x.Mail(m.env.Sender.Quoted()))
	}
	for _, r := range m.asked {
		if !m.milterOK() {
			return false
		}
		m.rcpt = r.Quoted()
		if m.apply("RCPT", x.Rcpt(false, m.rcpt)) {
			m.in.log.MilterRcpt(m.id)
			m.refuse("4.3.5 Server configuration error")
			m.reply = ""
		}
	}
	if m.milterOK() {
		m.apply("DATA", x.Data())
	}
	return m.milterOK()
}

// macro answers milters' macros for local mail.
func (m *Message) macro(name string) (string, bool) {
	switch name {
	case "{_}":
		return localClient.Name + " [" + localClient.Addr.String() + "]", true
	case "{client_addr}", "{daemon_addr}":
		return localClient.Addr.String(), true
	case "{client_name}", "{client_ptr}":
		return localClient.Name, true
	case "{client_port}", "{daemon_port}":
		return "0", true
	case "{i}":
		return m.id, true
	case "{mail_addr}":
		return m.env.Sender.Quoted(), true
	case "{rcpt_addr}":
		return m.rcpt, m.rcpt != ""
	}
	return "", false
}

// apply does what the milters made of an event, and tells the log. It returns
// true for a refusal.
func (m *Message) apply(event string, r milter.Reply) bool {
	// What milter_header_checks decided has been logged, and goes before.
	if r.Verdict == milter.Go || !m.milterOK() {
		return false
	}
	switch r.Verdict {
	case milter.Hold:
		if !m.wishes.hold {
			m.wishes.hold = true
			m.tellMilter("milter-hold", event, "milter triggers HOLD action")
		}
	case milter.Discard:
		m.wishes.discard = true
		m.tellMilter("milter-discard", event, "milter triggers DISCARD action")
	case milter.Shutdown:
		m.reply = "421 4.7.0 Server closing connection"
		m.refuse("4.7.0 Server closing connection")
		m.tellMilter("milter-reject", event, "message content rejected")
		return true
	case milter.Refuse:
		m.reply = r.Text
		m.refuse(r.Text[4:])
		m.errs = m.errs&^(statDefer|statContent) | statContent
		if r.Temporary() {
			m.errs = m.errs&^statContent | statDefer
		}
		m.tellMilter("milter-reject", event, r.Text[4:])
		return true
	}
	return false
}

// tellMilter writes the log line of a milter's verdict.
func (m *Message) tellMilter(what, event, text string) {
	from, to := m.env.Sender.Quoted(), m.askedLast().Quoted()
	p := m.env.Peer
	l := maillog.Refusal{ID: m.id, What: what, Where: event, Text: text, From: &from, To: &to}
	if p.Proto == "" {
		p = localClient
	} else {
		l.Proto, l.Helo = p.Proto, p.Helo
	}
	l.Client = clientName(&p)
	m.in.log.SMTPDReject(l)
}

// askedLast is the last recipient that somebody named.
func (m *Message) askedLast() mail.Address {
	if len(m.asked) == 0 {
		return ""
	}
	return m.asked[len(m.asked)-1]
}

// rewrite writes the message anew as the milters left it.
func (m *Message) rewrite() {
	view := m.edit.view
	if !view.Changed() {
		return
	}
	if limit := m.in.o.MessageSizeLimit; limit > 0 && view.Size() > limit {
		m.in.log.QueueFileTooBig(m.id)
		m.errs |= statSize
		return
	}
	all := &spool{in: m.in}
	defer all.drop()
	_, err := io.Copy(all, view.Reader(0))
	if err == nil {
		err = m.w.Restart()
	}
	if err == nil {
		_, err = io.Copy(m.w, io.NewSectionReader(all, 0, all.size))
	}
	m.size = view.Size()
	m.edit.drop()
	if err != nil {
		m.in.log.QueueWriteError(m.id, err)
		m.err, m.errs = err, m.errs|statWrite
	}
}
