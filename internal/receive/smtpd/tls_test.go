package smtpd

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/sys/cert"

	"context"
	"packetboat/test/oracle"
)

// testTLS returns a server's configuration with a fresh certificate.
func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/both.pem"
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := cert.Open(file, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.TLSConfig(cert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// talk is a client that expects.
type talk struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func newTalk(t *testing.T, c net.Conn) *talk {
	c.SetDeadline(time.Now().Add(oracle.Patience))
	return &talk{t, c, bufio.NewReader(c)}
}

func (k *talk) send(s string) { io.WriteString(k.c, s) }

func (k *talk) want(lines ...string) {
	k.t.Helper()
	for _, w := range lines {
		if msg := (&peer{}).answer(k.r, w); msg != "" {
			k.t.Fatal(msg)
		}
	}
}

func (k *talk) startTLS() {
	k.t.Helper()
	t := tls.Client(k.c, &tls.Config{InsecureSkipVerify: true})
	if err := t.Handshake(); err != nil {
		k.t.Fatal(err)
	}
	k.c, k.r = t, bufio.NewReader(t)
}

func tlsWorld(t *testing.T, change func(*world)) *world {
	w := newWorld()
	w.opts.TLSLevel, w.opts.TLSLog = "may", 1
	w.deps.TLS = testTLS(t)
	sock := t.TempDir() + "/auth.sock"
	startAuth(t, sock)
	w.deps.Auth = wire.New(func(context.Context) (net.Conn, error) { return net.Dial("unix", sock) })
	if change != nil {
		change(w)
	}
	return w.start(t)
}

// TestSASLRules is smtpd_sasl_security_options, and smtpd_sasl_tls_security_options in
// its place once there is TLS.
func TestSASLRules(t *testing.T) {
	w := tlsWorld(t, func(w *world) {
		w.opts.SASL, w.opts.SASLOptions, w.opts.SASLTLSOpts = true, []string{"noanonymous", "noplaintext"}, []string{"noanonymous"}
	})
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("EHLO x\r\n")
	k.want("250-mail.example.org", "250-PIPELINING", "250-SIZE 200000", "250-VRFY", "250-ETRN", "250-STARTTLS", "250-ENHANCEDSTATUSCODES", "250*")
	k.send("AUTH PLAIN AGFsaWNlAGFwdw==\r\nSTARTTLS\r\n")
	k.want("454 4.7.0 Temporary authentication failure: *", "220 2.0.0 Ready to start TLS")
	k.startTLS()
	k.send("EHLO y\r\n")
	k.want("250-mail.example.org", "250-PIPELINING", "250-SIZE 200000", "250-VRFY", "250-ETRN", "250-AUTH PLAIN LOGIN", "250*")
	k.send("AUTH PLAIN AGFsaWNlAGFwdw==\r\nQUIT\r\n")
	k.want("235*", "221*")
}

func TestStartTLS(t *testing.T) {
	w := tlsWorld(t, func(w *world) { w.opts.SASL, w.opts.TLSAuthOnly = true, true })
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("EHLO x\r\n")
	k.want("250-mail.example.org", "250-PIPELINING", "250-SIZE 200000", "250-VRFY", "250-ETRN", "250-STARTTLS", "250-ENHANCEDSTATUSCODES", "250*")
	k.send("AUTH PLAIN AGFsaWNlAGFwdw==\r\n")
	k.want("503 5.5.1 Error: authentication not enabled")
	k.send("MAIL FROM:<a@b.test>\r\nSTARTTLS\r\n")
	k.want("250*", "220 2.0.0 Ready to start TLS")
	k.startTLS()
	// RFC 3207 section 4.2: what was said before is forgotten.
	k.send("RCPT TO:<alice@localhost>\r\nSTARTTLS\r\nEHLO y\r\n")
	k.want("503 5.5.1 Error: need MAIL command", "554 5.5.1 Error: TLS already active",
		"250-mail.example.org", "250-PIPELINING", "250-SIZE 200000", "250-VRFY", "250-ETRN", "250-AUTH PLAIN LOGIN", "250*")
	k.send("AUTH PLAIN AGFsaWNlAGFwdw==\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<z@else.test>\r\nDATA\r\n")
	k.want("235*", "250*", "250*", "354*")
	k.send("a: b\r\n\r\n.\r\nQUIT\r\n")
	k.want("250*", "221*")
	m := w.queue.messages()
	if len(m) != 1 {
		t.Fatalf("%d messages", len(m))
	}
	p := m[0].env.Peer
	if p.Proto != "ESMTP" || p.User != "alice" || p.SASL != "PLAIN" || !strings.HasPrefix(p.TLS, "TLSv1.3 with cipher TLS_") || p.Helo != "y" {
		t.Errorf("peer is %+v", p)
	}
	line := "Anonymous TLS connection established from unknown[127.0.0.3]: TLSv1.3 with cipher TLS_*/*bits) key-exchange * server-signature ECDSA (P-256)"
	if !oracle.Await(func() bool { return hasLine(w.log.all(), line) }) {
		t.Errorf("no TLS line in %q", w.log.all())
	}
	if !oracle.Await(func() bool {
		return hasLine(w.log.all(), "disconnect from unknown[127.0.0.3] ehlo=2 starttls=1/2 auth=1/2 mail=2 rcpt=1/2 data=1 quit=1 commands=9/12")
	}) {
		t.Errorf("no disconnect line in %q", w.log.all())
	}
}

// TestStartTLSInjection sends commands in the clear right behind STARTTLS: they
// must never be answered inside TLS (CVE-2011-0411 and its kin).
func TestStartTLSInjection(t *testing.T) {
	w := tlsWorld(t, nil)
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("EHLO x\r\nSTARTTLS\r\nRSET\r\nMAIL FROM:<evil@b.test>\r\n")
	k.want("250*", "220 2.0.0 Ready to start TLS")
	k.startTLS()
	k.send("NOOP\r\nRCPT TO:<alice@localhost>\r\n")
	k.want("250 2.0.0 Ok", "503 5.5.1 Error: need MAIL command")
}

func TestStartTLSWithoutCertificate(t *testing.T) {
	w := newWorld()
	w.opts.TLSLevel = "may"
	w.start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("STARTTLS\r\n")
	k.want("502 5.5.1 Error: command not implemented")
}

func TestTLSRequired(t *testing.T) {
	w := tlsWorld(t, func(w *world) { w.opts.TLSLevel = "encrypt" })
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	for _, c := range []string{"MAIL FROM:<x>", "RSET", "VRFY a", "DATA", "BDAT 3", "AUTH PLAIN AAAA", "RCPT TO:<x>"} {
		k.send(c + "\r\n")
		k.want("530 5.7.0 Must issue a STARTTLS command first")
	}
	k.send("NOOP\r\nHELO x\r\nFOO\r\nSTARTTLS\r\n")
	k.want("250 2.0.0 Ok", "250 mail.example.org", "500*", "220*")
	k.startTLS()
	k.send("MAIL FROM:<x>\r\n")
	k.want("250 2.1.0 Ok")
}

func TestWrapperMode(t *testing.T) {
	w := tlsWorld(t, func(w *world) { w.opts.TLSLevel, w.opts.TLSWrapper = "encrypt", true })
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.startTLS()
	k.want("220*")
	k.send("EHLO x\r\nSTARTTLS\r\nQUIT\r\n")
	k.want("250*", "554 5.5.1 Error: TLS already active", "221*")
	// A client that speaks in the clear gets nothing but a closed connection.
	k = newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.send("EHLO x\r\nMAIL FROM:<a@b>\r\n")
	b, _ := io.ReadAll(k.c)
	if strings.Contains(string(b), "250") {
		t.Errorf("clear text got %q", b)
	}
	if !oracle.Await(func() bool { return hasLine(w.log.all(), "SSL_accept error from unknown[127.0.0.3]: *") }) {
		t.Errorf("no error line in %q", w.log.all())
	}
}

func TestCipherNames(t *testing.T) {
	for id, want := range map[uint16]string{
		tls.TLS_AES_256_GCM_SHA384:                        "TLS_AES_256_GCM_SHA384 256",
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256 128",
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305 256",
		tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:            "ECDHE-RSA-AES256-SHA 256",
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256:               "AES128-GCM-SHA256 128",
	} {
		name, bits := cert.CipherName(id)
		if got := fmt.Sprint(name, " ", bits); got != want {
			t.Errorf("cipherName(%d) = %s, want %s", id, got, want)
		}
	}
}
