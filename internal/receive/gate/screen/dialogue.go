package screen

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"packetboat/internal/receive/smtpd/syntax"
)

// maxCommand is the longest command line in octets (postscreen's
// line_length_limit).
const maxCommand = 2048

// dialogue is the SMTP server of postscreen(8): it takes no mail, but sees how a
// client behaves when it is spoken to, and learns whom it wanted to reach.
type dialogue struct {
	*client
	conn   net.Conn
	r      *bufio.Reader
	last   string // the command before, for the log
	helo   string
	proto  string
	sender *string
	hidden syntax.Keywords // what EHLO does not offer
	tried  [nTests]bool    // tests that this session has failed once: they are not repeated
	tls    bool
	gone   bool // the session ends
}

// dialogue runs until the client leaves or is cut off.
func (c *client) dialogue() {
	c.begun = time.Now() // from here on it is told how long the dialogue lasted
	d := &dialogue{client: c, conn: c.conn, last: "CONNECT", proto: "SMTP", hidden: c.s.hides(c)}
	d.r = bufio.NewReaderSize(c.conn, 4096)
	if len(c.conn.early) == 0 {
		d.send("220 " + c.s.o.Banner) // postscreen(8) greets nobody who has spoken already
	}
	for n := 0; !d.gone; n++ {
		line, ok := d.read()
		if !ok {
			break
		}
		if n >= c.s.o.Commands {
			c.s.d.Log.ScreenLimit("COMMAND COUNT LIMIT", c.end, d.last)
			d.send("421 " + c.s.o.Hostname + " Service unavailable - try again later")
			break
		}
		d.command(line)
	}
	if c.fail == "" && !c.missing(0, nTests) {
		c.passed()
	}
	c.s.d.Log.ScreenDisconnect(c.end)
}

func (d *dialogue) send(line string) {
	line = d.final(line)
	d.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(d.conn, "%s\r\n", line)
}

// cut ends the session with a reply.
func (d *dialogue) cut(line string) {
	d.send(line)
	d.gone = true
}

// read takes one command; false when there is none.
func (d *dialogue) read() ([]byte, bool) {
	s := d.s
	d.conn.SetReadDeadline(time.Now().Add(s.limits().timeout))
	line, err := d.r.ReadSlice('\n')
	switch {
	case err == nil && len(line) <= maxCommand:
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		s.d.Log.ScreenLimit("COMMAND LENGTH LIMIT", d.end, d.last)
		d.cut("421 " + s.o.Hostname + " Service unavailable - try again later")
		return nil, false
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.d.Log.ScreenLimit("COMMAND TIME LIMIT", d.end, d.last)
		d.cut("421 4.4.2 " + s.o.Hostname + " Error: timeout exceeded")
		return nil, false
	default:
		s.d.Log.ScreenHangup(time.Since(d.begun), d.end, "tests after SMTP handshake")
		return nil, false
	}
	line = line[:len(line)-1]
	text, crlf := bytes.CutSuffix(line, []byte{'\r'})
	if !crlf && s.o.BareOn && !d.bad(s.o.Bare, tBare, func() { s.d.Log.ScreenBareNewline(d.end, string(text)) }) {
		return nil, false
	}
	return text, true
}

// bad deals with a test that failed; false when the session has ended. A client
// that has passed the test, or failed it once, is not tested again.
func (d *dialogue) bad(action string, test int, tell func()) bool {
	if !d.tests(test) {
		return true
	}
	d.tried[test] = true
	tell()
	switch action {
	case "drop":
		d.failed("521 5.5.1 Protocol error")
		d.cut("521 5.5.1 Protocol error")
		return false
	case "enforce":
		d.failed("550 5.5.1 Protocol error")
	default:
		d.pass(test, 0)
	}
	return true
}

// tests tells whether a test of the dialogue is still under way.
func (d *dialogue) tests(test int) bool {
	return !d.tried[test] && d.known[test] < time.Now().Unix()
}

// split divides a line into its first word and the rest. What stands behind a NUL
// is not looked at, as a C program would not.
func split(line []byte) (word, args string) {
	s, _, _ := strings.Cut(string(line), "\x00")
	s = strings.Trim(s, blanks)
	if i := strings.IndexAny(s, blanks); i >= 0 {
		return s[:i], strings.TrimLeft(s[i:], blanks)
	}
	return s, ""
}

const blanks = " \t\r\v\f"

// command runs one line.
func (d *dialogue) command(line []byte) {
	s := d.s
	if s.filter != nil {
		if v, ok, err := s.filter.Lookup(context.Background(), string(line)); err == nil && ok {
			s.d.Log.SMTPDReplaced(d.end, line, v)
			line = []byte(v)
		}
	}
	word, args := split(line)
	verb := strings.ToUpper(word)
	if s.o.NonOn && d.foreign(verb) && !d.nonSMTP(line) {
		return
	}
	if early := d.r.Buffered(); early > 0 && s.o.PipeOn && verb != "STARTTLS" {
		b, _ := d.r.Peek(early)
		if !d.bad(s.o.Pipe, tPipelining, func() { s.d.Log.ScreenPipelining(d.end, verb, b) }) {
			return
		}
	}
	if s.o.TLSLevel == "encrypt" && !d.tls && !strings.Contains(" EHLO HELO NOOP QUIT STARTTLS ", " "+verb+" ") {
		d.send("530 5.7.0 Must issue a STARTTLS command first")
	} else {
		d.run(verb, args)
	}
	d.last = verb
}

// nonSMTP deals with a command of another protocol; the session goes on only
// where that is ignored.
func (d *dialogue) nonSMTP(line []byte) bool {
	if !d.tests(tNonSMTP) || d.s.o.Non != "drop" {
		return d.bad(d.s.o.Non, tNonSMTP, func() { d.s.d.Log.ScreenNonSMTP(d.end, d.last, line) })
	}
	d.s.d.Log.ScreenNonSMTP(d.end, d.last, line)
	d.failed("521 5.5.1 Protocol error")
	d.cut("521 5.7.0 Error: I can break rules, too. Goodbye.")
	return false
}

// foreign tells whether a verb is of another protocol, or a header field's name.
func (d *dialogue) foreign(verb string) bool {
	for _, w := range d.s.o.Forbid {
		if strings.EqualFold(w, verb) {
			return true
		}
	}
	for _, t := range d.s.forbid {
		if _, ok, err := t.Lookup(context.Background(), verb); ok && err == nil {
			return true
		}
	}
	return len(verb) > 1 && verb[len(verb)-1] == ':'
}
