package intake

import (
	"bytes"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/receive/milter"
	"packetboat/internal/route/checks"
)

// Message is one message on its way into the queue. It is used by one goroutine.
type Message struct {
	in       *Intake
	src      *Source
	w        file
	id       string
	env      *mail.Envelope
	fullName string          // for a missing From:
	remote   bool            // sendmail -G
	milters  *milter.Session // smtpd's, or our own for local mail

	state     state
	local     bool   // headers are completed and rewritten
	domain    string // appended to bare addresses in headers; empty = headers are not rewritten
	limit     int    // octets of a header field
	line      []byte // the beginning of a line whose end has not come yet
	field     []byte // the header field that is being gathered
	out       []byte // scratch for a rewritten field, or a line without some octets
	header    seen
	hops      int
	own       string // our Received: as it was written
	size      int64
	headerEnd int64 // where the header ends in the file
	last      byte  // last byte written of the body

	walker  *checks.Walker // nil: the body is not looked at
	lines   bool           // the body is taken line by line
	checked bool           // tables judge this message (still)

	err    error // first failure of the queue file
	errs   stat
	reason string // of a refusal, with its x.y.z code
	reply  string // a milter's reply, as it is
	wishes wishes
	list   *rcptList      // the recipients, once expanded
	asked  []mail.Address // those that somebody named, mapped
	rcpt   string         // the one that milters hear of, for {rcpt_addr}
	edit   *editor        // what milters changed; nil = nothing
	ended  bool
}

// wishes are what tables and milters want to be done with the message.
type wishes struct {
	hold, discard bool
	filter        string
	redirect      mail.Address
	bcc           []mail.Address
}

// stat is a set of things that went wrong, as cleanup(8) knows them.
type stat uint8

const (
	statDefer   stat = 1 << iota // a temporary refusal
	statHops                     // too many Received: headers
	statSize                     // message_size_limit
	statContent                  // a refusal for good
	statWrite                    // a table or the disk failed
)

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

// SetMilters gives the milters of the SMTP session that brings the message; they
// have heard of everything up to DATA. It is called before Start.
func (m *Message) SetMilters(x *milter.Session) { m.milters = x }

// milterFieldLimit is the longest header field where there are milters, in
// octets: older libmilters take no more than 65,535 at once.
const milterFieldLimit = 60000

// Start writes the Received: header. env is kept: recipients may be added to
// it until Commit, which rewrites and expands them in place; what its Actions ask
// for is done at Commit, but for Prepend, which stands above our Received:.
func (m *Message) Start(env *mail.Envelope) error {
	m.env = env
	if env.Arrived.IsZero() {
		env.Arrived = time.Now()
	}
	if !m.remote {
		var err error
		if m.local, err = m.in.local(env.Peer); err != nil {
			m.in.log.Warn("local_header_rewrite_clients: %s", err)
			return &mail.Status{Outcome: mail.Deferred, Code: "4.3.0", Reply: 451, Text: writeText}
		}
	}
	m.domain = m.in.o.RemoteDomain
	if m.local {
		m.domain = m.in.o.Origin
	}
	m.limit = m.in.o.HeaderSizeLimit
	if m.hasMilters() {
		m.limit = min(m.limit, milterFieldLimit)
	}
	m.checked = !m.src.NoChecks
	m.setSender(env.Sender)
	m.look()
	for _, text := range env.Actions.Prepend {
		m.field = append(append(m.field[:0], text...), '\n')
		m.flushField()
	}
	m.out = m.in.received(m.out[:0], m.id, env)
	if !m.judges(received) && !m.hasMilters() && len(m.out) <= m.limit {
		m.hops = 1
		m.write(m.out)
		return m.failure()
	}
	for line := range bytes.Lines(m.out) {
		m.grow(line)
	}
	m.flushField()
	return m.failure()
}

// look decides how closely the message is looked at.
func (m *Message) look() {
	in, c := m.in, &m.in.o.Content
	bodies := m.checked && in.body != nil
	headers := m.checked && (in.mime != nil || in.nested != nil || in.report != 0)
	detect := c.Detect8Bit && m.env.Body == mail.Body7Bit
	if bodies || headers && !c.NoMIME || detect {
		o := checks.MIMEOptions{Nesting: c.Nesting, Boundary: c.Boundary, Header: m.limit, Disable: c.NoMIME}
		if m.checked && !c.NoMIME {
			o.Report = in.report
		}
		m.walker = checks.NewWalker(o, m)
	}
	m.lines = m.walker != nil || m.checked && (in.reject != nil || in.strip != nil)
}

// setSender completes and maps the envelope sender. Mail "from MAILER-DAEMON"
// here is a notice, whose sender is the null one.
func (m *Message) setSender(a mail.Address) {
	a = m.in.complete(a)
	if a.Fold() == m.in.complete("MAILER-DAEMON").Fold() {
		a = ""
	}
	m.env.Sender = m.mapAddress(a, envelopeSender)
}

// Write takes bytes of the message, with LF line ends and without SMTP's
// dots. It fails only when the queue file does; other reasons for a refusal
// are told by Commit.
func (m *Message) Write(p []byte) (int, error) {
	n := len(p)
	if m.in.o.Content.StrayCR && m.env.Peer.Proto == "" {
		p = noCR(p)
	}
	for m.state != inBody && len(p) > 0 && !m.stopped() {
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

// noCR returns p with a blank in place of each CR (cleanup_replace_stray_cr_lf):
// a CR in a line is an end of it to some, which is how a message is smuggled
// behind another.
func noCR(p []byte) []byte {
	if bytes.IndexByte(p, '\r') < 0 {
		return p
	}
	return bytes.ReplaceAll(p, []byte{'\r'}, []byte{' '})
}

// room is how much of a field is gathered: a line more than is written, as tables
// get to see it.
func (m *Message) room() int { return m.limit + pieceSize }

// rest joins the kept beginning of a line with its end, up to the limit.
func (m *Message) rest(end []byte) []byte {
	if room := m.room() - len(m.line); len(end) > room {
		end = append(end[:max(room, 0):max(room, 0)], '\n')
	}
	m.line = append(m.line, end...)
	return m.line
}

// partial keeps the beginning of a line. What is over header_size_limit is
// cut off a header field, but never off a body that has no header.
func (m *Message) partial(p []byte) {
	limit := m.room()
	if len(m.line)+len(p) <= limit {
		m.line = append(m.line, p...)
		return
	}
	if m.isField(m.line) || len(m.line) == 0 && m.isField(p) {
		m.line = append(m.line, p[:max(limit-len(m.line), 0)]...)
		return
	}
	m.endHeader(false)
	m.separate()
	line := bytes.Clone(m.line)
	m.line = m.line[:0]
	m.body(line)
	m.body(p)
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
	if line = m.acceptable(line); line == nil {
		return
	}
	switch {
	case len(line) == 1:
		m.endHeader(true)
		m.body(line)
	case isBlank(line[0]) && len(m.field) > 0:
		m.grow(line)
	case message.NameLen(line) > 0:
		m.flushField()
		m.grow(line)
	default:
		// A line that is no header ends the header; it is the body's first.
		m.endHeader(false)
		m.separate()
		m.body(line)
	}
}

// grow adds a line to the field, while that is below the limit.
func (m *Message) grow(line []byte) {
	if len(m.field) < m.limit {
		m.field = append(m.field, line...)
	}
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

// write writes to the queue file while there is room.
func (m *Message) write(p []byte) {
	m.size += int64(len(p))
	if m.err != nil || m.tooBig() || m.stopped() {
		return
	}
	if _, m.err = m.w.Write(p); m.err != nil {
		m.in.log.QueueWriteError(m.id, m.err)
		m.errs |= statWrite
	}
}

// stopped tells that nothing more of the message is kept: it will be refused, or
// thrown away.
// Mail of a local user goes back to him, and so is kept, if that is possible.
func (m *Message) stopped() bool {
	if m.errs == 0 {
		return m.wishes.discard
	}
	return m.env.Peer.Proto != "" || m.errs&(statDefer|statSize|statWrite) != 0
}

func (m *Message) tooBig() bool {
	return m.in.o.MessageSizeLimit > 0 && m.size > m.in.o.MessageSizeLimit
}

// Abort forgets the message and its queue file. After Commit it does nothing.
func (m *Message) Abort() {
	if !m.ended {
		m.ended = true
		m.w.Abort()
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
