package milter

import (
	"strings"
)

// event tells the milter of an event and returns what it says: macros first,
// then the event, if the milter wants it, then its answer, if it gives one.
func (m *conn) event(cmd byte, spared, silent uint32, at stage, data []byte) Reply {
	if m.net == nil || spared&m.unknown != 0 {
		return m.def
	}
	if m.skip != 0 {
		if cmd == m.skip {
			return m.def
		}
		m.skip = 0
	}
	m.sendMacros(cmd, at)
	if spared&m.events != 0 {
		return m.def
	}
	m.send(cmd, data)
	if silent&m.events != 0 {
		return m.def
	}
	return m.answer(cmd, nil)
}

// sendMacros sends the macros of a stage, of the milter's own list if it gave one.
func (m *conn) sendMacros(cmd byte, at stage) {
	names := m.names[at]
	if len(names) == 0 {
		names = m.session.set.macros[at]
	}
	m.send(cmdMacro, append([]byte{cmd}, m.session.values(names)...))
}

// answer reads answers up to the last one of an event. Modifications are only
// allowed at the end of the message, when there is an editor.
func (m *conn) answer(event byte, ed *edits) Reply {
	for {
		code, data, ok := m.read(event)
		if !ok {
			return m.def
		}
		if ed != nil && code != ansBody {
			ed.endBody()
		}
		bare := true // answers without data
		switch code {
		case ansProgress:
		case ansContinue, ansAccept, ansDiscard, ansReject, ansTempfail, ansShutdown, ansConnFail, ansSkip:
			if len(data) == 0 {
				return m.decide(event, code)
			}
		case ansReplyCode:
			return m.replyCode(event, data)
		case ansQuarantine:
			bare, m.def = false, Reply{Verdict: Hold}
		default:
			if ed == nil {
				return m.unexpected(event, code)
			}
			bare = false
			if !ed.apply(code, data) {
				return m.edited(event, code, ed)
			}
		}
		if bare && len(data) > 0 {
			m.log.Warn("milter %s: reply %s was followed by %d data bytes", m.name, answerName(code), len(data))
			m.fail()
			return m.def
		}
	}
}

// unexpected ends the conversation with a milter that answers out of turn.
func (m *conn) unexpected(event, code byte) Reply {
	m.log.Warn("milter %s: unexpected filter response %s after event %s", m.name, answerName(code), commandName(event))
	m.fail()
	return m.def
}

// edited ends the conversation after a modification that cannot be read.
func (m *conn) edited(event, code byte, ed *edits) Reply {
	if ed.fault == "" {
		return m.unexpected(event, code)
	}
	m.log.Warn("milter %s: %s", m.name, ed.fault)
	return m.confuse()
}

// decide carries out an answer that ends an event. What is said at connect or
// HELO holds for the whole connection.
func (m *conn) decide(event, code byte) Reply {
	atOnce := event == cmdConnect || event == cmdHelo
	switch code {
	case ansAccept:
		if atOnce {
			m.bye(acceptConn)
		} else {
			m.state = acceptMessage
		}
	case ansDiscard:
		if atOnce {
			m.log.Warn("milter %s: DISCARD action is not allowed for connect or helo", m.name)
			return m.def
		}
		m.state = acceptMessage
		return Reply{Verdict: Discard}
	case ansReject:
		return m.refuse(atOnce, "550 5.7.1 Command rejected")
	case ansTempfail, ansConnFail:
		return m.refuse(atOnce, "451 4.7.1 Service unavailable - try again later")
	case ansShutdown:
		m.bye(rejectConn)
		m.def = Reply{Verdict: Shutdown}
	case ansSkip:
		m.skip = event
	}
	return m.def
}

// bye closes the connection to a milter that wants to hear no more.
func (m *conn) bye(s state) {
	m.hangUp()
	m.state = s
}

// refuse returns a refusal, which holds on if it is of the client.
func (m *conn) refuse(client bool, text string) Reply {
	r := refusal(text)
	if client {
		m.bye(rejectConn)
		m.def = r
	}
	return r
}

// replyCode is an answer with an SMTP reply of the milter's own. Nothing of it
// may end a line of the dialogue before its time.
func (m *conn) replyCode(event byte, data []byte) Reply {
	text, _, _ := strings.Cut(string(data), "\x00")
	text = strings.ReplaceAll(text, "%%", "%") // Sendmail takes it for a format
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\r")
		if !goodReply(lines[i], lines[0]) {
			m.log.Warn("milter %s: malformed reply: %s", m.name, text)
			return m.confuse()
		}
		if m.session.set.o.SoftBounce {
			lines[i] = soften(lines[i])
		}
	}
	return m.refuse(event == cmdConnect || event == cmdHelo, strings.Join(lines, "\r\n"))
}

// goodReply tells whether line is "4xx text" or "5xx text" with the first
// line's code, and an x.y.z code, if any, of the same class.
func goodReply(line, first string) bool {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	switch {
	case len(line) < 4 || line[:3] != first[:3] || line[0] != '4' && line[0] != '5':
		return false
	case !digit(line[1]) || !digit(line[2]) || line[3] != ' ' && line[3] != '-':
		return false
	case len(line) > 4 && digit(line[4]) && line[4] != line[0]:
		return false
	}
	return strings.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// soften is soft_bounce for one line of a reply.
func soften(line string) string {
	if line[0] != '5' {
		return line
	}
	b := []byte(line)
	b[0] = '4'
	if len(b) > 4 && b[4] == '5' {
		b[4] = '4'
	}
	return string(b)
}
