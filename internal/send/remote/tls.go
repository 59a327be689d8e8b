package remote

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// secure starts TLS as the policy says. A level that demands TLS is never
// lowered by what the host says or does not say.
func (s *session) secure(ctx context.Context) error {
	l := s.terms.level
	if s.isTLS || l == levelNone {
		return nil
	}
	if !s.has("STARTTLS") {
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
		s.t.log.SMTPNoTLS(s.tlsName(), why, detail)
		return errorf("4.7.5", "Cannot start TLS: handshake failure")
	}
	st := c.ConnectionState()
	s.conn, s.isTLS = c, true
	s.r, s.w = bufio.NewReaderSize(c, 4096), bufio.NewWriterSize(c, 16384)
	trusted, err := s.judge(&st)
	s.matched = err == nil && s.terms.level >= levelFingerprint
	if err != nil && s.terms.level >= levelFingerprint {
		s.t.log.Info("%s", err.Error())
	}
	if s.t.opts.TLSLog > 0 {
		s.t.log.SMTPTLS(s.trust(trusted), s.tlsName(), describeTLS(&st))
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
		ServerName: s.serverName(), CipherSuites: suites(p.exclude), Certificates: s.t.opts.Certificates}
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
	if s.host.unix != "" || isAddress(name) {
		return ""
	}
	return strings.TrimSuffix(name, ".")
}

// suites returns the ciphers below TLS 1.3 that are offered: Go's good ones and
// those with keys sent under RSA, which many a mail host still needs, and which
// are better than no TLS.
func suites(exclude []string) (out []uint16) {
	var list []*tls.CipherSuite
	list = append(list, tls.CipherSuites()...)
	for _, c := range tls.InsecureCipherSuites() {
		if strings.HasPrefix(c.Name, "TLS_RSA_WITH_AES_") {
			list = append(list, c)
		}
	}
	for _, c := range list {
		if !excluded(c.ID, exclude) {
			out = append(out, c.ID)
		}
	}
	return out
}

// excluded tells whether smtp_tls_exclude_ciphers names a cipher or its kind.
// Words for what is never offered (aNULL, RC4, 3DES ...) have nothing to do.
func excluded(id uint16, words []string) bool {
	name, _ := cipherName(id)
	sentKey := !strings.HasPrefix(name, "ECDHE-")
	for _, w := range words {
		switch w = strings.ToUpper(w); {
		case w == strings.ToUpper(name),
			(w == "KRSA" || w == "RSA") && sentKey,
			(w == "SHA1" || w == "SHA") && strings.HasSuffix(name, "-SHA"),
			w == "AES128" && strings.Contains(name, "AES128"),
			w == "AES256" && strings.Contains(name, "AES256"),
			w == "AES" && strings.Contains(name, "AES"),
			w == "CHACHA20" && strings.Contains(name, "CHACHA20"):
			return true
		}
	}
	return false
}

// describeTLS says what was agreed on in OpenSSL's words (tls_log_summary).
func describeTLS(st *tls.ConnectionState) string {
	name, bits := cipherName(st.CipherSuite)
	version := strings.Replace(strings.Replace(tls.VersionName(st.Version), "TLS ", "TLSv", 1), "TLSv1.0", "TLSv1", 1)
	out := fmt.Sprintf("%s with cipher %s (%d/%d bits)", version, name, bits, bits)
	if st.Version < tls.VersionTLS13 {
		return out
	}
	return out + fmt.Sprintf(" key-exchange %s", st.CurveID) + signature(st.PeerCertificates)
}

// signature names the key that the host signed with. The digest is that which
// TLS 1.3 ties to the key, or for RSA the one that we ask for first.
func signature(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	switch k := chain[0].PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(" server-signature RSA-PSS (%d bits) server-digest SHA256", k.N.BitLen())
	case *ecdsa.PublicKey:
		bits := k.Curve.Params().BitSize
		curve := fmt.Sprintf("secp%dr1", bits)
		if bits == 256 { // OpenSSL's name of the same curve
			curve = "prime256v1"
		}
		return fmt.Sprintf(" server-signature ECDSA (%s) server-digest SHA%d", curve, min((bits+127)/128*128, 512))
	case ed25519.PublicKey:
		return " server-signature ED25519"
	}
	return ""
}

// cipherName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into OpenSSL's
// ECDHE-RSA-AES128-GCM-SHA256; names of TLS 1.3 are the same in both.
func cipherName(id uint16) (name string, bits int) {
	name, bits = tls.CipherSuiteName(id), 256
	if strings.Contains(name, "AES_128") {
		bits = 128
	}
	kx, rest, ok := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !ok {
		return name, bits
	}
	rest = strings.NewReplacer("AES_128_CBC", "AES128", "AES_256_CBC", "AES256", "AES_128", "AES128", "AES_256", "AES256",
		"CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305").Replace(rest)
	if kx == "RSA" { // OpenSSL does not name what was once the only way
		return strings.ReplaceAll(rest, "_", "-"), bits
	}
	return strings.ReplaceAll(kx+"-"+rest, "_", "-"), bits
}
