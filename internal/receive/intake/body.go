package intake

import (
	"bytes"
)

// pieceSize is how much of a line is looked at at once, in octets: Postfix's
// line_length_limit, above which it divides lines.
const pieceSize = 2048

// separate puts the empty line between a header and a body that has none.
func (m *Message) separate() {
	if m.walker != nil {
		m.MIMELine(nil, true, 0)
		return
	}
	m.writeBody([]byte{'\n'})
}

// body takes bytes behind the header.
func (m *Message) body(p []byte) {
	if !m.lines {
		m.writeBody(p)
		return
	}
	for len(p) > 0 && !m.stopped() {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			m.keep(p)
			return
		}
		m.keep(p[:i])
		m.bodyLine(m.line, true)
		m.line = m.line[:0]
		p = p[i+1:]
	}
}

// keep gathers a line; what is longer than pieceSize is looked at in pieces.
func (m *Message) keep(p []byte) {
	for len(m.line)+len(p) >= pieceSize {
		n := pieceSize - len(m.line)
		m.line = append(m.line, p[:n]...)
		p = p[n:]
		m.bodyLine(m.line, false)
		m.line = m.line[:0]
	}
	m.line = append(m.line, p...)
}

// acceptable holds a header line against message_reject_characters and takes
// message_strip_characters out of it; nil for one that refuses the message.
func (m *Message) acceptable(line []byte) []byte {
	if !m.checked || m.in.reject == nil && m.in.strip == nil {
		return line
	}
	text := line[:len(line)-1]
	if m.in.reject.in(text) {
		m.refuseLine(text)
		return nil
	}
	if m.in.strip == nil || !m.in.strip.in(text) {
		return line
	}
	m.out = m.in.strip.without(line, m.out[:0])
	return m.out
}

// bodyLine takes a line of the body without its line end, or a piece of it.
func (m *Message) bodyLine(text []byte, full bool) {
	if m.checked && m.in.reject.in(text) {
		m.refuseLine(text)
		return
	}
	if m.checked && m.in.strip != nil && m.in.strip.in(text) {
		m.out = m.in.strip.without(text, m.out[:0])
		text = m.out
	}
	if m.walker != nil {
		m.walker.Line(text, full)
		return
	}
	m.writeLine(text, full)
}

// writeLine writes a line, or a piece of it.
func (m *Message) writeLine(text []byte, full bool) {
	m.writeBody(text)
	if full {
		m.writeBody([]byte{'\n'})
	}
}

func (m *Message) writeBody(p []byte) {
	if len(p) > 0 {
		m.last = p[len(p)-1]
		m.write(p)
	}
}
