package cert

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// issue makes a self-signed certificate; kind is rsa, ecdsa or ed25519.
func issue(t testing.TB, name, kind string) (certPEM, keyPEM []byte) {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
}

func put(t testing.TB, path string, parts ...[]byte) string {
	t.Helper()
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shake does a handshake and returns the name on the certificate.
func shake(t testing.TB, c *tls.Config, serverName string) string {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go tls.Server(b, c).Handshake()
	client := tls.Client(a, &tls.Config{InsecureSkipVerify: true, ServerName: serverName})
	client.SetDeadline(time.Now().Add(oracle.Patience))
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		c, k := issue(t, kind+".test", kind)
		cf, kf := put(t, dir+"/c.pem", c), put(t, dir+"/k.pem", k)
		both := put(t, dir+"/both.pem", k, c)
		for _, files := range [][2]string{{cf, kf}, {both, ""}, {both, both}} {
			s, err := Open(files[0], files[1])
			if err != nil {
				t.Fatal(err)
			}
			conf, err := s.TLSConfig(Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := shake(t, conf, "x.test"); got != kind+".test" {
				t.Errorf("%s: certificate of %s", kind, got)
			}
			if d := time.Until(s.NotAfter()); d < 50*time.Minute || d > time.Hour {
				t.Errorf("expires in %v", d)
			}
		}
	}
}

func TestChainKeepsOrder(t *testing.T) {
	dir := t.TempDir()
	c1, k1 := issue(t, "one.test", "ecdsa")
	c2, k2 := issue(t, "two.test", "rsa")
	issuer, _ := issue(t, "issuer.test", "ecdsa")
	s, err := OpenChain(put(t, dir+"/a.pem", k1, c1, issuer), put(t, dir+"/b.pem", k2, c2))
	if err != nil {
		t.Fatal(err)
	}
	certs := s.state.Load().certs
	if len(certs) != 2 || len(certs[0].Certificate) != 2 || len(certs[1].Certificate) != 1 || certs[1].Leaf.Subject.CommonName != "two.test" {
		t.Errorf("chains: %d, %d and %d", len(certs), len(certs[0].Certificate), len(certs[1].Certificate))
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	c, k := issue(t, "a.test", "ecdsa")
	_, other := issue(t, "b.test", "ecdsa")
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	cf := put(t, dir+"/c.pem", c)
	for _, tt := range []struct{ cert, key, want string }{
		{dir + "/none.pem", "", "none.pem: no such file"},
		{cf, "", "c.pem: holds no private key"},
		{put(t, dir+"/k.pem", k), "", "k.pem: holds no certificate"},
		{cf, put(t, dir+"/other.pem", other), "other.pem: the private key belongs to none of the certificates"},
		{cf, put(t, dir+"/locked.pem", locked), "locked.pem: the private key is locked with a password"},
		{put(t, dir+"/text.pem", []byte("hello")), "", "text.pem: holds no certificate"},
		{put(t, dir+"/bad.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "", "bad.pem: bad certificate"},
		{dir, "", "not a regular file"},
	} {
		_, err := Open(tt.cert, tt.key)
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%s, %s): %v, want %s", tt.cert, tt.key, err, tt.want)
			continue
		}
		if strings.Contains(tt.want, "no such") && (e.Hint == "" || !errors.Is(err, fs.ErrNotExist)) {
			t.Errorf("%v has no hint or no cause", err)
		}
		if strings.Contains(err.Error()+e.Hint, "BEGIN PRIVATE KEY-----\n") {
			t.Error("an error holds a key")
		}
	}
}

// TestRenewal: a renewed certificate is taken up by itself; a broken one leaves
// the former in use and is told once.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	c, k := issue(t, "old.test", "ecdsa")
	file := put(t, dir+"/cert.pem", c, k)
	s, err := Open(file, "")
	if err != nil {
		t.Fatal(err)
	}
	conf, _ := s.TLSConfig(Options{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var renewed, failed atomic.Int64
	go s.Watch(ctx, func(err error) {
		if err != nil {
			failed.Add(1)
			return
		}
		renewed.Add(1)
	})
	c, k = issue(t, "new.test", "ecdsa")
	put(t, dir+"/tmp", c, k)
	if err := os.Rename(dir+"/tmp", file); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return renewed.Load() == 1 })
	if got := shake(t, conf, ""); got != "new.test" {
		t.Errorf("still %s", got)
	}
	put(t, file, []byte("rubbish"))
	wait(t, func() bool { return failed.Load() == 1 })
	put(t, file, []byte("rubbish again"))
	time.Sleep(500 * time.Millisecond)
	if failed.Load() != 1 || shake(t, conf, "") != "new.test" {
		t.Errorf("%d complaints", failed.Load())
	}
}

func wait(t *testing.T, ok func() bool) {
	t.Helper()
	for range 400 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nothing happened")
}

func TestSNI(t *testing.T) {
	dir := t.TempDir()
	stores := map[string]*Store{}
	for _, n := range []string{"main.test", "one.test"} {
		c, k := issue(t, n, "ecdsa")
		s, err := Open(put(t, filepath.Join(dir, n), c, k), "")
		if err != nil {
			t.Fatal(err)
		}
		stores[n] = s
	}
	main := stores["main.test"]
	main.SetSNI(func(name string) *Store { return stores[name] })
	conf, _ := main.TLSConfig(Options{})
	for ask, want := range map[string]string{"ONE.test": "one.test", "two.test": "main.test", "": "main.test"} {
		if got := shake(t, conf, ask); got != want {
			t.Errorf("%q got %s", ask, got)
		}
	}
}

func TestRange(t *testing.T) {
	for words, want := range map[string]string{
		"":                              "303-304",
		">=TLSv1":                       "301-304",
		">=TLSv1.2":                     "303-304",
		"!SSLv2 !SSLv3":                 "301-304",
		"!SSLv2 !SSLv3 !TLSv1 !TLSv1.1": "303-304",
		"TLSv1.2":                       "303-303",
		"TLSv1.2 TLSv1.3":               "303-304",
		"<=TLSv1.2":                     "301-303",
		"!TLSv1.2":                      "304-304",
		"!TLSv1.3":                      "301-303",
		">=TLSv1.3 !TLSv1.3":            "error",
		"TLSv9":                         "error",
	} {
		lo, hi, err := Range(strings.Fields(words))
		got := fmt.Sprintf("%x-%x", lo, hi)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("Range(%q) = %s, want %s", words, got, want)
		}
	}
}

// TestForeignReader: a process that may not read keys asks another one.
func TestForeignReader(t *testing.T) {
	c, k := issue(t, "far.test", "ecdsa")
	files := map[string][]byte{"/etc/c": c, "/etc/k": k}
	s, err := OpenWith(func(p string) ([]byte, error) { return files[p], nil }, "/etc/c", "/etc/k")
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Reload(); changed || err != nil {
		t.Errorf("unchanged files: %v %v", changed, err)
	}
	files["/etc/c"], files["/etc/k"] = issue(t, "farther.test", "ecdsa")
	if changed, err := s.Reload(); !changed || err != nil || s.Leaf().Subject.CommonName != "farther.test" {
		t.Errorf("changed files: %v %v", changed, err)
	}
}

func FuzzParse(f *testing.F) {
	c, k := issue(f, "a.test", "ecdsa")
	f.Add(append(c, k...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		certs, err := parse([]string{"x"}, [][]byte{b})
		if err == nil && len(certs) == 0 {
			t.Fatal("no certificate and no error")
		}
	})
}
