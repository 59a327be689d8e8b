package smtpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/milter"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd/binary"
	"packetboat/internal/receive/smtpd/peername"
	"packetboat/internal/receive/smtpd/stream"
	"packetboat/internal/receive/smtpd/syntax"
	"packetboat/internal/sys/haproxy"
	"packetboat/internal/sys/maillog"
)

// session is one connection. All of it belongs to the goroutine of ServeConn,
// but for waiting and raw, which Drain uses.
type session struct {
	s       *Server
	raw     net.Conn // the TCP connection
	conn    net.Conn // raw, or TLS over it
	in      stream.Input
	out     []byte // replies that have not left yet
	network netip.Prefix
	ownAddr netip.Addr
	local   netip.AddrPort // our end, as the client sees it
	fwd     forwarded
	offer   syntax.Keywords // what EHLO may offer this client
	counted bool            // Deps.Anvil knows of the connection
	fails   int             // refused AUTHs
	ctx     context.Context
	cancel  context.CancelFunc
	waiting atomic.Bool // for a command, outside of a transaction

	st       policy.Session
	peer     mail.Peer
	known    bool                      // the client's name has been found and logged
	looking  <-chan peername.Name      // its look-up, while under way
	counts   [nVerbs + 1]maillog.Count // by verb; the last is for unknown ones
	errors   int
	junk     int
	where    string // the last command, for "lost connection after"
	received int64  // octets of a message under way; -1 outside DATA and BDAT
	hangup   bool
	denied   bool // the client was refused at the greeting

	filters     *milter.Session // nil = no milters
	filtering   bool            // they have heard of a transaction
	rcptRefusal string          // what access lists said of the RCPT that they hear of
	connections int             // of this client, when it came

	tx transaction
}

// transaction is what MAIL begins and RSET ends.
type transaction struct {
	active  bool
	env     mail.Envelope
	sent    *mail.Envelope // what Message.Start was given
	msg     Message
	command string         // MAIL, for a before-queue filter
	over    int            // recipients above the limit
	chunks  bdatState      // what BDAT has done
	dec     stream.Decoder // of BDAT
	binary  *binary.Writer // of BDAT with BODY=BINARYMIME
	bare    bool           // the command that began the data ended in a bare LF
}

// errClosing ends a session's wait when the service ends.
var errClosing = errors.New("service is ending")

func newSession(s *Server, conn net.Conn) *session {
	c := &session{s: s, raw: conn, conn: conn, where: "CONNECT", received: -1}
	remote := addrPort(conn.RemoteAddr())
	c.local = addrPort(conn.LocalAddr())
	c.remote(remote)
	c.offer = s.ehlo
	c.in.Init(conn, c.flush)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// remote begins the session of a client at an address.
func (c *session) remote(remote netip.AddrPort) {
	c.network, c.ownAddr = gate.Network(remote.Addr()), remote.Addr()
	c.st = policy.Session{Name: "unknown", Reverse: "unknown", NameState: policy.NameNone,
		RevState: policy.NameNone, Addr: remote.Addr(), Port: remote.Port(), LogPort: c.s.opts.LogPort, Server: c.local,
		Proto: "SMTP", Where: "CONNECT"}
	c.peer = mail.Peer{Name: "unknown", Proto: "SMTP", Addr: remote.Addr(), Port: remote.Port(), Service: c.s.opts.Service}
}

// upstream takes the client's address from a load balancer, when there is one;
// false ends the session. The connection of a balancer that speaks for itself
// keeps its own address.
func (c *session) upstream() bool {
	if c.s.opts.Upstream == "" {
		return true
	}
	h, err := haproxy.Read(c.raw, c.s.opts.UpstreamTime)
	if err != nil {
		c.s.deps.Log.SMTPDUpstream(err)
		c.reply("421 " + c.s.opts.Hostname + " Service unavailable - try again later")
		c.flush()
		return false
	}
	if !h.Local {
		c.local = h.Server
		c.remote(h.Client)
	}
	return true
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// serve is a session from greeting to end; n is how many sessions this client
// has.
func (c *session) serve(n int) {
	c.lookup()
	defer c.uncount()
	if c.s.opts.TLSWrapper {
		c.identify()
		if c.manyTLS() {
			c.logEnd()
			return
		}
		if !c.handshake() {
			c.s.deps.Log.SMTPDEnd("lost connection", c.where, c.st.Client(), -1)
			c.logEnd()
			return
		}
	}
	if !c.hangup && c.welcome(n) {
		c.loop()
	}
	c.flush()
	c.logEnd()
}

// welcome greets, or turns the client away; then it returns false.
func (c *session) welcome(n int) bool {
	o := &c.s.opts
	c.connections = n
	if c.crowd(n) {
		c.reply("421 4.7.0 " + o.Hostname + " Error: too many connections from " + c.st.Addr.Unmap().String())
		return false
	}
	if early := c.in.Early(); len(early) > 0 && !o.TLSWrapper && !c.pipelined("CONNECT") {
		return false
	}
	if v := c.connectVerdict(); v != nil {
		c.reply(v.Reply())
		c.denied = true // the client may say QUIT; every other command is refused
		return true
	}
	if refusal := c.openFilters(); refusal != "" {
		c.reply(refusal)
		return !c.hangup
	}
	c.reply("220 " + o.Banner)
	return true
}

// connectVerdict asks about the client itself, which needs its name: only when
// refusals are not delayed, since it makes the greeting wait.
func (c *session) connectVerdict() *policy.Verdict {
	if !c.s.deps.Policy.AsksAtConnect() {
		return nil
	}
	c.identify()
	return c.s.deps.Policy.Connect(c.ctx, &c.st)
}

// loop reads and runs commands until the session ends.
func (c *session) loop() {
	for !c.hangup {
		if c.errors >= c.limits().hard {
			c.identify()
			c.end421("too many errors", "4.7.0", "Error: too many errors")
			return
		}
		line, bare, err := c.command()
		if err != nil {
			c.broken(err)
			return
		}
		c.tx.bare = bare
		if bare && c.forbidsBare() {
			c.bareNewline()
			return
		}
		c.dispatch(line)
	}
}

// command waits for a command line.
func (c *session) command() (line []byte, bare bool, err error) {
	c.waiting.Store(!c.tx.active)
	defer c.waiting.Store(false)
	c.deadline(c.limits().timeout)
	if c.s.closing.Load() && !c.tx.active {
		return nil, false, errClosing
	}
	line, long, bare, err := c.in.Line(c.s.opts.LineLimit)
	if err == nil {
		c.identify()
	}
	if long {
		c.s.deps.Log.SMTPDLong(c.st.Client(), c.s.opts.LineLimit, line)
	}
	return line, bare, err
}

// deadline bounds the next reads together.
func (c *session) deadline(d time.Duration) { c.conn.SetReadDeadline(time.Now().Add(d)) }

// wake is called by Drain from another goroutine.
func (c *session) wake() {
	if c.waiting.Load() {
		c.raw.SetReadDeadline(time.Now())
	}
}

// broken ends a session whose connection gave an error.
func (c *session) broken(err error) {
	c.identify()
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case errors.Is(err, errClosing), timeout && c.s.closing.Load() && !c.tx.active:
		c.reply("421 4.3.2 " + c.s.opts.Hostname + " Service is shutting down")
	case timeout:
		c.end421("timeout", "4.4.2", "Error: timeout exceeded")
	default:
		c.s.deps.Log.SMTPDEnd("lost connection", c.where, c.st.Client(), c.received)
		c.out = c.out[:0]
	}
}

func (c *session) end421(why, dsn, text string) {
	c.s.deps.Log.SMTPDEnd(why, c.where, c.st.Client(), c.received)
	c.reply("421 " + dsn + " " + c.s.opts.Hostname + " " + text)
	c.hangup = true
}

// reply adds a line to what leaves next. A refusal above the soft error limit
// is kept back a while, which slows down those who guess.
func (c *session) reply(line string) {
	if c.errors >= c.s.opts.SoftErrors && c.s.opts.ErrorSleep > 0 && (line[0] == '4' || line[0] == '5') {
		c.flush()
		c.sleep(c.s.opts.ErrorSleep)
	}
	if line[0] >= '4' {
		line = c.s.deps.Policy.Final(c.ctx, &c.st, line)
	}
	// RFC 5321 section 3.8: 421 and 521 say that the connection ends.
	if strings.HasPrefix(line, "421") || strings.HasPrefix(line, "521") {
		c.hangup = true
	}
	c.out = append(append(c.out, line...), '\r', '\n')
	if len(c.out) > stream.SmallBuffer {
		c.flush()
	}
}

// fail replies and tells the dispatcher that the command failed.
func (c *session) fail(line string) bool {
	c.reply(line)
	return false
}

// refused replies with a verdict.
func (c *session) refused(v *policy.Verdict) bool { return c.fail(v.Reply()) }

func (c *session) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// flush sends the replies. The client has a session's timeout to take them.
func (c *session) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.conn.SetWriteDeadline(time.Now().Add(c.s.opts.Timeout))
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// dispatch finds and runs one command (RFC 5321 section 4.1).
func (c *session) dispatch(line []byte) {
	if !no(c.s.opts.NoUTF8) && !syntax.ValidUTF8(line) {
		c.wrong("500 5.5.2 Error: bad UTF-8 syntax")
		return
	}
	line, err := c.replace(line)
	if err != nil {
		c.s.deps.Log.SMTPDConfig("smtpd_command_filter", err)
		c.reply("421 4.3.0 " + c.s.opts.Hostname + " Server local data error")
		c.hangup = true
		return
	}
	cmd := syntax.Tokenize(line)
	if len(cmd.Args) == 0 {
		c.wrong("500 5.5.2 Error: bad syntax")
		return
	}
	i := findVerb(cmd.Args[0].Text)
	if i < 0 || verbs[i].name == "HELP" && !c.offer.Has("HELP") {
		c.unknown(line, &cmd)
		return
	}
	v := &verbs[i]
	c.where, c.st.Where = v.name, v.name
	ok := c.run(v, &cmd)
	c.count(i, v.log, ok)
}

// run checks what holds for all verbs, and runs one.
func (c *session) run(v *verb, cmd *syntax.Command) bool {
	// Who has not said EHLO has not been told that commands may come in batches.
	if (v.last || c.st.Proto != "ESMTP") && len(c.in.Unread()) > 0 && !c.pipelined(v.name) {
		return false
	}
	if c.denied && v.name != "QUIT" {
		return c.fail("503 5.7.0 Error: access denied for " + c.st.Client())
	}
	if c.s.opts.TLSLevel == "encrypt" && !c.st.TLS && !v.preTLS {
		return c.fail("530 5.7.0 Must issue a STARTTLS command first")
	}
	ok := c.filterOther(v.name) && v.run(c, cmd)
	if v.junk {
		if c.junk > c.limits().junk {
			c.errors++
		}
		c.junk++
	}
	return ok
}

func (c *session) count(i int, name string, ok bool) {
	n := &c.counts[i]
	n.Name = name
	n.All++
	if ok {
		n.Good++
	} else {
		c.errors++
	}
}

// wrong answers a line that is no command at all.
func (c *session) wrong(line string) {
	c.reply(line)
	c.errors++
}

// unknown answers a verb that is not known; a client of another protocol is
// sent away.
func (c *session) unknown(line []byte, cmd *syntax.Command) {
	name := cmd.Args[0].Text
	c.where, c.st.Where = "UNKNOWN", "UNKNOWN"
	ok := false
	switch {
	case foldIn(c.s.opts.NoopCommands, name):
		c.reply("250 2.0.0 Ok")
		ok = true
	case c.forbidden(name) || isHeader(name):
		c.s.deps.Log.SMTPDNonSMTP(c.st.Client(), line)
		c.reply("221 2.7.0 Error: I can break rules, too. Goodbye.")
		c.hangup = true
	default:
		if c.filterUnknown(name) {
			c.reply("500 5.5.2 Error: command not recognized")
		}
	}
	c.count(len(verbs), "unknown", ok)
}

// isHeader tells whether a word looks like a header field's name: the message
// itself runs as commands.
func isHeader(word string) bool { return len(word) > 1 && word[len(word)-1] == ':' }

func foldIn(list []string, word string) bool {
	for _, w := range list {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// reset forgets the transaction.
func (c *session) reset() {
	if c.tx.msg != nil {
		c.tx.msg.Abort()
	}
	c.tx = transaction{}
	c.fwd.Origin = mail.Origin{} // it was said of that one message
	c.st.ResetMail()
	c.received = -1
	c.abortFilters()
}

// logEnd writes the last line of a session.
func (c *session) logEnd() {
	c.identify()
	c.s.deps.Log.SMTPDDisconnect(c.st.Client(), c.counts[:])
}

// recover ends a session that found a fault in this program: the client is
// told to come again, the message is not lost because it was never accepted.
func (c *session) recover() {
	fault := recover()
	if fault == nil {
		return
	}
	c.s.deps.Log.SMTPDPanic(c.st.Client(), fault, debug.Stack())
	c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	io.WriteString(c.conn, "421 4.3.0 "+c.s.opts.Hostname+" Error: internal error\r\n")
}

// end closes everything; it runs after every session.
func (c *session) end() {
	defer c.raw.Close()
	c.cancel()
	c.closeFilters()
	if c.tx.msg != nil {
		c.tx.msg.Abort()
	}
	c.in.Release()
	if c.conn != c.raw {
		c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		c.conn.Close() // says goodbye in TLS
	}
}

// busy turns a client away when the service has all the sessions it may have.
func (c *session) busy() {
	c.reply("421 4.3.2 All server ports are busy")
	c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	c.conn.Write(c.out)
}

// unqueued replies to a message that could not be queued. The cause is told to
// the log by whoever wrote the message: it hands over nothing but the status;
// an error of another kind has not been told yet.
func (c *session) unqueued(err error) bool {
	if _, ok := c.tx.msg.(*through); ok {
		return c.unfiltered(err)
	}
	if _, told := err.(*mail.Status); !told {
		c.s.deps.Log.SMTPDQueue(c.st.QueueID, err)
	}
	return c.fail(statusReply(err))
}

// statusReply writes an error of the queue as a reply; where nobody gave it a
// code it is a temporary fault of ours.
func statusReply(err error) string {
	s, ok := errors.AsType[*mail.Status](err)
	if !ok {
		return "451 4.3.0 Error: queue file write error"
	}
	if s.Remote != "" {
		return s.Remote // a milter's reply, as it is
	}
	v := policy.Verdict{Code: s.Reply, DSN: s.Code, Text: s.Text}
	if v.Code < 400 {
		v.Code = 451
	}
	return v.Reply()
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
