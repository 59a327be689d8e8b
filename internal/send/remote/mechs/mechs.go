// Package mechs has the SASL mechanisms that a client of ours logs in with, and what
// smtp_sasl_security_options wants of them. send/remote chooses one of All and has it
// answer the host.
package mechs

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	// Token: the secret is a token of OAuth 2.0.
	Token bool
}

// All are those that we speak, the best first. With authzid the user's name is the
// authorization id too (send_cyrus_sasl_authzid). Tokens come last: a host that offers
// passwords as well gets one, unless smtp_sasl_mechanism_filter leaves nothing else.
func All(authzid bool) []Mechanism {
	id := func(user string) string {
		if authzid {
			return user
		}
		return ""
	}
	const strong = noPlaintext | noActive | noAnonymous | mutualAuth
	return []Mechanism{
		{"SCRAM-SHA-512", strong, newSCRAM("SCRAM-SHA-512", scram.SHA512, id), false},
		{"SCRAM-SHA-256", strong, newSCRAM("SCRAM-SHA-256", scram.SHA256, id), false},
		{"SCRAM-SHA-1", strong, newSCRAM("SCRAM-SHA-1", scram.SHA1, id), false},
		{"CRAM-MD5", noPlaintext | noAnonymous, func(u, p string) sasl.Client { return &cramMD5{user: u, secret: p} }, false},
		{"PLAIN", noAnonymous, func(u, p string) sasl.Client { return plain{sasl.NewPlainClient(id(u), u, p)} }, false},
		{"LOGIN", noAnonymous, func(u, p string) sasl.Client { return &login{answers: []string{u, p}} }, false},
		{"OAUTHBEARER", noAnonymous, func(u, p string) sasl.Client {
			return &bearer{name: "OAUTHBEARER", first: "n,a=" + gs2(u) + ",\x01auth=Bearer " + p + "\x01\x01"}
		}, true},
		{"XOAUTH2", noAnonymous, func(u, p string) sasl.Client {
			return &bearer{name: "XOAUTH2", first: "user=" + u + "\x01auth=Bearer " + p + "\x01\x01"}
		}, true},
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

func newSCRAM(name string, hash scram.HashGeneratorFcn, id func(user string) string) func(user, secret string) sasl.Client {
	return func(user, secret string) sasl.Client {
		c, err := hash.NewClient(user, secret, id(user))
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

// bearer is OAUTHBEARER (RFC 7628) and its predecessor XOAUTH2: the token is the first
// answer. A host that refuses it says why in a challenge, which gets an empty answer.
type bearer struct {
	name, first string
	asked       bool
}

// Start names the mechanism and gives the token.
func (b *bearer) Start() (string, []byte, error) { return b.name, []byte(b.first), nil }

// Next acknowledges the reason of a refusal.
func (b *bearer) Next([]byte) ([]byte, error) {
	if b.asked {
		return nil, ErrStep
	}
	b.asked = true
	if b.name == "OAUTHBEARER" {
		return []byte{1}, nil
	}
	return nil, nil
}

// gs2 escapes a name for the header of RFC 5801.
func gs2(s string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s) }

// Token finds the token in the file that a program keeps: the first line, or access_token
// of a JSON object, whose expiry (seconds since 1970) must not be over.
func Token(b []byte, now time.Time) (string, error) {
	text := strings.TrimSpace(string(b))
	if strings.HasPrefix(text, "{") {
		var j struct {
			Token  string          `json:"access_token"`
			Expiry json.RawMessage `json:"expiry"`
		}
		if err := json.Unmarshal([]byte(text), &j); err != nil {
			return "", errors.New("the token file is no JSON object")
		}
		if at, err := strconv.ParseInt(strings.Trim(string(j.Expiry), `"`), 10, 64); err == nil && now.Unix() >= at {
			return "", errors.New("the token has expired")
		}
		text = j.Token
	}
	text, _, _ = strings.Cut(text, "\n")
	if text = strings.TrimSpace(text); text == "" || strings.ContainsAny(text, " \x01") {
		return "", errors.New("there is no token in the file")
	}
	return text, nil
}
