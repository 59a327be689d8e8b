package intake

import (
	"bytes"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
)

// Message is one message on its way into the queue. It is used by one goroutine.
type Message struct {
	in       *Intake
	w        file
	id       string
	env      *mail.Envelope
	fullName string // for a missing From:
	remote   bool   // sendmail -G

	state  state
	local  bool   // headers are completed and rewritten
	domain string // appended to bare addresses in headers; empty = headers are not rewritten
	line   []byte // the beginning of a line whose end has not come yet
	field  []byte // the header field that is being gathered
	out    []byte // scratch for a rewritten field
	header seen
	hops   int
	size   int64
	last   byte  // last byte written of the body
	err    error // first failure of the queue file
	ended  bool
}

// state is where in the message the next byte stands.
type state uint8

const (
	atStart state = iota // nothing but From_ lines so far
	inHeader
	inBody
)

// ID returns the queue id.
func (m *Message) ID() string { return m.id }

// SetFullName gives the display name for a From: header that is missing
// (sendmail -F). It is called before Start.
func (m *Message) SetFullName(name string) { m.fullName = name }

// SetRemote makes the headers a stranger's: they are not rewritten, and nothing
// is added to them (sendmail -G). It is called before Start.
func (m *Message) SetRemote() { m.remote = true }

// Start writes the Received: header. env is kept: recipients may be added to
// it until Commit, which rewrites and expands them in place.
func (m *Message) Start(env *mail.Envelope) error {
	m.env = env
	if env.Arrived.IsZero() {
		env.Arrived = time.Now()
	}
	m.local = !m.remote && m.in.local(env.Peer)
	m.domain = m.in.o.RemoteDomain
	if m.local {
		m.domain = m.in.o.Origin
	}
	env.Sender = m.in.complete(env.Sender)
	m.hops = 1
	m.write(m.in.received(m.out[:0], m.id, env))
	return m.failure()
}

// Write takes bytes of the message, with LF line ends and without SMTP's
// dots. It fails only when the queue file does; other reasons for a refusal
// are told by Commit.
func (m *Message) Write(p []byte) (int, error) {
	n := len(p)
	for m.state != inBody && len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			m.partial(p)
			return n, m.failure()
		}
		line := p[:i+1]
		if len(m.line) > 0 {
			line = m.rest(line)
		}
		m.headerLine(line)
		m.line = m.line[:0]
		p = p[i+1:]
	}
	if len(p) > 0 {
		m.body(p)
	}
	return n, m.failure()
}

// rest joins the kept beginning of a line with its end, up to the limit.
func (m *Message) rest(end []byte) []byte {
	if room := m.in.o.HeaderSizeLimit - len(m.line); len(end) > room {
		end = append(end[:max(room, 0):max(room, 0)], '\n')
	}
	m.line = append(m.line, end...)
	return m.line
}

// partial keeps the beginning of a line. What is over header_size_limit is
// cut off a header field, but never off a body that has no header.
func (m *Message) partial(p []byte) {
	limit := m.in.o.HeaderSizeLimit
	if len(m.line)+len(p) <= limit {
		m.line = append(m.line, p...)
		return
	}
	if m.isField(m.line) || len(m.line) == 0 && m.isField(p) {
		m.line = append(m.line, p[:max(limit-len(m.line), 0)]...)
		return
	}
	m.endHeader()
	m.write([]byte{'\n'})
	m.body(m.line)
	m.body(p)
	m.line = m.line[:0]
}

// isField tells whether line, perhaps not whole, belongs to the header.
func (m *Message) isField(line []byte) bool {
	if len(line) > 0 && isBlank(line[0]) {
		return len(m.field) > 0
	}
	return message.NameLen(line) > 0
}

// headerLine takes one line, with its LF, while the header lasts.
func (m *Message) headerLine(line []byte) {
	if m.state == atStart {
		if isFromLine(line) {
			m.fromLine(line)
			return
		}
		m.state = inHeader
	}
	switch {
	case len(line) == 1:
		m.endHeader()
		m.body(line)
	case isBlank(line[0]) && len(m.field) > 0:
		m.grow(line)
	case message.NameLen(line) > 0:
		m.flushField()
		m.grow(line)
	default:
		// A line that is no header ends the header; it is the body's first.
		m.endHeader()
		m.write([]byte{'\n'})
		m.body(line)
	}
}

// grow adds a line to the field, up to header_size_limit.
func (m *Message) grow(line []byte) {
	if len(m.field)+len(line) > m.in.o.HeaderSizeLimit {
		room := max(m.in.o.HeaderSizeLimit-len(m.field)-1, 0)
		line = append(line[:room:room], '\n')
		if room == 0 {
			return
		}
	}
	m.field = append(m.field, line...)
}

// isFromLine tells whether line is the "From " line of a mailbox, quoted or not.
func isFromLine(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From "))
}

// fromLine removes a mailbox's From_ line before the header. What a network
// client sends is kept under another name, as smtpd(8) does.
func (m *Message) fromLine(line []byte) {
	if m.env.Peer.Proto != "" {
		m.grow(append([]byte("X-Mailbox-Line: "), line...))
		m.state = inHeader
	}
}

// body writes bytes behind the header.
func (m *Message) body(p []byte) {
	if len(p) > 0 {
		m.last = p[len(p)-1]
		m.write(p)
	}
}

// write writes to the queue file while there is room.
func (m *Message) write(p []byte) {
	m.size += int64(len(p))
	if m.err != nil || m.tooBig() {
		return
	}
	if _, m.err = m.w.Write(p); m.err != nil {
		m.in.log.QueueWriteError(m.id, m.err)
	}
}

func (m *Message) tooBig() bool {
	return m.in.o.MessageSizeLimit > 0 && m.size > m.in.o.MessageSizeLimit
}

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

// Commit ends the message: on nil it is on disk, and queued has been called.
// On an error, always a *mail.Status, nothing is left of it. Mail of a local
// user is never refused for what it is: it is queued to be returned to the
// sender.
func (m *Message) Commit() error {
	err := m.finish()
	if err == nil {
		err = m.expand()
	}
	if err == nil {
		if m.err = m.w.Commit(m.env); m.err != nil {
			m.in.log.QueueWriteError(m.id, m.err)
			err = m.failure()
		}
	}
	if err != nil {
		m.Abort()
		return err
	}
	m.ended = true
	if m.in.queued != nil {
		m.in.queued(m.id, m.env, m.size)
	}
	return nil
}

// finish ends header and body and tells why the content is refused, if it is.
func (m *Message) finish() error {
	if len(m.line) > 0 && m.state != inBody {
		m.headerLine(append(m.line, '\n'))
	}
	if m.state != inBody {
		m.endHeader()
	} else if m.last != '\n' {
		m.write([]byte{'\n'})
	}
	switch {
	case m.err != nil:
		return m.failure()
	case m.tooBig():
		m.in.log.QueueFileTooBig(m.id)
		return m.refuse("5.3.4", 552, tooBigText)
	case m.hops >= m.in.o.HopcountLimit:
		return m.refuse("5.4.0", 554, hopsText)
	}
	return nil
}

// refuse returns the refusal for a network client; a local user's message is
// queued for the error transport, which returns it to the sender.
func (m *Message) refuse(code string, reply int, text string) error {
	if m.env.Peer.Proto != "" {
		return &mail.Status{Outcome: mail.Bounced, Code: code, Reply: reply, Text: "Error: " + text}
	}
	m.env.Filter = "error:" + code + " " + text
	return nil
}

// Abort forgets the message and its queue file. After Commit it does nothing.
func (m *Message) Abort() {
	if !m.ended {
		m.ended = true
		m.w.Abort()
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
