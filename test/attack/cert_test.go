package attack

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
	"packetboat/test/sandbox"
)

// certificate writes a key and a certificate for name into one file, in place of
// what was there, as certbot and its kin do.
func certificate(t *testing.T, file, name string, days int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	kb, _ := x509.MarshalPKCS8PrivateKey(key)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// greet begins a TLS session with smtps, reads the greeting (behind which session
// tickets have come) and tells whose certificate it was.
func greet(t *testing.T, s *sandbox.Sandbox, name string, cache tls.ClientSessionCache) (whose string, resumed bool) {
	t.Helper()
	c, err := tls.Dial("tcp", s.Addr(465), &tls.Config{ServerName: name, InsecureSkipVerify: true, ClientSessionCache: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	if l, err := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(l, "220 ") {
		t.Fatalf("%q %v", l, err)
	}
	state := c.ConnectionState()
	return state.PeerCertificates[0].Subject.CommonName, state.DidResume
}

// TestCertificates: a running system serves each name its certificate, takes up a
// renewed one by itself, says which one ends soon, and resumes sessions.
func TestCertificates(t *testing.T) {
	s := sandbox.Start(t)
	dir := filepath.Join(s.Dir, "etc/ssl")
	certificate(t, dir+"/one.pem", "one.test", 100)
	certificate(t, dir+"/other.pem", "other.test", 10)
	certificate(t, dir+"/below.pem", "*.below.test", 100)
	sni := "other.test " + dir + "/other.pem\n.below.test " + dir + "/below.pem\n"
	if err := os.WriteFile(s.Dir+"/etc/sni", []byte(sni), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := s.Command("postconf", "-e", "smtpd_tls_chain_files="+dir+"/one.pem", "tls_server_sni_maps=texthash:"+s.Dir+"/etc/sni").CombinedOutput()
	if err != nil {
		t.Fatalf("postconf: %v %s", err, out)
	}
	s.Stop()
	s.Start()
	for name, want := range map[string]string{"other.test": "other.test", "a.below.test": "*.below.test", "below.test": "one.test", "unknown.test": "one.test"} {
		if got, _ := greet(t, s, name, nil); got != want {
			t.Errorf("%s gets the certificate of %s", name, got)
		}
	}
	if !oracle.Await(func() bool {
		return strings.Contains(s.Log(), "warning: certificate "+dir+"/other.pem of other.test expires in 10 days\n")
	}) {
		t.Errorf("the log does not warn of a certificate that ends soon: %s", s.Log())
	}
	if strings.Contains(s.Log(), "of one.test expires") {
		t.Error("the log warns of a certificate that lasts")
	}
	cache := tls.NewLRUClientSessionCache(4)
	if _, resumed := greet(t, s, "one.test", cache); resumed {
		t.Error("the first session was resumed")
	}
	if _, resumed := greet(t, s, "one.test", cache); !resumed {
		t.Error("the second session was not resumed")
	}
	certificate(t, dir+"/one.pem", "renewed.test", 100)
	certificate(t, dir+"/other.pem", "other-renewed.test", 100)
	for name, want := range map[string]string{"one.test": "renewed.test", "other.test": "other-renewed.test"} {
		if !oracle.Await(func() bool { got, _ := greet(t, s, name, nil); return got == want }) {
			t.Errorf("the renewed certificate of %s is not taken up", name)
		}
	}
	if !oracle.Await(func() bool { return strings.Contains(s.Log(), "certificate "+dir+"/one.pem renewed\n") }) {
		t.Error("the log does not tell of the renewal")
	}
}
