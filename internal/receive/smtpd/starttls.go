package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"strings"

	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd/syntax"
	"packetboat/internal/sys/cert"
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
	case !c.canTLS() || !c.offer.Has("STARTTLS"):
		return c.fail("502 5.5.1 Error: command not implemented") // smtpd(8)'s words where TLS is not offered
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
	c.fails = 0
	c.st.User, c.st.Mech, c.peer.User, c.peer.SASL, c.peer.SASLFrom = "", "", "", "", ""
	state := t.ConnectionState()
	if !state.DidResume && c.tooOften(gate.NewTLS, c.s.opts.TLSRate, "New TLS session rate") {
		c.reply("421 4.7.0 " + c.s.opts.Hostname + " Error: too many new TLS sessions from " + c.st.Client())
		c.hangup = true
		return true
	}
	c.peer.TLS = cert.Describe(&state, c.s.deps.TLS)
	c.st.TLSProtocol = cert.VersionName(state.Version)
	c.st.TLSCipher, c.st.TLSBits = cert.CipherName(state.CipherSuite)
	return c.clientCert(&state)
}

// clientCert looks at the client's certificate and tells the access lists and
// the log. Without one that is trusted the session ends where one is required
// (smtpd_tls_req_ccert).
func (c *session) clientCert(state *tls.ConnectionState) bool {
	o := &c.s.opts
	who, err := cert.Inspect(state, c.s.deps.Authorities, o.TLSDigest)
	if err != nil {
		c.s.deps.Log.SMTPDConfig("smtpd_tls_fingerprint_digest", err)
	}
	c.st.Verified, c.st.Fingerprint, c.st.PubkeyFingerprint = who.Verified, who.Finger, who.PubKey
	c.st.Subject, c.st.Issuer = who.Subject, who.Issuer
	c.peer.CertVerified = who.Verified
	if c.peer.CertListed, err = c.s.deps.Policy.CertListed(c.ctx, &c.st); err != nil {
		c.s.deps.Log.SMTPDConfig("relay_clientcerts", err)
	}
	trust := "Anonymous"
	if who.Present {
		trust = "Untrusted"
		if who.Verified {
			trust = "Trusted"
		}
		if o.TLSLog > 0 {
			c.s.deps.Log.SMTPDCert(c.st.Client(), who.Subject, who.Issuer, who.Finger, who.PubKey, who.Why)
		}
	}
	if o.TLSLog > 0 {
		c.s.deps.Log.SMTPDTLS(trust, c.st.Client(), c.peer.TLS)
	}
	if !o.NeedCert || who.Verified || o.TLSLevel != "encrypt" && !o.TLSWrapper {
		return true
	}
	why := "No client certificate presented"
	if who.Present {
		why = "Client certificate not trusted"
	}
	c.s.deps.Log.SMTPDNoCert(c.st.Client(), why)
	c.reply("421 4.7.1 " + o.Hostname + " Error: " + why)
	c.hangup = true
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
