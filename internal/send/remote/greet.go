package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// greet does all that comes before MAIL FROM: greeting, EHLO, STARTTLS.
func (s *session) greet(ctx context.Context) error {
	o := &s.t.opts
	r, err := s.read(o.HeloTimeout, "receiving the initial server greeting")
	if err != nil {
		return err
	}
	if r.code != 220 {
		st := s.refusal(r, "")
		st.Text = "host " + s.host.String() + " refused to talk to me: " + r.text
		// RFC 5321 section 3.1: 554 means that this host never takes mail, which
		// says nothing of the next one; Postfix tries it (smtp_skip_5xx_greeting).
		if o.Skip5xxGreeting && !st.Temporary() {
			st.Outcome, st.Code = mail.Deferred, "4"+st.Code[1:]
		}
		return st
	}
	if err := s.hello(); err != nil {
		return err
	}
	return s.secure(ctx)
}

// hello says EHLO, or HELO to a host that does not know EHLO, or LHLO.
func (s *session) hello() error {
	o := &s.t.opts
	verb := "EHLO"
	if o.LMTP {
		verb = "LHLO"
	}
	s.ext = map[string]string{}
	r, err := s.hear(verb)
	if err != nil {
		return err
	}
	if r.failed() && r.code/100 == 5 && !o.LMTP {
		r, err = s.command(o.HeloTimeout, "performing the HELO handshake", "HELO "+o.HeloName)
		if err != nil {
			return err
		}
		s.ext = map[string]string{}
	}
	if r.failed() {
		st := s.refusal(r, "")
		st.Text = "host " + s.host.String() + " refused to talk to me: " + r.text
		return st
	}
	return s.notMyself(r)
}

// notMyself refuses to talk to a host that says our own name in its first
// answer: the mail would go round for ever.
func (s *session) notMyself(r reply) error {
	f := strings.Fields(strings.TrimLeft(r.text[3:], " -"))
	if s.t.opts.LMTP || s.host.port != "25" || len(f) == 0 || !strings.EqualFold(f[0], s.t.opts.Hostname) {
		return nil
	}
	return mail.Bounce("5.4.6", "host %s replied to HELO/EHLO with my own hostname %s", s.host, s.t.opts.Hostname)
}

// hear sends EHLO or LHLO and notes the extensions; reading is its own loop
// because each line of this reply counts.
func (s *session) hear(verb string) (reply, error) {
	o := &s.t.opts
	s.doing = "performing the " + verb + " handshake"
	s.conn.SetDeadline(time.Now().Add(o.HeloTimeout))
	s.w.WriteString(verb + " " + o.HeloName + "\r\n")
	if err := s.w.Flush(); err != nil {
		return reply{}, s.lost(err)
	}
	var r reply
	for n := 0; n < maxReplyLines; n++ {
		line, err := s.line()
		if err != nil {
			return r, s.lost(err)
		}
		code, more, ok := parseReplyLine(line)
		if !ok {
			break
		}
		if n == 0 {
			r = reply{code: code, text: string(line), dsn: enhanced(line)}
		} else if code == 250 && len(line) > 4 {
			key, val, _ := strings.Cut(string(line[4:]), " ")
			s.ext[strings.ToUpper(key)] = val
		}
		if !more {
			return r, nil
		}
	}
	s.broken = true
	return r, errorf("4.5.0", "host %s sent a malformed or endless reply while %s", s.host, s.doing)
}

// has tells whether the host offered an extension.
func (s *session) has(ext string) bool { _, ok := s.ext[ext]; return ok }

// tls levels of smtp_tls_security_level that package remote knows.
func mustEncrypt(level string) bool { return level == "encrypt" }

// secure starts TLS as smtp_tls_security_level says. A level that demands TLS
// is never lowered by what the host says or does not say.
func (s *session) secure(ctx context.Context) error {
	level := s.t.opts.TLSLevel
	if s.isTLS || s.host.unix != "" || level == "" || level == "none" {
		return nil
	}
	if !s.has("STARTTLS") {
		if mustEncrypt(level) {
			return errorf("4.7.4", "TLS is required, but was not offered by host %s", s.host)
		}
		return nil
	}
	r, err := s.command(s.t.opts.HeloTimeout, "sending STARTTLS", "STARTTLS")
	if err != nil {
		return err
	}
	if r.code != 220 {
		if mustEncrypt(level) {
			return errorf("4.7.4", "TLS is required, but host %s refused to start TLS: %s", s.host, r.text)
		}
		return nil
	}
	return s.handshake(ctx)
}

// handshake turns the connection into a TLS one and says EHLO again: nothing
// heard in the clear counts any more (RFC 3207 section 4.2).
func (s *session) handshake(ctx context.Context) error {
	// NO STARTTLS: bytes that came behind "220 ready" were not encrypted. Whoever
	// put them there must not have them read as the first encrypted answers.
	if s.r.Buffered() > 0 {
		s.broken = true
		return errorf("4.7.0", "host %s sent data in the clear behind its answer to STARTTLS", s.host)
	}
	c := tls.Client(s.conn, s.t.tlsConfig(s.host))
	s.conn.SetDeadline(time.Now().Add(s.t.opts.HeloTimeout))
	if err := c.HandshakeContext(ctx); err != nil {
		s.broken = true
		return errorf("4.7.5", "Cannot start TLS: handshake failure with host %s: %s", s.host, err.Error())
	}
	st := c.ConnectionState()
	s.t.log.Info("Untrusted TLS connection established to %s: %s with cipher %s",
		s.host.relay(), tls.VersionName(st.Version), tls.CipherSuiteName(st.CipherSuite))
	s.conn, s.isTLS = c, true
	s.r, s.w = bufio.NewReaderSize(c, 4096), bufio.NewWriterSize(c, 16384)
	return s.hello()
}

// tlsConfig is that of the opportunistic levels: any certificate will do,
// because in the clear there would be none at all (RFC 7435).
func (t *Transport) tlsConfig(h host) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS10, InsecureSkipVerify: true}
	if !h.addr.IsValid() || h.name != h.addr.String() {
		c.ServerName = h.name
	}
	return c
}

// sizeLimit returns the limit of the SIZE extension, 0 for none.
func (s *session) sizeLimit() int64 {
	n, err := strconv.ParseInt(s.ext["SIZE"], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
