package milter

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// state is where the conversation with one milter stands.
type state uint8

const (
	closed state = iota
	broken       // it failed: def is the answer to everything
	ready        // negotiated, before the connect event
	inEnvelope
	inMessage
	acceptConn // it wants to hear no more of this client
	acceptMessage
	rejectConn // it refused the client: def is the answer to everything
)

// conn is the conversation with one milter.
type conn struct {
	*config
	session *Session
	log     *maillog.Log
	net     net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	state   state
	def     Reply  // the answer where nothing is asked
	version uint32 // of the milter
	events  uint32 // what it wants to be spared
	unknown uint32 // events that the agreed version does not have
	skip    byte   // the event of which it wants no more
	names   [stages][]string
	within  time.Duration // for one answer, now
}

// dial connects and negotiates.
func (m *conn) dial() {
	if m.state != closed {
		return
	}
	c, err := m.connectTo()
	if err != nil {
		m.log.Warn("connect to Milter service %s: %s", m.name, proc.ErrText(err))
		m.fail()
		return
	}
	m.net, m.within = c, m.command
	m.r, m.w = bufio.NewReaderSize(c, 4<<10), bufio.NewWriterSize(c, 16<<10)
	if m.negotiate() {
		m.state, m.def, m.skip = ready, Reply{}, 0
	}
}

// connectTo opens the connection. Where a Unix socket is not found it may have
// been named from inside of Postfix's chroot jail, which is the queue directory.
func (m *conn) connectTo() (net.Conn, error) {
	c, err := net.DialTimeout(m.network, m.address, m.connect)
	if dir := m.session.set.o.QueueDirectory; m.network == "unix" && dir != "" &&
		errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(m.address, dir+"/") {
		if c2, err2 := net.DialTimeout(m.network, dir+m.address, m.connect); err2 == nil {
			return c2, nil
		}
	}
	return c, err
}

// negotiate agrees on version, modifications and events, and reads which macros
// the milter wants.
func (m *conn) negotiate() bool {
	ours, events, _ := version(m.protocol) // New has read it
	hello := binary.BigEndian.AppendUint32(nil, ours)
	hello = binary.BigEndian.AppendUint32(hello, ourActions)
	m.send(cmdOptions, binary.BigEndian.AppendUint32(hello, events))
	code, data, ok := m.read(cmdOptions)
	switch {
	case !ok:
		m.log.Warn("milter %s: read error in initial handshake", m.name)
		return false
	case code != cmdOptions:
		m.log.Warn("milter %s: unexpected reply \"%c\" in initial handshake", m.name, code)
		return m.fail()
	case len(data) < 12:
		m.log.Warn("milter %s: input packet too short for network long", m.name)
		return m.fail()
	}
	m.version = binary.BigEndian.Uint32(data)
	actions := binary.BigEndian.Uint32(data[4:])
	m.events = binary.BigEndian.Uint32(data[8:])
	switch {
	case m.version > ours:
		m.log.Warn("milter %s: protocol version %d conflict with MTA protocol version %d", m.name, m.version, ours)
		return m.fail()
	case actions&^ourActions != 0:
		m.log.Warn("milter %s: request mask 0x%x conflict with MTA request mask 0x%x", m.name, actions, ourActions)
		return m.fail()
	}
	m.unknown = noSend &^ (events & eventsOf(m.version))
	return m.readSymbols(data[12:])
}

// readSymbols takes the milter's own lists of macros: a number and a string each.
func (m *conn) readSymbols(b []byte) bool {
	m.names = [stages][]string{}
	for len(b) > 0 {
		end := -1
		if len(b) >= 4 {
			end = strings.IndexByte(string(b[4:]), 0)
		}
		if end < 0 {
			m.log.Warn("milter %s: input packet too short for network long", m.name)
			return m.fail()
		}
		kind, text := binary.BigEndian.Uint32(b), string(b[4:4+end])
		b = b[4+end+1:]
		if kind >= uint32(atUnknown) {
			m.log.Warn("milter %s: ignoring unknown macro type %d", m.name, kind)
			continue
		}
		m.names[kind] = strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	}
	return true
}

// fail ends a conversation that broke; what milter_default_action says is the
// answer from now on. It returns false.
func (m *conn) fail() bool {
	m.hangUp()
	m.state = broken
	switch strings.ToLower(m.action) {
	case "accept":
		m.def = Reply{}
	case "reject":
		m.def = refusal("550 5.5.0 Service unavailable")
	case "quarantine":
		m.def = Reply{Verdict: Hold}
	case "shutdown":
		m.def = Reply{Verdict: Shutdown}
	default:
		m.def = refusal("451 4.7.1 Service unavailable - try again later")
	}
	return false
}

// confuse is fail for a milter that said what makes no sense.
func (m *conn) confuse() Reply {
	m.fail()
	if m.def.Verdict == Refuse || m.def.Verdict == Shutdown {
		m.def = refusal("451 4.3.5 Server configuration problem - try again later")
	}
	return m.def
}

func (m *conn) hangUp() {
	if m.net != nil {
		m.net.Close()
		m.net, m.r, m.w = nil, nil, nil
	}
}

// send puts a packet into the buffer: length, command, data. An error shows when
// the answer is read.
func (m *conn) send(cmd byte, data []byte) {
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(data)+1))
	head[4] = cmd
	if m.w.Available() < len(data)+len(head) {
		m.net.SetWriteDeadline(time.Now().Add(m.within))
	}
	m.w.Write(head[:])
	m.w.Write(data)
}

// read sends what is buffered and reads one packet. The data hold until the next
// read. It says in the log what went wrong, and ends the conversation.
func (m *conn) read(event byte) (code byte, data []byte, ok bool) {
	m.net.SetDeadline(time.Now().Add(m.within))
	if err := m.w.Flush(); err != nil {
		m.log.Warn("milter %s: error writing command: %s", m.name, proc.ErrText(err))
		return 0, nil, m.fail()
	}
	var head [5]byte
	if _, err := io.ReadFull(m.r, head[:]); err != nil {
		m.log.Warn("milter %s: can't read %s reply packet header: %s", m.name, commandName(event), readError(err))
		return 0, nil, m.fail()
	}
	n := binary.BigEndian.Uint32(head[:])
	switch {
	case n < 1:
		m.log.Warn("milter %s: bad packet length: %d", m.name, n)
		return 0, nil, m.fail()
	case n > maxAnswer:
		m.log.Warn("milter %s: unreasonable packet length: %d > %d", m.name, n, maxAnswer)
		return 0, nil, m.fail()
	}
	data = make([]byte, n-1)
	if _, err := io.ReadFull(m.r, data); err != nil {
		m.log.Warn("milter %s: EOF while reading data: %s", m.name, readError(err))
		return 0, nil, m.fail()
	}
	return head[4], data, true
}

// readError is what the system says where the other side has hung up: Postfix
// prints the last error number, which is 0.
func readError(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "Success"
	}
	return proc.ErrText(err)
}

// abort ends the milter's view of a transaction.
func (m *conn) abort() {
	switch m.state {
	case inEnvelope, inMessage, acceptMessage:
		m.send(cmdAbort, nil)
		m.state, m.skip = inEnvelope, 0
		m.def = Reply{} // a quarantine holds for one message
	}
}

// quit says goodbye.
func (m *conn) quit() {
	if m.net != nil && m.state >= ready {
		m.send(cmdQuit, nil)
		m.net.SetDeadline(time.Now().Add(m.within))
		m.w.Flush() // who has gone already need not hear it
	}
	m.hangUp()
	m.state, m.def = closed, Reply{}
}
