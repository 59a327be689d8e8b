package login

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/sys/maillog"
)

// maxBad is how many commands may be wrong before the login, as Dovecot's
// CLIENT_MAX_BAD_COMMANDS.
const maxBad = 3

// client is one connection before its login.
type client struct {
	s        *Server
	raw      net.Conn // the socket
	conn     net.Conn // raw, or TLS over it
	in       *reader
	out      []byte // answers of one turn, written at once
	proto    Proto
	ctx      context.Context
	cancel   context.CancelFunc
	start    time.Time
	local    netip.AddrPort
	remote   netip.AddrPort
	session  string
	tls      bool
	secured  bool // TLS, the same machine, or a trusted network
	bad      int
	attempts int
	user     string // of the last try, for the log
	method   string
	badMech  bool // the last try named a mechanism that we do not have
	plain    bool // passwords may be sent in the clear
	needTLS  bool // no authentication without TLS
	gone     bool // handed over or ended: nothing more is logged or closed
}

func (s *Server) newClient(c net.Conn, p Proto, local, remote netip.AddrPort) *client {
	cl := &client{s: s, raw: c, conn: c, proto: p, start: time.Now(), local: local, remote: remote}
	cl.in = newReader(c)
	cl.session = sessionID(cl.start, cl.remote)
	cl.secured = cl.local.IsValid() && cl.local.Addr() == cl.remote.Addr() || s.trusted(cl.remote.Addr())
	cl.plain, cl.needTLS = s.o.demands(local.Addr(), remote.Addr())
	cl.ctx, cl.cancel = context.WithCancel(context.Background())
	return cl
}

// free gives the buffers back.
func (c *client) free() {
	c.cancel()
	c.in.free()
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.o.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// sessionID makes Dovecot's form: microseconds, port and address as base64.
func sessionID(t time.Time, remote netip.AddrPort) string {
	b := binary.LittleEndian.AppendUint64(nil, uint64(t.UnixMicro()))[:6]
	b = binary.LittleEndian.AppendUint16(b, remote.Port())
	b = append(b, remote.Addr().AsSlice()...)
	return base64.RawStdEncoding.EncodeToString(b)
}

// end is how a conversation ends: the reason for the log, and what to tell the
// client before.
type end struct {
	log string
	say string // without "* BYE " or "-ERR "; empty = nothing
}

func (e *end) Error() string { return e.log }

var (
	errLogout = &end{log: "Aborted login by logging out"}
	errIdle   = &end{"Inactivity", "Disconnected for inactivity."}
	errStop   = &end{"Shutting down", "Server shutting down."}
	errPushed = &end{"Connection queue full", "Connection queue full"}
	errFull   = &end{"Input buffer full", "Input buffer full, aborting"}
)

// dialogue is one of the two protocols.
type dialogue interface {
	greet()
	// step reads and answers one command; the error ends the conversation.
	step() error
	bye(text string)
}

func (c *client) run(immediate bool) {
	c.raw.SetDeadline(c.start.Add(c.s.o.Timeout))
	if c.s.isPushed(c.raw) {
		c.raw.SetReadDeadline(time.Now()) // it was pushed before its first line
	}
	var d dialogue = &imap{c}
	if c.proto == POP3 {
		d = &pop3{c}
	}
	if immediate {
		if err := c.startTLS(); err != nil {
			c.handshakeFailed(err)
			return
		}
	}
	d.greet()
	err := c.flush()
	for err == nil {
		if err = d.step(); err == nil {
			err = c.flush()
		}
	}
	if !c.gone {
		c.quit(d, err)
	}
}

// quit tells client and log why the conversation ends.
func (c *client) quit(d dialogue, err error) {
	var e *end
	var timeout net.Error
	switch {
	case errors.As(err, &e):
	case c.s.stopping():
		e = errStop
	case c.s.isPushed(c.raw):
		e = errPushed
	case errors.As(err, &timeout) && timeout.Timeout():
		e = errIdle
	default:
		e = &end{log: "Connection closed"}
	}
	if e.say != "" {
		d.bye(e.say)
	}
	c.flush()
	c.s.o.Log.LoginDisconnected(c.who(), e.log, c.why())
	c.conn.Close()
}

// why tells what the client tried, in the words that fail2ban looks for.
func (c *client) why() string {
	secs := int(time.Since(c.start) / time.Second)
	switch {
	case c.attempts == 0:
		return fmt.Sprintf("(no auth attempts in %d secs)", secs)
	case c.badMech:
		return "(tried to use unsupported auth mechanism)"
	}
	return fmt.Sprintf("(auth failed, %d attempts in %d secs)", c.attempts, secs)
}

func (c *client) who() maillog.Client {
	m := maillog.Client{Service: string(c.proto), User: c.user, Method: c.method,
		Remote: addrText(c.remote), Local: addrText(c.local), Session: c.session, Write: c.logFormat()}
	switch {
	case c.tls:
		m.TLS = "TLS"
	case c.secured:
		m.TLS = "secured"
	}
	return m
}

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().String()
}

func (c *client) put(format string, args ...any) { c.out = fmt.Appendf(c.out, format+"\r\n", args...) }

// flush writes what was put, in one write.
func (c *client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// startTLS makes the connection TLS. Bytes that the client sent before the
// handshake ended its conversation already: see upgrade.
func (c *client) startTLS() error {
	t := tls.Server(c.raw, c.s.o.TLS)
	c.raw.SetWriteDeadline(time.Now().Add(c.s.o.Timeout))
	if err := t.HandshakeContext(c.ctx); err != nil {
		return err
	}
	c.conn, c.tls, c.secured = t, true, true
	c.in.reset(t)
	// What was said in the clear counts for nothing (RFC 3501 section 6.2.1).
	c.user, c.method = "", ""
	return nil
}

// upgrade is STARTTLS and STLS: ok is the answer. A command that the client, or somebody on
// the line, sent behind it in the clear would otherwise be run as if it had
// come through TLS (CVE-2011-0411, CVE-2021-33515): the connection ends.
func (c *client) upgrade(ok string) error {
	if c.in.buffered() > 0 {
		return &end{log: "Plaintext after STARTTLS", say: "No commands may follow STARTTLS."}
	}
	c.put("%s", ok)
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.startTLS(); err != nil {
		c.handshakeFailed(err)
		return err
	}
	return nil
}

func (c *client) handshakeFailed(err error) {
	w := c.who()
	w.TLS = "TLS handshaking: SSL_accept() failed: " + err.Error()
	reason := "Connection closed: SSL_accept() failed: " + err.Error()
	if errors.Is(err, io.EOF) {
		w.TLS, reason = "TLS handshaking", "Connection closed"
	}
	c.s.o.Log.LoginDisconnected(w, reason, c.why())
	c.gone = true
	c.raw.Close()
}

// canTLS tells whether STARTTLS is offered now.
func (c *client) canTLS() bool { return c.s.o.TLS != nil && !c.tls }

// plaintextOK tells whether a password may be sent as it is.
func (c *client) plaintextOK() bool {
	return c.secured || c.plain && !c.needTLS
}

// mechs returns the mechanisms to offer now.
func (c *client) mechs() []string {
	var names []string
	for _, m := range c.s.auth.Mechs() {
		if m.Prop&wire.Private == 0 && (m.Prop&wire.Plaintext == 0 || c.plaintextOK()) {
			names = append(names, m.Name)
		}
	}
	return names
}

// mech finds a mechanism by the name that a client wrote.
func (c *client) mech(name string) (wire.Mech, bool) {
	name = strings.ToUpper(name)
	for _, m := range c.s.auth.Mechs() {
		if m.Name == name {
			return m, true
		}
	}
	return wire.Mech{}, false
}

// handover gives the client away after a success. On nil the connection is no
// longer ours; an error has been logged, and the client is to be told.
func (c *client) handover(x *wire.Exchange, user, tag string) error {
	c.user = user
	h := Handover{Ticket: x.Ticket(), Proto: c.proto, User: user, Method: c.method, Tag: tag, TLS: c.tls,
		Session: c.session, Remote: c.remote, Local: c.local, Pending: c.in.rest()}
	ctx, cancel := context.WithTimeout(c.ctx, handoverTimeout)
	defer cancel()
	mpid, err := c.pass(ctx, h)
	if err != nil {
		if !errors.Is(err, ErrTooMany) {
			c.s.o.Log.LoginError(c.who(), "Internal login failure: "+err.Error())
		}
		return err
	}
	c.gone = true
	c.s.o.Log.Login(c.who(), mpid)
	return nil
}

// pass hands over the socket, or for TLS one end of a pair whose other end is
// proxied.
func (c *client) pass(ctx context.Context, h Handover) (int, error) {
	if c.tls {
		return c.passTLS(ctx, h)
	}
	t, ok := c.raw.(interface{ File() (*os.File, error) })
	if !ok {
		return 0, errors.New("connection has no descriptor")
	}
	f, err := t.File()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	c.raw.SetDeadline(time.Time{})
	mpid, err := c.s.parent.Handover(ctx, h, f)
	if err == nil {
		c.raw.Close()
	}
	return mpid, err
}
