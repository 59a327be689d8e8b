package wiring

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"packetboat/internal/receive/smtpd"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// issue writes a certificate and its key into one file.
func issue(t *testing.T, file, name string, useRSA bool) string {
	t.Helper()
	var key any
	var pub any
	if useRSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key, pub = k, k.Public()
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, pub = k, k.Public()
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	kb, _ := x509.MarshalPKCS8PrivateKey(key)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// serverTLS opens the TLS of a main.cf.
func serverTLS(t *testing.T, text string) (*tls.Config, bool, smtpd.Options, error) {
	t.Helper()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\n"+text), 0o644)
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	k := &Kit{Main: m}
	var o smtpd.Options
	tc, ca, err := k.ServerTLS(m, &o, maillog.To(newTestLog(t), maillog.Options{}).Program("smtpd"))
	return tc, ca != nil, o, err
}

// testLog shows the log where a test fails. The watchers of certificates write to it
// as long as the process lives: what comes after the test is nobody's.
type testLog struct {
	mu sync.Mutex
	t  *testing.T // nil once the test is over
}

func newTestLog(t *testing.T) *testLog {
	l := &testLog{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return l
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Logf("%s", p)
	}
	return len(p), nil
}

// name is that on the certificate a client gets.
func name(t *testing.T, conf *tls.Config, sni string, suites ...uint16) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		b, err := l.Accept()
		if err != nil {
			return
		}
		defer b.Close()
		b.SetDeadline(time.Now().Add(oracle.Patience))
		if err := tls.Server(b, conf).Handshake(); err != nil {
			t.Log(err)
		}
		b.Read(make([]byte, 1))
	}()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	cc := &tls.Config{InsecureSkipVerify: true, ServerName: sni, CipherSuites: suites}
	if len(suites) > 0 {
		cc.MaxVersion = tls.VersionTLS12
	}
	c := tls.Client(a, cc)
	c.SetDeadline(time.Now().Add(oracle.Patience))
	if err := c.Handshake(); err != nil {
		t.Log(err)
		return "error"
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestServerTLS(t *testing.T) {
	dir := t.TempDir()
	main := issue(t, dir+"/rsa.pem", "rsa.test", true)
	ec := issue(t, dir+"/ec.pem", "ec.test", false)
	other := issue(t, dir+"/other.pem", "other.test", false)
	names := dir + "/names"
	os.WriteFile(names, []byte("other.test "+other+"\n.sub.test "+other+"\n"), 0o644)
	text := "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = " + main + "\nsmtpd_tls_eccert_file = " + ec +
		"\nsmtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = " + other + "\nsmtpd_tls_ccert_verifydepth = 2\n" +
		"tls_server_sni_maps = texthash:" + names + "\ntls_ssl_options = NO_TICKET\n" +
		"smtpd_tls_exclude_ciphers = AES128\nsmtpd_tls_ciphers = high\nsmtpd_tls_mandatory_exclude_ciphers = CHACHA20\nsmtpd_tls_mandatory_ciphers = high\n" +
		"smtpd_tls_eecdh_grade = auto\ntls_eecdh_auto_curves = prime256v1\n"
	conf, ca, o, err := serverTLS(t, text)
	if err != nil || !ca || o.TLSLevel != "may" || conf.ClientAuth != tls.RequestClientCert || !conf.SessionTicketsDisabled {
		t.Fatalf("%v %v %+v", err, ca, o)
	}
	if !slices.Equal(conf.CurvePreferences, []tls.CurveID{tls.CurveP256}) {
		t.Errorf("curves are %v", conf.CurvePreferences)
	}
	for sni, want := range map[string]string{"other.test": "other.test", "OTHER.test": "other.test", "a.sub.test": "other.test", "sub.test": "", "x.test": ""} {
		got := name(t, conf, sni)
		if want == "" && got != "rsa.test" && got != "ec.test" || want != "" && got != want {
			t.Errorf("%s gets %s", sni, got)
		}
	}
	if got := name(t, conf, "x.test", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384); got != "ec.test" {
		t.Errorf("a client with ECDSA alone gets %s", got)
	}
	if got := name(t, conf, "x.test", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384); got != "rsa.test" {
		t.Errorf("a client with RSA alone gets %s", got)
	}
	if got := name(t, conf, "x.test", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256); got != "error" {
		t.Errorf("an excluded cipher gets %s", got)
	}
	if got := name(t, conf, "x.test", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256); got != "rsa.test" {
		t.Errorf("what only encrypt excludes gets %s", got)
	}
	conf, _, _, err = serverTLS(t, text+"smtpd_tls_security_level = encrypt\n")
	if err != nil || name(t, conf, "x.test", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) != "error" {
		t.Errorf("encrypt: %v", err)
	}
	_, _, o, err = serverTLS(t, text+"smtpd_tls_security_level = verify\n")
	if err != nil || o.TLSLevel != "encrypt" {
		t.Errorf("a client's level becomes %s, %v", o.TLSLevel, err)
	}
	if _, _, _, err = serverTLS(t, text+"smtpd_tls_security_level = encrypt\ntls_server_sni_maps = texthash:/nowhere\n"); err == nil {
		t.Error("a certificate that is not there is taken")
	}
}

// TestOldTLS: TLS 1.0 and 1.1 are spoken only where main.cf asks for them.
func TestOldTLS(t *testing.T) {
	file := issue(t, filepath.Join(t.TempDir(), "pem"), "mail.test", false)
	base := "smtpd_tls_chain_files = " + file + "\n"
	for text, want := range map[string]uint16{
		"smtpd_tls_security_level = may\n":                                                           tls.VersionTLS12,
		"smtpd_tls_security_level = encrypt\n":                                                       tls.VersionTLS12,
		"smtpd_tls_security_level = may\nsmtpd_tls_protocols = >=TLSv1\n":                            tls.VersionTLS10,
		"smtpd_tls_security_level = may\nsmtpd_tls_mandatory_protocols = >=TLSv1\n":                  tls.VersionTLS12,
		"smtpd_tls_security_level = encrypt\nsmtpd_tls_mandatory_protocols = !SSLv3, !TLSv1\n":       tls.VersionTLS11,
		"smtpd_tls_security_level = encrypt\nsmtpd_tls_mandatory_protocols = $smtpd_tls_protocols\n": tls.VersionTLS10,
	} {
		tc, _, _, err := serverTLS(t, base+text)
		if err != nil || tc.MinVersion != want {
			t.Errorf("%q: %x %v, want %x", text, tc.MinVersion, err, want)
		}
	}
}
