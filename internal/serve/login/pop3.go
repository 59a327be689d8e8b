package login

import (
	"encoding/base64"
	"errors"
	"strings"

	"packetboat/internal/auth/wire"
)

// pop3 is POP3 (RFC 1939) before the login; texts are Dovecot 2.3's.
type pop3 struct{ *client }

func (c *pop3) greet() { c.put("+OK %s", c.s.o.Greeting) }

func (c *pop3) bye(text string) { c.put("-ERR %s", text) }

func (c *pop3) step() error {
	b, err := c.in.line()
	if err != nil {
		return err
	}
	name, arg, _ := strings.Cut(string(b), " ")
	switch strings.ToUpper(name) {
	case "CAPA":
		c.capa()
	case "USER":
		return c.userCommand(arg)
	case "PASS":
		return c.pass(arg)
	case "AUTH":
		return c.auth(arg)
	case "STLS":
		if !c.canTLS() {
			c.put("-ERR TLS support isn't enabled.")
			return nil
		}
		return c.upgrade("+OK Begin TLS negotiation now.")
	case "QUIT":
		c.put("+OK Logging out")
		return errLogout
	default:
		return c.unknown()
	}
	return nil
}

func (c *pop3) unknown() error {
	c.put("-ERR Unknown command.")
	if c.bad++; c.bad >= maxBad {
		return &end{"Too many bad commands", "Too many invalid bad commands."}
	}
	return nil
}

// capa is RFC 2449.
func (c *pop3) capa() {
	c.put("+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE")
	if c.canTLS() {
		c.put("STLS")
	}
	if c.plaintextOK() {
		c.put("USER")
	}
	c.put("%s", strings.TrimSuffix("SASL "+strings.Join(c.mechs(), " "), " "))
	c.put(".")
}

// disallowed refuses a password in the clear.
func (c *pop3) disallowed(user string) error {
	c.refused("Login failed", "Plaintext authentication disabled")
	c.attempts++
	if user != "" {
		c.user = user
	}
	c.put("-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.")
	return nil
}

func (c *pop3) userCommand(name string) error {
	if !c.plaintextOK() {
		return c.disallowed(name)
	}
	c.user = name
	c.put("+OK")
	return nil
}

// pass takes the rest of the line as it is: a password may hold spaces.
func (c *pop3) pass(password string) error {
	switch {
	case !c.plaintextOK():
		return c.disallowed("")
	case c.user == "":
		c.put("-ERR No username given.")
		return nil
	}
	v, err := c.password(c.user, password)
	if err != nil {
		return err
	}
	return c.finish(v)
}

// auth is RFC 5034. Without an argument it lists the mechanisms, which old
// clients ask for.
func (c *pop3) auth(arg string) error {
	if arg == "" {
		c.put("+OK")
		for _, m := range c.mechs() {
			c.put("%s", m)
		}
		c.put(".")
		return nil
	}
	mech, word, hasInitial := strings.Cut(arg, " ")
	var initial []byte
	if hasInitial {
		var err error
		if initial, err = decode(word); err != nil {
			c.attempts++
			c.put("-ERR Invalid base64 data in initial response")
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
	return c.finish(v)
}

func (c *pop3) finish(v verdict) error {
	switch {
	case v.abort:
		c.put("-ERR Authentication aborted by client.")
	case v.base64:
		c.put("-ERR [AUTH] Invalid base64 in response")
	case v.local == plaintextDisabled, v.local == tlsRequired:
		c.put("-ERR %s", v.local)
	case v.local != "":
		c.put("-ERR [AUTH] %s", v.local)
	case v.err != nil:
		c.s.o.Log.LoginError(c.who(), "auth: "+v.err.Error())
		c.put("-ERR [SYS/TEMP] %s", tempFail(c.start))
	case v.answer.State == wire.OK:
		return c.success(v)
	case v.answer.Temporary:
		c.put("-ERR [SYS/TEMP] %s", tempFail(c.start))
	case v.answer.Reason != "":
		c.put("-ERR [AUTH] %s", oneLine(v.answer.Reason))
	default:
		c.put("-ERR [AUTH] Authentication failed.")
	}
	return nil
}

// success hands the client over; the mail process says "+OK Logged in."
func (c *pop3) success(v verdict) error {
	err := c.handover(v.x, v.answer.User, "")
	switch {
	case err == nil:
		return errLogout // gone is set: only ends the loop
	case errors.Is(err, ErrTooMany):
		c.put("-ERR [IN-USE] Maximum number of connections from user+IP exceeded")
	default:
		c.put("-ERR [SYS/TEMP] Internal error occurred. Refer to server log for more information.")
	}
	return &end{log: "Internal login failure"}
}
