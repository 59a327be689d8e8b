package smtpd

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"packetboat/internal/auth/wire"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd/mechs"
	"packetboat/internal/receive/smtpd/stream"
	"packetboat/internal/receive/smtpd/syntax"
)

// canAuth tells whether AUTH is offered now.
func (c *session) canAuth() bool {
	return c.s.opts.SASL && c.s.deps.Auth != nil && c.offer.Has("AUTH") && (c.st.TLS || !c.s.opts.TLSAuthOnly)
}

// mechs returns the mechanisms that may be used now: those of the server,
// less what smtpd_sasl_security_options and the filter leave out.
func (c *session) mechs() []string {
	rules := c.s.opts.SASLOptions
	if c.st.TLS && len(c.s.opts.SASLTLSOpts) > 0 {
		rules = c.s.opts.SASLTLSOpts
	}
	var out []string
	for _, m := range c.s.deps.Auth.Mechs() {
		if m.Prop&wire.Private == 0 && mechs.Allowed(m.Prop, rules) && mechs.Passes(m.Name, c.s.opts.SASLMechs) {
			out = append(out, m.Name)
		}
	}
	return out
}

// auth is RFC 4954.
func (c *session) auth(cmd *syntax.Command) bool {
	switch {
	case c.s.opts.HeloRequired && c.st.Helo == "":
		return c.fail("503 5.5.1 Error: send HELO/EHLO first")
	case !c.canAuth():
		return c.fail("503 5.5.1 Error: authentication not enabled")
	case c.tx.active:
		return c.fail("503 5.5.1 Error: MAIL transaction in progress")
	case c.st.User != "":
		return c.fail("503 5.5.1 Error: already authenticated")
	case len(cmd.Args) < 2 || len(cmd.Args) > 3:
		return c.fail("501 5.5.4 Syntax: AUTH mechanism")
	}
	if c.tooOften(gate.Auth, c.s.opts.AuthRate, "AUTH command rate") {
		return c.fail("450 4.7.1 Error: too many AUTH commands from " + c.st.Addr.Unmap().String())
	}
	mech := strings.ToUpper(cmd.Args[1].Text)
	mechs := c.mechs()
	if len(mechs) == 0 {
		return c.fail("454 4.7.0 Temporary authentication failure: Connection lost to authentication server")
	}
	if !slices.Contains(mechs, mech) {
		return c.denyAuth(mech, "Invalid authentication mechanism", "")
	}
	req := wire.Request{Service: c.s.opts.SASLService, Mech: mech, Local: c.local,
		Remote: netip.AddrPortFrom(c.peer.Addr, c.peer.Port), Secured: c.st.TLS}
	if len(cmd.Args) == 3 {
		initial, ok := decode64(cmd.Args[2].Text)
		if !ok {
			return c.denyAuth(mech, "Invalid base64 data in initial response", "")
		}
		req.Initial = initial
	}
	return c.authenticate(req)
}

// maxAuthFails is how often AUTH may be refused in one session.
const maxAuthFails = 10

// authException tells that AUTH is kept secret from clients that cannot do it
// right (smtpd_sasl_exceptions_networks).
func (c *session) authException() bool {
	ok, err := c.s.noAuth.Match(c.ctx, c.st.Name, c.st.Addr)
	return ok || err != nil
}

// decode64 reads base64; "=" is an empty initial response (RFC 4954 section 4).
func decode64(s string) ([]byte, bool) {
	if s == "=" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil
}

// authenticate holds the dialogue between client and authentication server.
func (c *session) authenticate(req wire.Request) bool {
	c.identify()
	x, a, err := c.s.deps.Auth.Start(c.ctx, req)
	for err == nil && a.State == wire.Continue {
		response, verdict := c.challenge(req.Mech, a.Challenge)
		if verdict != authGo {
			x.Cancel()
			return false
		}
		a, err = x.Next(c.ctx, response)
	}
	switch {
	case err != nil:
		c.s.deps.Log.SMTPDNoAuth(c.st.Client(), err)
		return c.fail("454 4.7.0 Temporary authentication failure: Connection lost to authentication server")
	case a.State == wire.OK:
		return c.accepted(req.Mech, a.User)
	case a.Temporary:
		c.s.deps.Log.SMTPDAuthFailed(c.st.Client(), req.Mech, "temporary failure", a.User)
		return c.fail("454 4.7.0 Temporary authentication failure: " + reason(a.Reason))
	}
	return c.denyAuth(req.Mech, reason(a.Reason), a.User)
}

func reason(r string) string {
	if r == "" {
		return "(reason unavailable)"
	}
	return printable(r)
}

// authStep says what a client answered to a challenge.
type authStep uint8

const (
	authGo   authStep = iota // a response
	authStop                 // it was told already why not
)

var errLongAuth = errors.New("AUTH response too long")

// challenge sends a challenge and waits for the response.
func (c *session) challenge(mech string, challenge []byte) ([]byte, authStep) {
	c.reply("334 " + base64.StdEncoding.EncodeToString(challenge))
	c.deadline(c.s.opts.Timeout)
	line, err := c.response()
	switch {
	case errors.Is(err, errLongAuth):
		c.reply("500 5.5.6 SASL response limit exceeded")
		return nil, authStop
	case err != nil:
		c.broken(err)
		c.hangup = true
		return nil, authStop
	case line == "*":
		c.s.deps.Log.SMTPDAuthAborted(c.st.Client(), mech)
		c.reply("501 5.7.0 Authentication aborted")
		return nil, authStop
	}
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil {
		c.denyAuth(mech, "Invalid base64 data in continued response", "")
		return nil, authStop
	}
	return b, authGo
}

// response reads one line of the dialogue, which may be longer than a command.
func (c *session) response() (string, error) {
	c.in.Grow() // a command's buffer could not hold it
	line, long, _, err := c.in.LineIn(min(c.s.opts.SASLLimit, stream.LargeBuffer/2))
	if err == nil && long {
		err = errLongAuth
	}
	return string(line), err
}

// accepted ends a successful AUTH.
func (c *session) accepted(mech, user string) bool {
	c.st.User, c.st.Mech = printable(user), mech
	c.peer.User, c.peer.SASL = c.st.User, mech
	c.s.deps.Bans.Passed(c.st.Addr, user)
	c.fails = 0
	c.reply("235 2.7.0 Authentication successful")
	return true
}

// denyAuth logs and answers a refused AUTH; fail2ban reads the line.
func (c *session) denyAuth(mech, why, user string) bool {
	c.identify()
	c.s.deps.Log.SMTPDAuthFailed(c.st.Client(), printable(mech), why, user)
	if d := c.s.deps.Bans.Failed(c.st.Addr, user); d > 0 && !c.spared() {
		c.flush()
		c.sleep(d)
	}
	if c.fails++; c.fails >= maxAuthFails {
		c.errors += c.limits().hard // no client needs so many tries: RFC 4954 section 4 lets us close
	}
	return c.fail("535 5.7.8 Error: authentication failed: " + why)
}
