package smtpd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"packetboat/internal/sys/cert"
	"packetboat/test/oracle"
)

// issueClient makes an authority and a client certificate that it signs; file
// holds the authority.
func issueClient(t *testing.T, file string) tls.Certificate {
	t.Helper()
	caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Our CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})))
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "client\n(x)"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestClientCertificates: a certificate of our authority is trusted, logged with
// its fingerprint, and required where that is asked for.
func TestClientCertificates(t *testing.T) {
	ca := t.TempDir() + "/ca.pem"
	client := issueClient(t, ca)
	auth, err := cert.OpenAuthorities(ca, "", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	w := tlsWorld(t, func(w *world) {
		w.opts.TLSLevel, w.opts.NeedCert, w.deps.Authorities = "encrypt", true, auth
		w.deps.TLS = w.deps.TLS.Clone()
		w.deps.TLS.ClientAuth = tls.RequestClientCert
	})
	shake := func(certs ...tls.Certificate) *talk {
		k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
		k.want("220*")
		k.send("STARTTLS\r\n")
		k.want("220*")
		c := tls.Client(k.c, &tls.Config{InsecureSkipVerify: true, Certificates: certs})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		return newTalk(t, c)
	}
	k := shake(client)
	k.send("EHLO x\r\n")
	k.want("250-mail.example.org", "250-PIPELINING", "250-SIZE 200000", "250-VRFY", "250-ETRN", "250-ENHANCEDSTATUSCODES", "250-8BITMIME",
		"250-DSN", "250-SMTPUTF8", "250-CHUNKING", "250-BINARYMIME", "250-REQUIRETLS", "250 LIMITS RCPTMAX=1000")
	k.send("MAIL FROM:<a@b.test> REQUIRETLS\r\n")
	k.want("250 2.1.0 Ok")
	shake().want("421 4.7.1 mail.example.org Error: No client certificate presented", "EOF")
	other := issueClient(t, t.TempDir()+"/other.pem")
	shake(other).want("421 4.7.1 mail.example.org Error: Client certificate not trusted", "EOF")
	want := []string{"unknown[127.0.0.3]: subject_CN=client??x?, issuer_CN=Our CA, fingerprint=*:*, pkey_fingerprint=*:*",
		"Trusted TLS connection established from unknown[127.0.0.3]: TLSv1.3*", "Untrusted TLS connection established from unknown[127.0.0.3]: TLSv1.3*",
		"NOQUEUE: abort: TLS from unknown[127.0.0.3]: No client certificate presented", "NOQUEUE: abort: TLS from unknown[127.0.0.3]: Client certificate not trusted"}
	for _, l := range want {
		if !oracle.Await(func() bool { return hasLine(w.log.all(), l) }) {
			t.Errorf("no line %q in\n%s", l, strings.Join(w.log.all(), "\n"))
		}
	}
}

// TestRequireTLSInTheClear: RFC 8689 section 2 offers it inside TLS only.
func TestRequireTLSInTheClear(t *testing.T) {
	w := newWorld().start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("MAIL FROM:<a@b.test> REQUIRETLS\r\n")
	k.want("555 5.5.4 Unsupported option: REQUIRETLS")
}

// TestThousandSessions: what 1,000 clients that wait cost this server. Both ends
// live in this process, so the figure is an upper bound.
func TestThousandSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	w := newWorld()
	w.opts.MaxSessions, w.opts.Timeout = 1200, 30*time.Second
	w.start(t)
	before := rss(t)
	for range 1000 {
		k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
		k.want("220*")
		k.send("EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\n")
		k.want("250*", "250*", "250*")
	}
	each := (rss(t) - before) / 1000
	t.Logf("a session within a transaction, and its client: %d bytes", each)
	if w.srv.Sessions() != 1000 || each > 48<<10 {
		t.Errorf("%d sessions, %d bytes each", w.srv.Sessions(), each)
	}
}

// rss is the memory of this process in bytes.
func rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	n := 0
	for _, c := range strings.Fields(string(b))[1] {
		n = n*10 + int(c-'0')
	}
	return n * os.Getpagesize()
}
