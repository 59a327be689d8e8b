package remote

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"packetboat/internal/mail"
	"packetboat/internal/send/remote/mechs"
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
	// RememberRefused has a password that a host refused not offered to it again for
	// CacheTime (smtp_sasl_auth_cache_name). It is remembered until the next start.
	RememberRefused bool
	CacheTime       time.Duration `main:"smtp_sasl_auth_cache_time"` // 0 = 90 days
	AuthzID         bool          `main:"send_cyrus_sasl_authzid"`   // the user's name as authorization id too
	// ReadToken reads the file of an OAuth 2.0 token; nil = there are none.
	ReadToken func(path string) ([]byte, error)
}

// loginKey names one host, user and password. No password is kept.
func (s *session) loginKey() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q", s.host.name, s.terms.user, s.terms.secret))
}

// The figures of a login.
const (
	maxSteps      = 100  // challenges of one login (smtp_sasl_glue.c)
	maxMechanisms = 2048 // octets of the list that a host offers
)

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
	if o := s.t.opts.SASL; o.RememberRefused {
		if r, ok := s.t.logins.Find(s.loginKey()); ok {
			return s.refusedLogin(reply{code: r.Code, text: r.Text, dsn: r.DSN}, "SASL [CACHED] authentication failed")
		}
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
func (s *session) demanded() mechs.Property {
	words := s.t.opts.SASL.Clear
	switch {
	case s.matched:
		words = s.t.opts.SASL.Verified
	case s.isTLS:
		words = s.t.opts.SASL.TLS
	}
	return mechs.Wanted(words)
}

// choose takes the best mechanism that the host offers and that is good enough.
func (s *session) choose(list []string) (mechs.Mechanism, error) {
	want := s.demanded()
	for _, m := range mechs.All(s.t.opts.SASL.AuthzID) {
		// A password is no token: one is sent only where main.cf speaks of tokens.
		if m.Token && s.t.opts.SASL.Allowed == nil && !strings.HasPrefix(s.terms.secret, "/") {
			continue
		}
		if m.Has&want == want && slices.Contains(list, m.Name) {
			return m, nil
		}
	}
	s.t.log.Warn("SASL authentication failure: No worthy mechs found")
	return mechs.Mechanism{}, mechs.ErrNone
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
	secret, err := s.secret(m)
	if err != nil {
		s.t.log.Warn("%s: %s", s.t.param("sasl_password_maps"), err.Error())
		return errorf("4.7.0", "Temporary authentication failure")
	}
	c := m.Make(s.terms.user, secret)
	name, first, err := c.Start()
	if err != nil {
		return s.cannot(mechs.ErrProtocol)
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

// secret is what a mechanism logs in with: the password of the table, or for OAuth 2.0
// a token, which may stand in a file that another program keeps fresh.
func (s *session) secret(m mechs.Mechanism) (string, error) {
	read := s.t.opts.SASL.ReadToken
	if !m.Token || read == nil || !strings.HasPrefix(s.terms.secret, "/") {
		return s.terms.secret, nil
	}
	b, err := read(s.terms.secret)
	if err != nil {
		return "", err
	}
	return mechs.Token(b, time.Now())
}

// respond makes the answer to a challenge.
func respond(c sasl.Client, r reply) (string, error) {
	text := ""
	if len(r.text) > 3 {
		text = strings.TrimLeft(r.text[3:], "- \t")
	}
	challenge, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", mechs.ErrProtocol
	}
	answer, err := c.Next(challenge)
	return base64.StdEncoding.EncodeToString(answer), err
}

// outcome reads the host's verdict on a login.
func (s *session) outcome(r reply, c sasl.Client) error {
	if r.code/100 == 2 {
		// A host that skips its half of SCRAM may not know the password at all.
		if !mechs.Proven(c) {
			return s.cannot(mechs.ErrMutual)
		}
		return nil
	}
	// Only 535 speaks of the password; other codes may be another moment's matter.
	if o := s.t.opts.SASL; o.RememberRefused && r.code == 535 {
		s.t.logins.Note(s.loginKey(), mechs.Refusal{Code: r.code, Text: r.text, DSN: r.dsn}, o.CacheTime)
	}
	return s.refusedLogin(r, "SASL authentication failed")
}

// refusedLogin is the status of a login that the host refused.
func (s *session) refusedLogin(r reply, what string) error {
	st := s.refusal(r, "")
	st.Text = fmt.Sprintf("%s; server %s said: %s", what, s.host, r.text)
	if s.t.opts.SASL.SoftBounce && !st.Temporary() {
		st.Outcome, st.Code = mail.Deferred, "4"+st.Code[1:]
	}
	return st
}
