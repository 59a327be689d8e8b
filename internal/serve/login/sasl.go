package login

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"

	"packetboat/internal/auth/wire"
)

// verdict is how one try ended; its fields choose the protocol's words.
type verdict struct {
	x      *wire.Exchange
	answer wire.Answer
	err    error  // auth could not be asked
	local  string // refused by this process, with this text
	abort  bool   // the client sent "*"
	base64 bool   // the client's response was no base64
}

// try authenticates with a mechanism; initial is the initial response (nil =
// none). Challenges go through ask, which returns the client's decoded response.
func (c *client) try(name string, initial []byte, ask func(challenge []byte) ([]byte, error)) (verdict, error) {
	c.attempts++
	m, ok := c.mech(name)
	if len(c.s.auth.Mechs()) == 0 {
		return verdict{err: errNoAuth}, nil
	}
	c.method, c.badMech = strings.ToUpper(clean(name)), !ok
	if !ok {
		c.refused("Authenticate "+c.method+" failed", "Unsupported authentication mechanism.")
		return verdict{local: "Unsupported authentication mechanism."}, nil
	}
	if c.needTLS && !c.secured {
		c.refused("Login failed", "SSL required for authentication")
		return verdict{local: tlsRequired}, nil
	}
	if m.Prop&wire.Plaintext != 0 && !c.plaintextOK() {
		c.refused("Authenticate "+c.method+" failed", "Plaintext authentication disabled.")
		return verdict{local: plaintextDisabled}, nil
	}
	x, a, err := c.s.auth.Start(c.ctx, c.request(m.Name, initial))
	for err == nil && a.State == wire.Continue {
		response, rerr := ask(a.Challenge)
		if rerr != nil {
			x.Cancel()
			return c.spoiled(rerr)
		}
		a, err = x.Next(c.ctx, response)
	}
	if a.User != "" {
		c.user = a.User
	}
	return verdict{x: x, answer: a, err: err}, nil
}

// The texts of Dovecot for refusals that want TLS.
const (
	plaintextDisabled = "Plaintext authentication disabled."
	tlsRequired       = "Authentication not allowed until SSL/TLS is enabled."
)

var (
	errAbort  = errors.New("aborted by client")
	errNoAuth = errors.New("the auth process does not answer")
	errBase64 = errors.New("invalid base64 in response")
)

// spoiled sorts a response that never came: the client's doing, or the line's.
func (c *client) spoiled(err error) (verdict, error) {
	switch {
	case errors.Is(err, errAbort):
		return verdict{abort: true}, nil
	case errors.Is(err, errBase64):
		c.refused("Authenticate "+c.method+" failed", "Invalid base64 in response")
		return verdict{base64: true}, nil
	}
	return verdict{}, err
}

// refused tells the log of a try that auth never saw.
func (c *client) refused(what, reason string) {
	if c.s.o.Verbose {
		c.s.o.Log.LoginFailed(c.who(), what, reason)
	}
}

// password authenticates with user and password, as IMAP's LOGIN and POP3's
// PASS do, through PLAIN.
func (c *client) password(user, password string) (verdict, error) {
	c.user = user
	return c.try("PLAIN", []byte("\x00"+user+"\x00"+password), func([]byte) ([]byte, error) { return nil, errAbort })
}

func (c *client) request(mech string, initial []byte) wire.Request {
	return wire.Request{Service: string(c.proto), Mech: mech, Local: c.local, Remote: c.remote,
		Secured: c.secured, Initial: initial, Session: c.session, Login: true}
}

// response reads one line of SASL data.
func (c *client) response() ([]byte, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	line, err := c.in.line()
	if err != nil {
		return nil, err
	}
	if string(line) == "*" {
		return nil, errAbort
	}
	return decode(string(line))
}

// decode reads base64; an initial response of "=" is an empty one (RFC 4959).
func decode(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.AppendDecode([]byte{}, []byte(s))
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// clean makes a mechanism's name fit for the log.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), 32)]
}

// hostname is for the text of temporary failures, by which an administrator
// finds the log line.
func hostname() string { h, _ := os.Hostname(); return h }
