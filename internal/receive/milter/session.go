package milter

import (
	"net/netip"
	"strings"

	"packetboat/internal/sys/maillog"
)

// Verdict is what the milters of a Session make of an event.
type Verdict uint8

// The values of Verdict.
const (
	Go       Verdict = iota // go on
	Hold                    // quarantine: the message goes to the hold queue
	Discard                 // the message is accepted and thrown away
	Shutdown                // 421, and the connection ends
	Refuse                  // Text is the reply
)

// Reply is a verdict, with the SMTP reply of a refusal: "550 5.7.1 Command
// rejected", perhaps of several lines with CRLF between them.
type Reply struct {
	Verdict Verdict
	Text    string
}

// refusal returns the reply of a refusal.
func refusal(text string) Reply { return Reply{Refuse, text} }

// Temporary tells whether a refusal is one of the 4xx kind.
func (r Reply) Temporary() bool { return r.Verdict == Refuse && strings.HasPrefix(r.Text, "4") }

// stage is an event for which macros are sent; the numbers are those of
// SETSYMLIST in Sendmail's protocol.
type stage uint8

const (
	atConnect stage = iota
	atHelo
	atMail
	atRcpt
	atData
	atEnd
	atHeader
	atUnknown
	stages
)

// Macros answers what a macro stands for now; name has its braces: "{j}". The
// macros {daemon_name}, {v} and {j} are the Session's own.
type Macros func(name string) (value string, ok bool)

// Session is the milters' view of one SMTP connection, or of one local message.
// It is used by one goroutine. All methods may be called on nil, which is a
// Session without milters.
type Session struct {
	set    *Set
	list   []*conn
	macros Macros
}

// Open begins a Session; nothing is connected before the Connect event. log says
// what is wrong with milters. With a nil Set it returns nil.
func (s *Set) Open(macros Macros, log *maillog.Log) *Session {
	if s == nil {
		return nil
	}
	x := &Session{set: s, macros: macros}
	for i := range s.list {
		x.list = append(x.list, &conn{config: &s.list[i], session: x, log: log})
	}
	return x
}

// Log gives the rest of the session another voice in the log: cleanup speaks of
// what happens after the message's end.
func (x *Session) Log(log *maillog.Log) {
	if x == nil {
		return
	}
	for _, m := range x.list {
		m.log = log
	}
}

// Macros replaces the source of macros.
func (x *Session) Macros(macros Macros) {
	if x != nil {
		x.macros = macros
	}
}

// each asks the milters in their order until one has something to say.
func (x *Session) each(ask func(*conn) Reply) Reply {
	if x == nil {
		return Reply{}
	}
	for _, m := range x.list {
		if r := ask(m); r.Verdict != Go {
			return r
		}
	}
	return Reply{}
}

// Connect connects to the milters and tells them of a client: its name
// ("unknown" without one), address and port.
func (x *Session) Connect(name string, addr netip.Addr, port uint16) Reply {
	return x.each(func(m *conn) Reply {
		m.dial()
		if m.state != ready {
			return m.def
		}
		m.state = inEnvelope
		return m.event(cmdConnect, noConnect, quietConnect, atConnect, connectData(name, addr, port))
	})
}

// connectData is the payload of a connect event: name, family, port, address.
func connectData(name string, addr netip.Addr, port uint16) []byte {
	addr = addr.Unmap()
	if name == "unknown" || name == "" {
		name = "[" + addr.String() + "]"
	}
	b := append([]byte(name), 0)
	switch {
	case addr.Is4():
		b = append(b, '4')
	case addr.Is6():
		b = append(b, '6')
	default:
		return append(b, 'U')
	}
	b = append(b, byte(port>>8), byte(port))
	return append(append(b, addr.WithZone("").String()...), 0)
}

// Helo tells of HELO or EHLO.
func (x *Session) Helo(name string) Reply {
	return x.each(func(m *conn) Reply {
		if m.state != inEnvelope && m.state != acceptMessage {
			return m.def
		}
		return m.event(cmdHelo, noHelo, quietHelo, atHelo, strs(name))
	})
}

// Mail tells of MAIL: the address as the client wrote it, and the parameters.
func (x *Session) Mail(args ...string) Reply {
	return x.each(func(m *conn) Reply {
		if m.state != inEnvelope {
			return m.def
		}
		return m.event(cmdMail, noMail, quietMail, atMail, strs(args...))
	})
}

// Rcpt tells of RCPT. One that is refused anyway goes only to milters that
// asked for such.
func (x *Session) Rcpt(refused bool, args ...string) Reply {
	return x.each(func(m *conn) Reply {
		if refused && m.events&wantRejected == 0 {
			return Reply{}
		}
		if m.state != inEnvelope {
			return m.def
		}
		return m.event(cmdRcpt, noRcpt, quietRcpt, atRcpt, strs(args...))
	})
}

// Data tells of DATA, or of the first BDAT.
func (x *Session) Data() Reply {
	return x.each(func(m *conn) Reply {
		if m.state != inEnvelope {
			return m.def
		}
		return m.event(cmdData, noData, quietData, atData, nil)
	})
}

// Unknown tells of a command that is not known: all of its line.
func (x *Session) Unknown(line string) Reply {
	return x.each(func(m *conn) Reply {
		if m.state != inEnvelope {
			return m.def
		}
		return m.event(cmdUnknown, noUnknown, quietUnknown, atUnknown, strs(line))
	})
}

// Other returns what the milters have said of the client before: commands that
// no event stands for (VRFY, ETRN, AUTH) are refused, too.
func (x *Session) Other() Reply {
	return x.each(func(m *conn) Reply { return m.def })
}

// Abort ends a transaction: after RSET and after the end of a message alike.
func (x *Session) Abort() {
	if x == nil {
		return
	}
	for _, m := range x.list {
		m.abort()
	}
}

// Close ends the session. It may be called twice.
func (x *Session) Close() {
	if x == nil {
		return
	}
	for _, m := range x.list {
		m.quit()
	}
}

// strs is the payload of strings, each with a NUL behind it. A NUL within would
// make two of one: it ends the string, as it does in the original.
func strs(list ...string) []byte {
	var b []byte
	for _, s := range list {
		s, _, _ = strings.Cut(s, "\x00")
		b = append(append(b, s...), 0)
	}
	return b
}

// values returns the macros of a stage as the payload of a macro command.
func (x *Session) values(names []string) []byte {
	var b []byte
	for _, name := range names {
		if v, ok := x.value(canonical(name)); ok {
			b = append(b, strs(name, v)...)
		}
	}
	return b
}

// value looks a macro up: the Session's own, the caller's, the defaults.
func (x *Session) value(name string) (string, bool) {
	switch name {
	case "{daemon_name}":
		return x.set.o.DaemonName, true
	case "{v}":
		return x.set.o.Version, true
	case "{j}":
		return x.set.o.Hostname, true
	}
	if x.macros != nil {
		if v, ok := x.macros(name); ok {
			return v, true
		}
	}
	v, ok := x.set.defaults[name]
	return v, ok
}
