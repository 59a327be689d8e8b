package login

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"packetboat/internal/auth/wire"
)

// imap is IMAP before the login; texts are Dovecot 2.3's.
type imap struct{ *client }

// capability is what can be used before the login.
func (c *imap) capability() string {
	s := "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+"
	if c.canTLS() {
		s += " STARTTLS"
	}
	if !c.plaintextOK() {
		s += " LOGINDISABLED"
	}
	for _, m := range c.mechs() {
		s += " AUTH=" + m
	}
	return s
}

func (c *imap) greet() { c.put("* OK [CAPABILITY %s] %s", c.capability(), c.s.o.Greeting) }

func (c *imap) bye(text string) { c.put("* BYE %s", text) }

// step runs one command.
func (c *imap) step() error {
	line, err := c.in.line()
	if err != nil {
		return err
	}
	p := parser{c: c, rest: string(line), owed: announces(string(line))}
	err = c.command(&p)
	if err == nil && p.owed {
		// Its octets must not run as commands.
		return &end{"Unread literal", "Literal was not expected"}
	}
	return err
}

func (c *imap) command(p *parser) error {
	tag, name := p.head()
	if tag == "" || name == "" {
		return c.unknown(tag)
	}
	switch strings.ToUpper(name) {
	case "CAPABILITY":
		c.put("* CAPABILITY %s", c.capability())
		c.put("%s OK Pre-login capabilities listed, post-login capabilities have more.", tag)
	case "NOOP":
		c.put("%s OK NOOP completed.", tag)
	case "ID":
		return c.id(tag, p)
	case "LOGOUT":
		c.put("* BYE Logging out")
		c.put("%s OK Logout completed.", tag)
		return errLogout
	case "STARTTLS":
		return c.starttls(tag)
	case "LOGIN":
		return c.login(tag, p)
	case "AUTHENTICATE":
		return c.authenticate(tag, p)
	default:
		return c.unknown(tag)
	}
	return nil
}

// unknown counts a wrong command; the third ends the conversation.
func (c *imap) unknown(tag string) error {
	if c.bad++; c.bad >= maxBad {
		return &end{"Too many invalid commands", "Too many invalid IMAP commands."}
	}
	if tag == "" {
		tag = "*"
	}
	c.put("%s BAD Error in IMAP command received by server.", tag)
	return nil
}

func (c *imap) starttls(tag string) error {
	if !c.canTLS() {
		c.put("%s BAD TLS is not available now.", tag)
		return nil
	}
	return c.upgrade(tag + " OK Begin TLS negotiation now.")
}

// id is RFC 2971: what the client says of itself is read and not believed.
func (c *imap) id(tag string, p *parser) error {
	if err := p.skip(); err != nil {
		return c.broken(tag, err)
	}
	c.put(`* ID ("name" "Packetboat")`)
	c.put("%s OK ID completed.", tag)
	return nil
}

// broken answers arguments that could not be read; an error of the line ends all.
func (c *imap) broken(tag string, err error) error {
	if errors.Is(err, errSyntax) {
		return c.unknown(tag)
	}
	return err
}

func (c *imap) login(tag string, p *parser) error {
	user, err := p.astring()
	if err != nil {
		return c.broken(tag, err)
	}
	password, err := p.astring()
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return c.broken(tag, err)
	}
	if !c.plaintextOK() {
		return c.disallowed(tag, user)
	}
	v, err := c.password(user, password)
	if err != nil {
		return err
	}
	return c.finish(tag, v)
}

// disallowed refuses a password that has crossed the network in the clear.
func (c *imap) disallowed(tag, user string) error {
	c.refused("Login failed", "Plaintext authentication disabled")
	c.attempts++
	c.user = user
	c.put("* BAD [ALERT] Plaintext authentication not allowed without SSL/TLS, but your client did it anyway. If anyone was listening, the password was exposed.")
	c.put("%s NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.", tag)
	return nil
}

func (c *imap) authenticate(tag string, p *parser) error {
	mech, err := p.astring()
	if err != nil {
		return c.broken(tag, err)
	}
	var initial []byte
	if p.rest != "" {
		word, err := p.astring() // SASL-IR, RFC 4959
		if err == nil {
			err = p.end()
		}
		if err != nil {
			return c.broken(tag, err)
		}
		if initial, err = decode(word); err != nil {
			c.attempts++
			c.put("%s BAD Invalid base64 data in initial response", tag)
			return nil
		}
	}
	v, err := c.try(mech, initial, func(challenge []byte) ([]byte, error) {
		c.put("+ %s", base64.StdEncoding.EncodeToString(challenge))
		return c.response()
	})
	if err != nil {
		return err
	}
	return c.finish(tag, v)
}

// finish answers a try.
func (c *imap) finish(tag string, v verdict) error {
	switch {
	case v.abort:
		c.put("%s BAD Authentication aborted by client.", tag)
	case v.base64:
		c.put("%s NO [ALERT] Invalid base64 in response", tag)
	case v.local == plaintextDisabled, v.local == tlsRequired:
		c.put("%s NO [PRIVACYREQUIRED] %s", tag, v.local)
	case v.local != "":
		c.put("%s NO [ALERT] %s", tag, v.local)
	case v.err != nil:
		c.s.o.Log.LoginError(c.who(), "auth: "+v.err.Error())
		c.put("%s NO [UNAVAILABLE] %s", tag, tempFail(time.Now()))
	case v.answer.State == wire.OK:
		return c.success(tag, v)
	default:
		c.put("%s NO %s", tag, imapRefusal(v.answer))
	}
	return nil
}

// success hands the client over; the mail process says the tagged OK.
func (c *imap) success(tag string, v verdict) error {
	err := c.handover(v.x, v.answer.User, tag)
	switch {
	case err == nil:
		return errLogout // gone is set: only ends the loop
	case errors.Is(err, ErrTooMany):
		c.put("%s NO [LIMIT] Maximum number of connections from user+IP exceeded", tag)
	default:
		c.put("%s NO [UNAVAILABLE] Internal error occurred. Refer to server log for more information.", tag)
	}
	return &end{"Internal login failure", "Disconnected."}
}

// tempFail is the text of a failure that is ours.
func tempFail(now time.Time) string {
	return "Temporary authentication failure. [" + hostname() + ":" + now.Format("2006-01-02 15:04:05") + "]"
}

// imapRefusal chooses RFC 5530's response code.
func imapRefusal(a wire.Answer) string {
	switch {
	case a.Temporary:
		return "[UNAVAILABLE] " + tempFail(time.Now())
	case a.Code == wire.CodeAuthzFail:
		return "[AUTHORIZATIONFAILED] Authorization failed"
	case a.Code == wire.CodePassExpired:
		return "[EXPIRED] Password expired."
	case a.Code == wire.CodeDisabled:
		return "[AUTHENTICATIONFAILED] Account is disabled."
	case a.Reason != "":
		return "[ALERT] " + oneLine(a.Reason)
	}
	return "[AUTHENTICATIONFAILED] Authentication failed."
}

// oneLine keeps a text of the auth server's inside its line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
