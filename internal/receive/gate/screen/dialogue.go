package screen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
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
	tls    bool
	gone   bool // the session ends
}

// dialogue runs until the client leaves or is cut off.
func (c *client) dialogue() {
	d := &dialogue{client: c, conn: c.conn, last: "CONNECT", proto: "SMTP"}
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
			d.send("421 4.3.0 " + c.s.o.Hostname + " Error: command limit exceeded")
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
	d.conn.SetReadDeadline(time.Now().Add(s.o.Timeout))
	line, err := d.r.ReadSlice('\n')
	switch {
	case err == nil && len(line) <= maxCommand:
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		s.d.Log.ScreenLimit("COMMAND LENGTH LIMIT", d.end, d.last)
		d.cut("421 4.3.0 " + s.o.Hostname + " Error: command too long")
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

// bad deals with a test that failed; false when the session has ended.
func (d *dialogue) bad(action string, test int, tell func()) bool {
	if d.known[test] >= time.Now().Unix() {
		return true // this client has passed it
	}
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

// command runs one line.
func (d *dialogue) command(line []byte) {
	s := d.s
	if s.filter != nil {
		if v, ok, err := s.filter.Lookup(context.Background(), string(line)); err == nil && ok {
			s.d.Log.SMTPDReplaced(d.end, line, v)
			line = []byte(v)
		}
	}
	cmd := syntax.Tokenize(line)
	if len(cmd.Args) == 0 {
		d.send("500 5.5.2 Error: bad syntax")
		return
	}
	verb := strings.ToUpper(cmd.Args[0].Text)
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
		d.run(verb, &cmd)
	}
	d.last = verb
}

// nonSMTP deals with a command of another protocol; the session goes on only
// where that is ignored.
func (d *dialogue) nonSMTP(line []byte) bool {
	if d.s.o.Non != "drop" {
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

// run answers a command as postscreen does: nothing is ever accepted.
func (d *dialogue) run(verb string, cmd *syntax.Command) {
	switch verb {
	case "HELO", "EHLO":
		d.greet(verb, cmd)
	case "STARTTLS":
		d.startTLS(cmd)
	case "MAIL":
		d.mail(cmd)
	case "RCPT":
		d.rcpt(cmd)
	case "DATA", "BDAT":
		d.data(verb)
	case "RSET", "NOOP":
		if verb == "RSET" {
			d.sender = nil
		}
		d.send("250 2.0.0 Ok")
	case "VRFY":
		d.vrfy(cmd)
	case "ETRN":
		d.send("458 Unable to queue messages")
	case "QUIT":
		d.passDeep()
		d.cut("221 2.0.0 Bye")
	case "AUTH", "XCLIENT", "XFORWARD":
		d.send("502 5.5.1 Error: command not implemented")
	default:
		d.send("502 5.5.2 Error: command not recognized")
	}
}

// greet answers HELO and EHLO.
func (d *dialogue) greet(verb string, cmd *syntax.Command) {
	if len(cmd.Args) < 2 {
		d.send("501 Syntax: " + verb + " hostname")
		return
	}
	d.helo, d.sender = printable(cmd.Rest(1)), nil
	if verb == "HELO" {
		d.proto = "SMTP"
		d.send("250 " + d.s.o.Hostname)
		return
	}
	d.proto = "ESMTP"
	lines := []string{d.s.o.Hostname}
	// PIPELINING is not offered: who uses it all the same does not listen.
	size := "SIZE"
	if d.s.o.Size > 0 {
		size = fmt.Sprintf("SIZE %d", d.s.o.Size)
	}
	for _, k := range []string{size, "VRFY", "ETRN", "STARTTLS", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"} {
		word, _, _ := strings.Cut(k, " ")
		if word == "VRFY" && d.s.o.NoVRFY || word == "STARTTLS" && (d.tls || d.s.d.TLS == nil) || d.discards(word) {
			continue
		}
		lines = append(lines, k)
	}
	d.send("250-" + strings.Join(lines[:len(lines)-1], "\r\n250-") + "\r\n250 " + lines[len(lines)-1])
}

func (d *dialogue) discards(word string) bool {
	for _, w := range d.s.o.Discard {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// startTLS turns the connection into TLS. What came with the command in the
// clear is thrown away (RFC 3207 section 6).
func (d *dialogue) startTLS(cmd *syntax.Command) {
	switch {
	case d.tls:
		d.send("554 5.5.1 Error: TLS already active")
		return
	case d.s.d.TLS == nil:
		d.send("502 5.5.1 Error: command not implemented")
		return
	}
	d.send("220 2.0.0 Ready to start TLS")
	ctx, cancel := context.WithTimeout(context.Background(), d.s.o.Timeout)
	defer cancel()
	t := tls.Server(d.client.conn, d.s.d.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		d.gone = true
		return
	}
	d.conn, d.tls, d.sender, d.helo = t, true, nil, ""
	d.r.Reset(t)
}

func (d *dialogue) mail(cmd *syntax.Command) {
	switch {
	case d.s.o.HeloNeed && d.helo == "":
		d.send("503 5.5.1 Error: send HELO/EHLO first")
	case d.sender != nil:
		d.send("503 5.5.1 Error: nested MAIL command")
	case len(cmd.Args) < 3 || !strings.EqualFold(cmd.Args[1].Text, "FROM:"):
		d.send("501 5.5.4 Syntax: MAIL FROM:<address>")
	default:
		a, ok := syntax.ParsePath(cmd.Args[2].Text, syntax.PathRules{Empty: true, UTF8: true})
		if !ok {
			d.send("501 5.1.7 Bad sender address syntax")
			return
		}
		from := a.Quoted()
		d.sender = &from
		d.send("250 2.1.0 Ok")
	}
}

// rcpt refuses a recipient: for good after a test that failed, for now while
// the tests last, so that a mail server comes again and is let in then.
func (d *dialogue) rcpt(cmd *syntax.Command) {
	switch {
	case d.sender == nil:
		d.send("503 5.5.1 Error: need MAIL command")
		return
	case len(cmd.Args) < 3 || !strings.EqualFold(cmd.Args[1].Text, "TO:"):
		d.send("501 5.5.4 Syntax: RCPT TO:<address>")
		return
	}
	a, ok := syntax.ParsePath(cmd.Args[2].Text, syntax.PathRules{UTF8: true})
	if !ok {
		d.send("501 5.1.3 Bad recipient address syntax")
		return
	}
	reply := d.fail
	if reply == "" {
		reply = "450 4.3.2 Service currently unavailable"
	}
	d.s.d.Log.ScreenReject(d.end, reply, *d.sender, a.Quoted(), d.proto, d.helo)
	d.send(reply)
	d.passDeep()
}

// vrfy says as little as RCPT.
func (d *dialogue) vrfy(cmd *syntax.Command) {
	switch {
	case d.s.o.NoVRFY:
		d.send("502 5.5.1 VRFY command is disabled")
	case len(cmd.Args) < 2:
		d.send("501 5.5.4 Syntax: VRFY address")
	case d.fail != "":
		d.send(d.fail)
	default:
		d.send("450 4.3.2 Service currently unavailable")
	}
}

// data has never a recipient. What follows must not run as commands, so the
// session ends.
func (d *dialogue) data(verb string) {
	reply := "554 5.5.1 Error: no valid recipients"
	if d.sender == nil {
		reply = "503 5.5.1 Error: need RCPT command"
	}
	d.s.d.Log.ScreenNoRcpt(verb, d.end)
	d.cut(reply)
}

// passDeep notes the tests that no command so far has failed: the client got as
// far as a mail server has to.
func (d *dialogue) passDeep() {
	if d.fail != "" {
		return
	}
	for t, ttl := range map[int]time.Duration{tPipelining: d.s.o.PipeTTL, tNonSMTP: d.s.o.NonTTL, tBare: d.s.o.BareTTL} {
		if d.s.enabled(t) && d.fresh[t] == 0 {
			d.pass(t, ttl)
		}
	}
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if syntax.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}
