// Package mechs has the SASL mechanisms that a client of ours logs in with, and what
// smtp_sasl_security_options wants of them. send/remote chooses one of All and has it
// answer the host.
package mechs

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// maxIterations are the rounds of SCRAM that a host may ask for: less than a second's
// work.
const maxIterations = 1_000_000

// The ways a login fails on our side, in the words of sasl_errstring(3).
var (
	ErrNone     = errors.New("no mechanism available")
	ErrProtocol = errors.New("bad protocol / cancel")
	ErrStep     = errors.New("generic failure")
	ErrMutual   = errors.New("server failed mutual authentication step")
)

// Property is a set of what a mechanism can keep to; smtp_sasl_security_options
// asks for them.
type Property uint8

const (
	noPlaintext Property = 1 << iota
	noActive
	noDictionary
	noAnonymous
	forwardSecrecy
	mutualAuth
)

// properties are the words of smtp_sasl_security_options.
func properties() map[string]Property {
	return map[string]Property{"noplaintext": noPlaintext, "noactive": noActive, "nodictionary": noDictionary,
		"noanonymous": noAnonymous, "forward_secrecy": forwardSecrecy, "mutual_auth": mutualAuth}
}

// CheckSecurity tells whether every word of a list of smtp_sasl_security_options
// is known. cmd/mtad calls it at the start: Postfix dies of it at the first mail.
func CheckSecurity(words []string) error {
	for _, w := range words {
		if _, ok := properties()[strings.ToLower(w)]; !ok {
			return fmt.Errorf("unknown SASL security options value %q in %q", w, strings.Join(words, ", "))
		}
	}
	return nil
}

// Mechanism is one way to log in.
type Mechanism struct {
	Name string
	Has  Property
	Make func(user, secret string) sasl.Client
}

// All are those that we speak, the best first.
func All() []Mechanism {
	const strong = noPlaintext | noActive | noAnonymous | mutualAuth
	return []Mechanism{
		{"SCRAM-SHA-512", strong, newSCRAM("SCRAM-SHA-512", scram.SHA512)},
		{"SCRAM-SHA-256", strong, newSCRAM("SCRAM-SHA-256", scram.SHA256)},
		{"SCRAM-SHA-1", strong, newSCRAM("SCRAM-SHA-1", scram.SHA1)},
		{"CRAM-MD5", noPlaintext | noAnonymous, func(u, p string) sasl.Client { return &cramMD5{user: u, secret: p} }},
		{"PLAIN", noAnonymous, func(u, p string) sasl.Client { return plain{sasl.NewPlainClient("", u, p)} }},
		{"LOGIN", noAnonymous, func(u, p string) sasl.Client { return &login{answers: []string{u, p}} }},
	}
}

// plain is PLAIN (RFC 4616): everything is said at once.
type plain struct{ sasl.Client }

// Next refuses the second question, of which there is none in PLAIN.
func (plain) Next([]byte) ([]byte, error) { return nil, ErrStep }

// login is LOGIN: the host asks for the name, then for the password. Hosts word
// the questions as they like, so their order counts. There is no first answer:
// some hosts do not take one.
type login struct{ answers []string }

// Start names the mechanism.
func (l *login) Start() (string, []byte, error) { return "LOGIN", nil, nil }

// Next gives the next answer.
func (l *login) Next([]byte) ([]byte, error) {
	if len(l.answers) == 0 {
		return nil, ErrStep
	}
	a := l.answers[0]
	l.answers = l.answers[1:]
	return []byte(a), nil
}

// cramMD5 is CRAM-MD5 (RFC 2195).
type cramMD5 struct {
	user, secret string
	done         bool
}

// Start names the mechanism.
func (c *cramMD5) Start() (string, []byte, error) { return "CRAM-MD5", nil, nil }

// Next answers the one challenge.
func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	if c.done {
		return nil, ErrStep
	}
	// An empty challenge would make a digest that is good for ever.
	if len(challenge) == 0 {
		return nil, ErrProtocol
	}
	c.done = true
	h := hmac.New(md5.New, []byte(c.secret))
	h.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(h.Sum(nil))), nil
}

// scramClient is SCRAM (RFC 5802, RFC 7677).
type scramClient struct {
	name string
	conv *scram.ClientConversation
	err  error
}

func newSCRAM(name string, hash scram.HashGeneratorFcn) func(user, secret string) sasl.Client {
	return func(user, secret string) sasl.Client {
		c, err := hash.NewClient(user, secret, "")
		if err != nil {
			return &scramClient{name: name, err: err}
		}
		return &scramClient{name: name, conv: c.NewConversation()}
	}
}

// Start makes the client's first message.
func (c *scramClient) Start() (string, []byte, error) {
	if c.err != nil {
		return "", nil, c.err
	}
	first, err := c.conv.Step("")
	return c.name, []byte(first), err
}

// Next answers the host's first message and checks its last one.
func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	if c.conv.Done() {
		return nil, ErrStep
	}
	if iterations(string(challenge)) > maxIterations {
		return nil, ErrProtocol
	}
	answer, err := c.conv.Step(string(challenge))
	switch {
	case err != nil && strings.HasPrefix(string(challenge), "v="):
		return nil, ErrMutual
	case err != nil:
		return nil, ErrProtocol
	}
	return []byte(answer), nil
}

// proven tells whether the host has shown that it knows the password.
func (c *scramClient) proven() bool { return c.conv.Valid() }

// iterations reads i= of a SCRAM message, the work that the host asks us to do.
func iterations(s string) int {
	for _, f := range strings.Split(s, ",") {
		if v, ok := strings.CutPrefix(f, "i="); ok {
			n, err := strconv.Atoi(v)
			if err != nil {
				return maxIterations + 1
			}
			return n
		}
	}
	return 0
}

// Proven tells whether the host has shown that it knows the password too, where the
// mechanism asks for it.
func Proven(c sasl.Client) bool {
	p, ok := c.(interface{ proven() bool })
	return !ok || p.proven()
}

// Wanted are the properties that a list of smtp_sasl_security_options asks for.
func Wanted(words []string) (p Property) {
	for _, w := range words {
		p |= properties()[strings.ToLower(w)]
	}
	return p
}
