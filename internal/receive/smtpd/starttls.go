package smtpd

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd/syntax"
)

// canTLS tells whether STARTTLS is offered now.
func (c *session) canTLS() bool {
	l := c.s.opts.TLSLevel
	return !c.st.TLS && c.s.deps.TLS != nil && (l == "may" || l == "encrypt")
}

// starttls is RFC 3207.
func (c *session) starttls(cmd *syntax.Command) bool {
	switch {
	case len(cmd.Args) != 1:
		return c.fail("501 5.5.4 Syntax: STARTTLS")
	case c.st.TLS:
		return c.fail("554 5.5.1 Error: TLS already active")
	case !c.canTLS() || !c.offer.has("STARTTLS"):
		return c.fail("502 5.5.1 Error: command not implemented")
	}
	if a := c.s.deps.Anvil; a != nil && c.s.opts.TLSRate > 0 && !c.spared() && a.Rate(gate.NewTLS, c.s.opts.Entry, c.st.Addr) >= c.s.opts.TLSRate {
		c.s.deps.Log.SMTPDRefuseTLS("STARTTLS request", c.st.Client(), c.s.opts.Entry)
		return c.fail("454 4.7.0 Error: too many new TLS sessions from " + c.st.Client())
	}
	c.reply("220 2.0.0 Ready to start TLS")
	if c.flush() != nil {
		c.hangup = true
		return false
	}
	// What came behind STARTTLS in the clear was written by anybody: it is
	// thrown away and never runs inside TLS (RFC 3207 section 6, CVE-2011-0411).
	c.in.Take(len(c.in.Unread()))
	if !c.handshake() {
		c.s.deps.Log.SMTPDEnd("lost connection", c.where, c.st.Client(), -1)
		c.hangup = true
		return false
	}
	return true
}

// manyTLS counts a TLS session that is about to be new, for a port that begins
// with TLS, and tells whether there were too many.
func (c *session) manyTLS() bool {
	a := c.s.deps.Anvil
	if a == nil || c.s.opts.TLSRate <= 0 || c.spared() || a.Rate(gate.NewTLS, c.s.opts.Entry, c.st.Addr) < c.s.opts.TLSRate {
		return false
	}
	c.s.deps.Log.SMTPDRefuseTLS("TLS service request", c.st.Client(), c.s.opts.Entry)
	return true
}

// handshake turns the connection into TLS and forgets all the client said
// before (RFC 3207 section 4.2).
func (c *session) handshake() bool {
	t := tls.Server(c.raw, c.s.deps.TLS)
	ctx, cancel := context.WithTimeout(c.ctx, c.limits().startTLS)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.s.deps.Log.SMTPDNoTLS(c.st.Client(), tlsError(err))
		return false
	}
	c.reset()
	c.conn, c.in.Conn = t, t
	c.st.TLS = true
	c.st.Helo, c.peer.Helo, c.st.Proto, c.peer.Proto = "", "", "SMTP", "SMTP"
	c.st.User, c.st.Mech, c.peer.User, c.peer.SASL, c.peer.SASLFrom = "", "", "", "", ""
	state := t.ConnectionState()
	if !state.DidResume && c.tooOften(gate.NewTLS, c.s.opts.TLSRate, "New TLS session rate") {
		c.reply("421 4.7.0 " + c.s.opts.Hostname + " Error: too many new TLS sessions from " + c.st.Client())
		c.hangup = true
		return true
	}
	c.peer.TLS = describeTLS(&state, c.s.deps.TLS)
	if c.s.opts.TLSLog > 0 {
		c.s.deps.Log.SMTPDTLS("Anonymous", c.st.Client(), c.peer.TLS)
	}
	return true
}

// tlsError is what the log says of a failed handshake.
func tlsError(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "lost connection"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out"
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// describeTLS says what was agreed on in OpenSSL's words, as the log and the
// Received header have it.
func describeTLS(s *tls.ConnectionState, conf *tls.Config) string {
	name, bits := cipherName(s.CipherSuite)
	b := fmt.Appendf(nil, "%s with cipher %s (%d/%d bits)", tlsVersion(s.Version), name, bits, bits)
	if s.Version < tls.VersionTLS13 {
		return string(b)
	}
	b = fmt.Appendf(b, " key-exchange %s", s.CurveID)
	return string(append(b, signature(s, conf)...))
}

func tlsVersion(v uint16) string {
	return strings.Replace(strings.Replace(tls.VersionName(v), "TLS ", "TLSv", 1), "TLSv1.0", "TLSv1", 1)
}

// cipherName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into OpenSSL's
// ECDHE-RSA-AES128-GCM-SHA256; names of TLS 1.3 are the same in both.
func cipherName(id uint16) (name string, bits int) {
	name = tls.CipherSuiteName(id)
	bits = 256
	switch {
	case strings.Contains(name, "AES_128"):
		bits = 128
	case strings.Contains(name, "3DES"):
		bits = 168
	}
	if !strings.Contains(name, "_WITH_") {
		return name, bits
	}
	name = strings.TrimPrefix(name, "TLS_")
	name = strings.TrimPrefix(name, "RSA_WITH_")
	name = strings.NewReplacer("_WITH_", "-", "AES_128_CBC_SHA", "AES128-SHA", "AES_256_CBC_SHA", "AES256-SHA",
		"AES_128", "AES128", "AES_256", "AES256", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "_", "-").Replace(name)
	return name, bits
}

// signature names the server's key, which TLS 1.3 signs with.
func signature(s *tls.ConnectionState, conf *tls.Config) string {
	if conf.GetCertificate == nil || s.DidResume {
		return ""
	}
	c, err := conf.GetCertificate(&tls.ClientHelloInfo{ServerName: s.ServerName})
	if err != nil || c == nil || c.Leaf == nil {
		return ""
	}
	switch k := c.Leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(" server-signature RSA-PSS (%d bits)", k.N.BitLen())
	case *ecdsa.PublicKey:
		return " server-signature ECDSA (" + k.Curve.Params().Name + ")"
	case ed25519.PublicKey:
		return " server-signature ED25519"
	}
	return ""
}
