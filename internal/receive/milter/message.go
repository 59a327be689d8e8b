package milter

import (
	"bufio"
	"bytes"
	"io"

	"packetboat/internal/mail/message"
)

// Content is a message as it stands in the queue: LF line ends, the header first.
type Content interface {
	// Reader returns a new reader over the message as it is now, with what earlier
	// milters have changed.
	Reader() io.Reader
}

// Message sends the message to the milters, one after the other, and has ed carry
// out what they want changed. hidden is a field of the header, without its last
// line end, that milters do not get to see: our own Received:, which Sendmail does
// not show either; DKIM signatures depend on it.
func (x *Session) Message(c Content, hidden string, ed Editor) Reply {
	return x.each(func(m *conn) Reply {
		if m.state != inEnvelope {
			return m.def
		}
		m.state, m.within = inMessage, m.content
		r := m.message(c.Reader(), hidden, ed)
		m.within = m.command
		if m.state == inMessage || m.state == acceptMessage {
			m.state = inEnvelope
		}
		return r
	})
}

// message is Message for one milter.
func (m *conn) message(src io.Reader, hidden string, ed Editor) Reply {
	r := bufio.NewReaderSize(src, chunkSize)
	first, reply, done := m.header(r, hidden)
	if done {
		return reply
	}
	if r := m.event(cmdEOH, noEOH, quietEOH, atHeader, nil); m.done(r) {
		return r
	}
	if reply, done := m.body(first, r); done {
		return reply
	}
	if m.net == nil {
		return m.def
	}
	m.sendMacros(cmdEnd, atEnd)
	m.send(cmdEnd, nil)
	e := &edits{ed: ed, space: " "}
	if m.events&leadingSpace != 0 {
		e.space = ""
	}
	return e.result(m.answer(cmdEnd, e))
}

// done tells whether the milter has decided already.
func (m *conn) done(r Reply) bool { return r.Verdict != Go || m.state != inMessage }

// maxField is how much of a header field a milter gets, in octets: more than
// intake lets through where there are milters (see its header limit).
const maxField = 64000

// header sends the header, field by field, and takes the empty line behind it.
// Where that is missing, first is what it has read of the body.
func (m *conn) header(r *bufio.Reader, hidden string) (first []byte, reply Reply, done bool) {
	var field []byte
	for {
		line, err := r.ReadSlice('\n')
		folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		if len(field) > 0 && !folded {
			if reply := m.field(field, &hidden); m.done(reply) {
				return nil, reply, true
			}
			field = field[:0]
		}
		if err != nil && len(line) == 0 || !folded && message.NameLen(line) == 0 {
			if len(line) > 1 {
				first = bytes.Clone(line)
			}
			return first, Reply{}, false
		}
		field = append(field, line...)
		for err == bufio.ErrBufferFull {
			_, err = r.ReadSlice('\n') // intake's limit is below: such a line is no field of ours
		}
		if len(field) > maxField {
			field = field[:maxField]
		}
	}
}

// field sends one header field. Sendmail eats the first blank behind the colon.
func (m *conn) field(field []byte, hidden *string) Reply {
	text := bytes.TrimSuffix(field, []byte{'\n'})
	if *hidden != "" && string(text) == *hidden {
		*hidden = ""
		return Reply{}
	}
	f, ok := message.ParseField(text)
	if !ok {
		return Reply{}
	}
	value := f.Body
	if m.events&leadingSpace == 0 {
		value = bytes.TrimPrefix(value, []byte{' '})
	}
	return m.event(cmdHeader, noHeaders, quietHeader, atHeader, strs(string(f.Name), string(value)))
}

// body sends the body in pieces of the protocol's size, with CRLF line ends.
func (m *conn) body(line []byte, r *bufio.Reader) (Reply, bool) {
	if m.events&noBody != 0 {
		return Reply{}, false
	}
	chunk := make([]byte, 0, chunkSize+1)
	for err := error(nil); err == nil || err == bufio.ErrBufferFull; line, err = r.ReadSlice('\n') {
		for len(line) > 0 {
			chunk, line = fillChunk(chunk, line)
			if len(chunk) >= chunkSize {
				if reply := m.event(cmdBody, noBody, quietBody, atEnd, chunk[:chunkSize]); m.done(reply) {
					return reply, true
				}
				chunk = chunk[:copy(chunk, chunk[chunkSize:])]
			}
		}
		if m.skip == cmdBody {
			return Reply{}, false
		}
	}
	if len(chunk) == 0 {
		return Reply{}, false
	}
	reply := m.event(cmdBody, noBody, quietBody, atEnd, chunk)
	return reply, m.done(reply)
}

// fillChunk adds as much of a line as there is room for; a LF becomes CRLF, of
// which the LF may be one octet too much.
func fillChunk(chunk, line []byte) (full, rest []byte) {
	n := min(len(line), chunkSize-len(chunk))
	if n == len(line) && line[n-1] == '\n' {
		return append(append(chunk, line[:n-1]...), '\r', '\n'), nil
	}
	return append(chunk, line[:n]...), line[n:]
}
