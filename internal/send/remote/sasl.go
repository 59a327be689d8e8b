package remote

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"packetboat/internal/mail"
)

// SASL is what a client needs to log in: smtp_sasl_password_maps and what
// postconf(5) puts around it. A nil *SASL is smtp_sasl_auth_enable = no.
type SASL struct {
	// Passwords has "user:password" under host names and next hops
	// (smtp_sasl_password_maps).
	Passwords Table
	// Sender finds "user:password" of an envelope sender; nil without
	// smtp_sender_dependent_authentication.
	Sender func(ctx context.Context, sender mail.Address) (string, bool, error)
	// Allowed is smtp_sasl_mechanism_filter; nil allows every mechanism.
	Allowed func(ctx context.Context, mechanism string) (bool, error)

	Clear    []string `main:"smtp_sasl_security_options"`
	TLS      []string `main:"smtp_sasl_tls_security_options"`
	Verified []string `main:"smtp_sasl_tls_verified_security_options"`
	// SoftBounce makes mail wait where the host refuses our password for ever.
	SoftBounce bool `main:"smtp_sasl_auth_soft_bounce"`
}

// The figures of a login.
const (
	maxSteps      = 100       // challenges of one login (smtp_sasl_glue.c)
	maxIterations = 1_000_000 // rounds of SCRAM that a host may ask for: less than a second's work
	maxMechanisms = 2048      // octets of the list that a host offers
)

// The ways a login fails on our side, in the words of sasl_errstring(3).
var (
	errNoMechanism = errors.New("no mechanism available")
	errProtocol    = errors.New("bad protocol / cancel")
	errStep        = errors.New("generic failure")
	errMutual      = errors.New("server failed mutual authentication step")
)

// property is a set of what a mechanism can keep to; smtp_sasl_security_options
// asks for them.
type property uint8

const (
	noPlaintext property = 1 << iota
	noActive
	noDictionary
	noAnonymous
	forwardSecrecy
	mutualAuth
)

// properties are the words of smtp_sasl_security_options.
func properties() map[string]property {
	return map[string]property{"noplaintext": noPlaintext, "noactive": noActive, "nodictionary": noDictionary,
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

// mechanism is one way to log in.
type mechanism struct {
	name string
	has  property
	make func(user, secret string) sasl.Client
}

// mechanisms are those that we speak, the best first.
func mechanisms() []mechanism {
	const strong = noPlaintext | noActive | noAnonymous | mutualAuth
	return []mechanism{
		{"SCRAM-SHA-512", strong, newSCRAM("SCRAM-SHA-512", scram.SHA512)},
		{"SCRAM-SHA-256", strong, newSCRAM("SCRAM-SHA-256", scram.SHA256)},
		{"SCRAM-SHA-1", strong, newSCRAM("SCRAM-SHA-1", scram.SHA1)},
		{"CRAM-MD5", noPlaintext | noAnonymous, func(u, p string) sasl.Client { return &cramMD5{user: u, secret: p} }},
		{"PLAIN", noAnonymous, func(u, p string) sasl.Client { return plain{sasl.NewPlainClient("", u, p)} }},
		{"LOGIN", noAnonymous, func(u, p string) sasl.Client { return &login{answers: []string{u, p}} }},
	}
}

// credentials looks up user and password: the sender's, the host's, then the
// next hop's (smtp_sasl_passwd_lookup). Nothing found means that host and client
// talk like strangers.
func (t *Transport) credentials(ctx context.Context, job *mail.Job, h host, out *terms) error {
	o := t.opts.SASL
	if o == nil {
		return nil
	}
	var value string
	var ok bool
	var err error
	if !t.opts.LMTP && o.Sender != nil && job.Env.Sender != "" {
		value, ok, err = o.Sender(ctx, job.Env.Sender)
	}
	for _, key := range [...]string{h.name, out.dest} {
		if err == nil && !ok {
			value, ok, err = o.Passwords.Lookup(ctx, key)
		}
	}
	if err != nil {
		t.log.Warn("%s: %s lookup error", job.ID, t.param("sasl_password_maps"))
		return errorf("4.3.0", "Temporary lookup error")
	}
	if ok {
		out.user, out.secret, _ = strings.Cut(value, ":")
		out.auth = true
	}
	return nil
}

// login authenticates where the host offers AUTH and we have a password for it.
func (s *session) login(ctx context.Context) error {
	offered, ok := s.ext["AUTH"]
	if s.t.opts.SASL == nil || !ok {
		return nil
	}
	list, err := s.compatible(ctx, offered)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		s.noCompatible(offered)
	}
	if !s.terms.auth {
		return nil
	}
	if len(list) == 0 {
		return errorf("4.7.0", "SASL authentication failed: server %s offered no compatible authentication mechanisms for this type of connection security", s.host)
	}
	return s.authenticate(list)
}

// noCompatible says what Postfix says of a list that leaves nothing.
func (s *session) noCompatible(offered string) {
	if offered == "" {
		s.t.log.Warn("%s offered null AUTH mechanism list", s.relay())
		return
	}
	s.t.log.Warn("%s offered no supported AUTH mechanisms: '%s'", s.relay(), offered)
}

// compatible returns what smtp_sasl_mechanism_filter leaves of a host's list.
func (s *session) compatible(ctx context.Context, offered string) (list []string, err error) {
	for _, m := range strings.Fields(offered) {
		ok := true
		if f := s.t.opts.SASL.Allowed; f != nil {
			if ok, err = f(ctx, m); err != nil {
				s.t.log.Warn("%s: %s", s.t.param("sasl_mechanism_filter"), err.Error())
				return nil, errorf("4.3.0", "Temporary lookup error")
			}
		}
		if ok {
			list = append(list, strings.ToUpper(m))
		}
	}
	return list, nil
}

// demanded returns the properties that this connection's security asks for.
func (s *session) demanded() (p property) {
	words := s.t.opts.SASL.Clear
	switch {
	case s.matched:
		words = s.t.opts.SASL.Verified
	case s.isTLS:
		words = s.t.opts.SASL.TLS
	}
	for _, w := range words {
		p |= properties()[strings.ToLower(w)]
	}
	return p
}

// choose takes the best mechanism that the host offers and that is good enough.
func (s *session) choose(list []string) (mechanism, error) {
	want := s.demanded()
	for _, m := range mechanisms() {
		if m.has&want == want && slices.Contains(list, m.name) {
			return m, nil
		}
	}
	s.t.log.Warn("SASL authentication failure: No worthy mechs found")
	return mechanism{}, errNoMechanism
}

// cannot is the status of a login that fails on our side.
func (s *session) cannot(err error) error {
	return errorf("4.7.0", "SASL authentication failed; cannot authenticate to server %s: %s", s.host, err.Error())
}

// authenticate runs the dialogue of RFC 4954. What goes over the line stays out
// of every log and error text.
func (s *session) authenticate(list []string) error {
	m, err := s.choose(list)
	if err != nil {
		return s.cannot(err)
	}
	c := m.make(s.terms.user, s.terms.secret)
	name, first, err := c.Start()
	if err != nil {
		return s.cannot(errProtocol)
	}
	line := "AUTH " + name
	if len(first) > 0 {
		line += " " + base64.StdEncoding.EncodeToString(first)
	}
	for step := 0; ; step++ {
		r, err := s.command(s.t.opts.HeloTimeout, "performing SASL authentication", line)
		if err != nil {
			return err
		}
		if r.code/100 != 3 {
			return s.outcome(r, c)
		}
		if step >= maxSteps {
			return errorf("4.3.0", "SASL authentication failed; authentication protocol loop with server %s", s.host)
		}
		if line, err = respond(c, r); err != nil {
			// "*" ends the dialogue (RFC 4954 section 4): QUIT would be taken for an answer.
			s.command(min(s.t.opts.QuitTimeout, 2*time.Second), "performing SASL authentication", "*")
			return s.cannot(err)
		}
	}
}

// respond makes the answer to a challenge.
func respond(c sasl.Client, r reply) (string, error) {
	text := ""
	if len(r.text) > 3 {
		text = strings.TrimLeft(r.text[3:], "- \t")
	}
	challenge, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", errProtocol
	}
	answer, err := c.Next(challenge)
	return base64.StdEncoding.EncodeToString(answer), err
}

// outcome reads the host's verdict on a login.
func (s *session) outcome(r reply, c sasl.Client) error {
	if r.code/100 == 2 {
		// A host that skips its half of SCRAM may not know the password at all.
		if p, ok := c.(interface{ proven() bool }); ok && !p.proven() {
			return s.cannot(errMutual)
		}
		return nil
	}
	st := s.refusal(r, "")
	st.Text = fmt.Sprintf("SASL authentication failed; server %s said: %s", s.host, r.text)
	if s.t.opts.SASL.SoftBounce && !st.Temporary() {
		st.Outcome, st.Code = mail.Deferred, "4"+st.Code[1:]
	}
	return st
}

// plain is PLAIN (RFC 4616): everything is said at once.
type plain struct{ sasl.Client }

// Next refuses the second question, of which there is none in PLAIN.
func (plain) Next([]byte) ([]byte, error) { return nil, errStep }

// login is LOGIN: the host asks for the name, then for the password. Hosts word
// the questions as they like, so their order counts. There is no first answer:
// some hosts do not take one.
type login struct{ answers []string }

// Start names the mechanism.
func (l *login) Start() (string, []byte, error) { return "LOGIN", nil, nil }

// Next gives the next answer.
func (l *login) Next([]byte) ([]byte, error) {
	if len(l.answers) == 0 {
		return nil, errStep
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
		return nil, errStep
	}
	// An empty challenge would make a digest that is good for ever.
	if len(challenge) == 0 {
		return nil, errProtocol
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
		return nil, errStep
	}
	if iterations(string(challenge)) > maxIterations {
		return nil, errProtocol
	}
	answer, err := c.conv.Step(string(challenge))
	switch {
	case err != nil && strings.HasPrefix(string(challenge), "v="):
		return nil, errMutual
	case err != nil:
		return nil, errProtocol
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
