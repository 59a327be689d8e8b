package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"packetboat/internal/send/remote/certs"
	"packetboat/internal/trust/tlsrpt"
)

// secure starts TLS as the policy says. A level that demands TLS is never
// lowered by what the host says or does not say.
func (s *session) secure(ctx context.Context) error {
	l := s.terms.level
	if l == levelNone && s.t.opts.NoteOffer && s.has("STARTTLS") {
		s.t.log.Info("Host offered STARTTLS: [%s]", s.host.name)
	}
	if s.isTLS || l == levelNone {
		return nil
	}
	if !s.has("STARTTLS") {
		s.tlsFailure.Kind = tlsrpt.NoSTARTTLS
		if l >= levelEncrypt {
			return errorf("4.7.4", "TLS is required, but was not offered by host %s", s.host)
		}
		return nil
	}
	r, err := s.command(s.t.opts.StartTLSTimeout, "receiving the STARTTLS response", "STARTTLS")
	if err != nil {
		return err
	}
	if r.code/100 != 2 {
		s.tlsFailure.Kind = tlsrpt.NoSTARTTLS
		if l < levelEncrypt {
			return nil
		}
		st := s.refusal(r, "")
		st.Text = fmt.Sprintf("TLS is required, but host %s refused to start TLS: %s", s.host, r.text)
		return st
	}
	// NO STARTTLS: bytes that came behind "220 ready" were not encrypted. Whoever
	// put them there must not have them read as the first encrypted answers.
	if s.r.Buffered() > 0 {
		s.broken = true
		return errorf("4.7.0", "host %s sent data in the clear behind its answer to STARTTLS", s.host)
	}
	if err := s.handshake(ctx); err != nil {
		return err
	}
	// Nothing heard in the clear counts any more (RFC 3207 section 4.2).
	return s.hello()
}

// handshake turns the connection into a TLS one and holds the certificate
// against the policy.
func (s *session) handshake(ctx context.Context) error {
	c := tls.Client(s.conn, s.tlsConfig())
	s.conn.SetDeadline(time.Now().Add(s.t.opts.StartTLSTimeout))
	if err := c.HandshakeContext(ctx); err != nil {
		s.broken, s.failedTLS = true, true
		why, detail := handshakeError(err)
		s.tlsFailure = tlsrpt.Failure{Kind: tlsrpt.Invalid, Reason: strings.TrimSpace(why + " " + detail)}
		s.t.log.SMTPNoTLS(s.tlsName(), why, detail)
		return errorf("4.7.5", "Cannot start TLS: handshake failure")
	}
	st := c.ConnectionState()
	s.conn, s.isTLS = c, true
	s.r, s.w = bufio.NewReaderSize(c, 4096), bufio.NewWriterSize(c, 16384)
	trusted, err := s.judge(&st)
	s.matched = err == nil && s.terms.level >= levelFingerprint
	s.noteCertificate(st.PeerCertificates, err)
	if err != nil && s.terms.level >= levelFingerprint {
		s.t.log.Info("%s", err.Error())
	}
	if s.t.opts.TLSLog > 0 {
		s.t.log.SMTPTLS(s.trust(trusted), s.tlsName(), certs.Describe(&st))
	}
	if s.terms.level >= levelFingerprint && !s.matched {
		return errorf("4.7.5", "Server certificate not verified")
	}
	return nil
}

// tlsName is the host as the lines about TLS name it.
func (s *session) tlsName() string { return strings.ToLower(s.relay()) }

// trust is the first word of the line about a connection.
func (s *session) trust(trusted bool) string {
	switch {
	case s.matched:
		return "Verified"
	case trusted && s.terms.level < levelFingerprint:
		return "Trusted"
	}
	return "Untrusted"
}

// handshakeError says what the log says of a failed handshake.
func handshakeError(err error) (why, detail string) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "lost connection", ""
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out", ""
	}
	return "-1", err.Error()
}

// tlsConfig is that of the session's policy. Certificates are judged after the
// handshake, by our own rules: below "verify" any will do, because in the clear
// there would be none at all (RFC 7435).
func (s *session) tlsConfig() *tls.Config {
	p := &s.terms.policy
	return &tls.Config{MinVersion: p.lo, MaxVersion: p.hi, InsecureSkipVerify: true,
		ServerName: s.serverName(), CipherSuites: certs.Suites(p.exclude), Certificates: s.t.opts.Certificates}
}

// serverName is the name that the host is asked for. Postfix asks for none
// unless smtp_tls_servername is set; but large providers then show a
// certificate that nobody can verify.
func (s *session) serverName() string {
	name := s.terms.sni
	switch name {
	case "", "hostname":
		name = s.host.name
	case "nexthop":
		name = s.terms.domain
	}
	if s.host.unix != "" || certs.IsAddress(name) {
		return ""
	}
	return strings.TrimSuffix(name, ".")
}
