package remote

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// list is a table.
type list map[string]string

func (l list) Lookup(_ context.Context, key string) (string, bool, error) {
	if key == "broken" || l["*"] == "broken" {
		return "", false, errors.New("no such server")
	}
	v, ok := l[key]
	return v, ok, nil
}

// authority makes certificates for the tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, _ = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out, key, der
}

// pool is what trusts it.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// leaf makes a host's certificate; a nil authority signs with its own key.
func (a *authority) leaf(t *testing.T, change func(*x509.Certificate), names ...string) *tls.Certificate {
	if a == nil {
		a = &authority{t: t}
	}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "common.test"}, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(c)
	}
	leaf, key, der := a.sign(c)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// server is a scripted host with TLS: fn runs one connection.
type server struct {
	t    *testing.T
	cert *tls.Certificate
	mu   sync.Mutex
	said []string // what the client sent
	n    int      // connections
	addr string
}

// scripted starts a host; the lines are those of play, "t" starts TLS.
func scripted(t *testing.T, cert *tls.Certificate, lines ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cert: cert, addr: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.run(c, lines) })
		}
	}()
	return s
}

func (s *server) run(c net.Conn, lines []string) {
	defer func() { c.Close() }()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	for _, l := range lines {
		kind, text, _ := strings.Cut(l, " ")
		switch kind {
		case "s":
			io.WriteString(c, strings.ReplaceAll(text, "|", "\r\n")+"\r\n")
		case "c":
			got, err := readLine(c)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.said = append(s.said, got)
			s.mu.Unlock()
			if !strings.HasPrefix(got, text) {
				s.t.Errorf("server expected %q, got %q", text, got)
			}
			if got == "QUIT" || !strings.HasPrefix(got, text) {
				return
			}
		case "t":
			tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*s.cert}, MinVersion: tls.VersionTLS10})
			if tc.Handshake() != nil {
				return
			}
			c = tc
		case "h": // wait for the client's first byte
			c.Read(make([]byte, 1))
		case "x":
			return
		}
	}
	for {
		if got, err := readLine(c); err != nil || got == "QUIT" {
			return
		}
	}
}

// seen returns how many connections there were and what the client said.
func (s *server) seen() (int, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n, slices.Clone(s.said)
}

// readLine reads byte by byte, so that nothing of a handshake is read ahead.
func readLine(c net.Conn) (string, error) {
	var b []byte
	for one := make([]byte, 1); ; {
		if _, err := c.Read(one); err != nil {
			return "", err
		}
		if b = append(b, one[0]); one[0] == '\n' {
			return strings.TrimRight(string(b), "\r\n"), nil
		}
	}
}

// deliver sends one message to a host on loopback that is called name.
func deliver(t *testing.T, o Options, s *server, name string) (mail.Result, string) {
	t.Helper()
	var log bytes.Buffer
	o.Hostname, o.Log = "client.example.org", maillog.To(&log, maillog.Options{})
	_, port, _ := net.SplitHostPort(s.addr)
	o.Resolver = zone(t, name+". 60 IN A 127.0.0.1")
	tr := New(o)
	var out mail.Result
	job := &mail.Job{ID: "0123456", Env: &mail.Envelope{Sender: "a@b.test", Arrived: time.Now()}, Size: 2,
		Nexthop: "[" + name + "]:" + port, Rcpts: []mail.Rcpt{{Addr: "x@y.test"}},
		Open:   func() (mail.Content, error) { return mail.Content{}, errors.New("not asked for") },
		Report: func(_ int, r mail.Result) { out = r }}
	tr.Deliver(t.Context(), job)
	return out, log.String()
}

// later ends a script: the message itself is of no interest.
var later = []string{"c MAIL", "s 450 4.1.1 later"}

func script2(head ...string) []string { return append(head[:len(head):len(head)], later...) }

func sasl4(pw string) *SASL {
	return &SASL{Passwords: list{"smart.test": pw}, Clear: []string{"noanonymous"}, TLS: []string{"noanonymous"},
		Verified: []string{"noanonymous"}, SoftBounce: true}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestLogin holds the dialogues and texts against those of smtp(8) 3.7 with the
// same scripts.
func TestLogin(t *testing.T) {
	strict := sasl4("user:pass")
	strict.Clear = []string{"noplaintext", "noanonymous"}
	filtered := sasl4("user:pass")
	filtered.Allowed = func(_ context.Context, m string) (bool, error) { return m == "CRAM-MD5", nil }
	hard := sasl4("user:pass")
	hard.SoftBounce = false
	sender := sasl4("user:pass")
	sender.Sender = func(context.Context, mail.Address) (string, bool, error) { return "other:word", true, nil }
	cannot := "SASL authentication failed; cannot authenticate to server smart.test[127.0.0.1]: "
	incompatible := "SASL authentication failed: server smart.test[127.0.0.1] offered no compatible authentication mechanisms for this type of connection security"
	for _, tc := range []struct {
		name  string
		sasl  *SASL
		lines []string
		code  string
		text  string
		log   string
	}{
		{"plain", sasl4("user:pa:ss"), script2("s 250 AUTH PLAIN", "c AUTH PLAIN "+b64("\x00user\x00pa:ss"), "s 235 ok"), "4.1.1", "450 4.1.1 later", ""},
		{"old form", sasl4("user:pass"), script2("s 250 AUTH=PLAIN", "c AUTH PLAIN", "s 235 ok"), "4.1.1", "later", ""},
		{"login", sasl4("user:pass"), script2("s 250 AUTH LOGIN", "c AUTH LOGIN", "s 334 VXNlciBOYW1lAA==", "c "+b64("user"), "s 334 UGFzc3dvcmQ6", "c "+b64("pass"), "s 235 ok"), "4.1.1", "later", ""},
		{"cram", sasl4("tim:tanstaaftanstaaf"), script2("s 250 AUTH PLAIN CRAM-MD5", "c AUTH CRAM-MD5", "s 334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+", // RFC 2195 section 2
			"c "+b64("tim b913a602c7eda7a495b4e6e7334d3890"), "s 235 ok"), "4.1.1", "later", ""},
		{"by sender", sender, script2("s 250 AUTH PLAIN", "c AUTH PLAIN "+b64("\x00other\x00word"), "s 235 ok"), "4.1.1", "later", ""},
		{"stranger", &SASL{Passwords: list{}}, script2("s 250 AUTH PLAIN"), "4.1.1", "later", ""},
		{"not offered", sasl4("user:pass"), script2("s 250 SIZE"), "4.1.1", "later", ""},
		{"wrong password", sasl4("user:pass"), []string{"s 250 AUTH PLAIN", "c AUTH", "s 535 5.7.8 Error: authentication failed", "c QUIT"}, "4.7.8", "SASL authentication failed; server smart.test[127.0.0.1] said: 535 5.7.8 Error: authentication failed", ""},
		{"hard", hard, []string{"s 250 AUTH PLAIN", "c AUTH", "s 535 5.7.8 no", "c QUIT"}, "5.7.8", "said: 535 5.7.8 no", ""},
		{"unknown mechanisms", sasl4("user:pass"), []string{"s 250 AUTH GSSAPI XOAUTH2", "c QUIT"}, "4.7.0", cannot + "no mechanism available", "warning: SASL authentication failure: No worthy mechs found"},
		{"downgrade", strict, []string{"s 250 AUTH PLAIN LOGIN", "c QUIT"}, "4.7.0", cannot + "no mechanism available", "No worthy mechs"},
		{"filter", filtered, []string{"s 250-AUTH PLAIN LOGIN|250 AUTH=PLAIN", "c QUIT"}, "4.7.0", incompatible, "offered no supported AUTH mechanisms: 'PLAIN LOGIN PLAIN'"},
		{"empty list", sasl4("user:pass"), []string{"s 250 AUTH", "c QUIT"}, "4.7.0", incompatible, "offered null AUTH mechanism list"},
		{"bad scram", sasl4("user:pass"), []string{"s 250 AUTH SCRAM-SHA-256", "c AUTH SCRAM-SHA-256 ", "s 334 " + b64("nonsense"), "c *", "s 501 x"}, "4.7.0", cannot + "bad protocol / cancel", ""},
		{"endless scram", sasl4("user:pass"), []string{"s 250 AUTH SCRAM-SHA-1", "c AUTH SCRAM-SHA-1 ", "s 334 " + b64("r=x,s=eHg=,i=2000000000"), "c *", "s 501 x"}, "4.7.0", cannot + "bad protocol / cancel", ""},
		{"unproven scram", sasl4("user:pass"), []string{"s 250 AUTH SCRAM-SHA-1", "c AUTH SCRAM-SHA-1 ", "s 235 welcome", "c QUIT"}, "4.7.0", cannot + "server failed mutual authentication step", ""},
		{"no base64", sasl4("user:pass"), []string{"s 250 AUTH CRAM-MD5", "c AUTH CRAM-MD5", "s 334 !!!!", "c *", "s 501 x"}, "4.7.0", cannot + "bad protocol / cancel", ""},
		{"asked twice", sasl4("user:pass"), []string{"s 250 AUTH PLAIN", "c AUTH PLAIN", "s 334 ", "c *", "s 501 x"}, "4.7.0", cannot + "generic failure", ""},
		{"table", &SASL{Passwords: list{"*": "broken"}}, nil, "4.3.0", "Temporary lookup error", "smtp_sasl_password_maps lookup error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := scripted(t, nil, append([]string{"s 220 x", "c EHLO", "s 250-smart"}, tc.lines...)...)
			r, log := deliver(t, Options{SASL: tc.sasl}, s, "smart.test")
			if r.Status.Code != tc.code || !strings.Contains(r.Status.Text, tc.text) || !strings.Contains(log, tc.log) {
				t.Errorf("got %s %q, want %s %q; log %s", r.Status.Code, r.Status.Text, tc.code, tc.text, log)
			}
			for _, secret := range []string{"pass", "pa:ss", "word:", b64("pass"), b64("\x00user\x00pass")} {
				if strings.Contains(strings.ReplaceAll(log, "password", ""), secret) || strings.Contains(r.Status.Text, secret) {
					t.Errorf("%q is told: %s %s", secret, log, r.Status.Text)
				}
			}
		})
	}
}

// TestCertificates holds levels against certificates, with the texts of smtp(8).
func TestCertificates(t *testing.T) {
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	good := ca.leaf(t, nil, "smart.test")
	sum := sha256.Sum256(good.Leaf.RawSubjectPublicKeyInfo)
	digest := strings.TrimSuffix(strings.ToUpper(hex.EncodeToString(sum[:])), "")
	colons := ""
	for i := 0; i < len(digest); i += 2 {
		colons += ":" + digest[i:i+2]
	}
	old := ca.leaf(t, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-40*time.Hour), time.Now().Add(-time.Hour)
	}, "smart.test")
	client := ca.leaf(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "smart.test")
	other, self := ca.leaf(t, nil, "other.test"), (*authority)(nil).leaf(t, nil, "smart.test")
	for _, tc := range []struct {
		name string
		o    Options
		cert *tls.Certificate
		ok   bool
		log  string
	}{
		{"may", Options{TLSLevel: "may", Roots: roots}, good, true, "Trusted TLS connection established to smart.test[127.0.0.1]:"},
		{"may, wrong name", Options{TLSLevel: "may", Roots: roots}, other, true, "Trusted TLS"},
		{"may, self-signed", Options{TLSLevel: "may", Roots: roots}, self, true, "Untrusted TLS"},
		{"may, expired", Options{TLSLevel: "may", Roots: roots}, old, true, "Untrusted TLS"},
		{"encrypt, nobody trusted", Options{TLSLevel: "encrypt"}, good, true, "Untrusted TLS"},
		{"verify", Options{TLSLevel: "verify", Roots: roots}, good, true, "Verified TLS"},
		{"verify, wrong name", Options{TLSLevel: "verify", Roots: roots}, other, false, "server certificate verification failed for smart.test[127.0.0.1]:"},
		{"verify, self-signed", Options{TLSLevel: "verify", Roots: roots}, self, false, ": self-signed certificate"},
		{"verify, expired", Options{TLSLevel: "verify", Roots: roots}, old, false, ": certificate has expired"},
		{"verify, purpose", Options{TLSLevel: "verify", Roots: roots}, client, false, "not designated for use as a server certificate"},
		{"verify, nobody trusted", Options{TLSLevel: "verify"}, good, false, "untrusted issuer /CN=Test CA"},
		{"secure", Options{TLSLevel: "secure", Roots: roots}, good, true, "Verified TLS"},
		{"secure, other name", Options{TLSLevel: "secure", Roots: roots, SecureMatch: "nexthop:other.test"}, other, true, "Verified TLS"},
		{"secure, wrong name", Options{TLSLevel: "secure", Roots: roots}, other, false, "num=62:hostname mismatch"},
		{"fingerprint", Options{TLSLevel: "fingerprint", FingerprintMatch: "00:11, " + colons[1:]}, good, true, "Verified TLS"},
		{"fingerprint, another", Options{TLSLevel: "fingerprint", FingerprintMatch: colons[1:]}, other, false, "no matching DANE TLSA records"},
		{"policy", Options{TLSLevel: "may", Roots: roots, TLSPolicy: list{"smart.test": "none"}}, other, true, "Trusted TLS"}, // [host]:port is exact
		{"never TLS 1.3", Options{TLSLevel: "encrypt", MandatoryTLS: "!TLSv1.3", Roots: roots}, good, true, "TLSv1.2 with cipher ECDHE-ECDSA-"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			end := script2("c EHLO", "s 250 smart")
			if !tc.ok {
				end = []string{"c QUIT"} // no MAIL, and politely
			}
			s := scripted(t, tc.cert, append([]string{"s 220 x", "c EHLO", "s 250-smart|250 STARTTLS", "c STARTTLS", "s 220 go", "t"}, end...)...)
			tc.o.TLSLog = 1
			r, log := deliver(t, tc.o, s, "smart.test")
			code := "4.1.1"
			if !tc.ok {
				code = "4.7.5"
			}
			if r.Status.Code != code || !tc.ok && r.Status.Text != "Server certificate not verified" {
				t.Errorf("got %s %q", r.Status.Code, r.Status.Text)
			}
			if !strings.Contains(log, tc.log) {
				t.Errorf("log %s, want %s", log, tc.log)
			}
		})
	}
}

// TestNotLowered holds that no host talks us out of TLS.
func TestNotLowered(t *testing.T) {
	cert := (*authority)(nil).leaf(t, nil, "smart.test")
	refused := "TLS is required, but host smart.test[127.0.0.1] refused to start TLS: 454 4.7.0 no"
	for _, l := range []string{"encrypt", "fingerprint", "verify", "secure", "Secure", "typing error"} {
		for _, tc := range []struct {
			name, code, text string
			lines            []string
		}{
			{"not offered", "4.7.4", "TLS is required, but was not offered by host smart.test[127.0.0.1]", []string{"s 220 x", "c EHLO", "s 250 smart", "c QUIT"}},
			{"HELO", "4.7.4", "was not offered", []string{"s 220 x", "c EHLO", "s 502 no", "c HELO", "s 250 smart", "c QUIT"}},
			{"refused", "4.7.0", refused, []string{"s 220 x", "c EHLO", "s 250-smart|250 STARTTLS", "c STARTTLS", "s 454 4.7.0 no", "c QUIT"}},
			{"injected", "4.7.0", "sent data in the clear", []string{"s 220 x", "c EHLO", "s 250-smart|250 STARTTLS", "c STARTTLS", "s 220 go|250-evil|250 AUTH PLAIN", "t", "c EHLO"}},
			{"hangs up", "4.7.5", "Cannot start TLS: handshake failure", []string{"s 220 x", "c EHLO", "s 250-smart|250 STARTTLS", "c STARTTLS", "s 220 go", "x"}},
			{"no TLS", "4.7.5", "Cannot start TLS: handshake failure", []string{"s 220 x", "c EHLO", "s 250-smart|250 STARTTLS", "c STARTTLS", "s 220 go", "h", "s 250 what is this"}},
		} {
			s := scripted(t, cert, tc.lines...)
			r, log := deliver(t, Options{TLSLevel: l, FingerprintMatch: "00:11", MinBackoff: 1, SASL: sasl4("user:pass")}, s, "smart.test")
			if r.Status.Code != tc.code || !strings.Contains(r.Status.Text, tc.text) {
				t.Errorf("%s, %s: got %s %q; %s", l, tc.name, r.Status.Code, r.Status.Text, log)
			}
			if n, _ := s.seen(); n != 1 {
				t.Errorf("%s, %s: %d connections", l, tc.name, n)
			}
		}
	}
}

// TestClearAfterFailure holds that mail which has waited goes in the clear where
// TLS was our wish alone, and never with a password.
func TestClearAfterFailure(t *testing.T) {
	for _, tc := range []struct {
		o Options
		n int
	}{{Options{TLSLevel: "may"}, 1}, {Options{TLSLevel: "may", MinBackoff: 1}, 2}, {Options{TLSLevel: "may", MinBackoff: 1, SASL: sasl4("u:p")}, 1}} {
		s := scripted(t, nil, "s 220 x", "c EHLO", "s 250-smart|250 STARTTLS", "c ", "s 220 go", "x")
		_, log := deliver(t, tc.o, s, "smart.test")
		if n, _ := s.seen(); n != tc.n {
			t.Errorf("%d connections, want %d: %s", n, tc.n, log)
		}
	}
}

// TestWrapper holds that the greeting is not read before the certificate is
// good, and that no password goes to a host that is not.
func TestWrapper(t *testing.T) {
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	o := Options{TLSLevel: "secure", TLSWrapper: true, Roots: roots, SASL: sasl4("user:pass"), TLSLog: 1}
	s := scripted(t, ca.leaf(t, nil, "smart.test"), script2("t", "s 220 x", "c EHLO", "s 250-smart|250 AUTH PLAIN", "c AUTH PLAIN", "s 235 ok")...)
	if r, log := deliver(t, o, s, "smart.test"); r.Status.Code != "4.1.1" || !strings.Contains(log, "Verified TLS") {
		t.Errorf("%s: %s", r.Status.Text, log)
	}
	s = scripted(t, ca.leaf(t, nil, "evil.test"), "t", "s 220 x", "c QUIT")
	r, _ := deliver(t, o, s, "smart.test")
	if _, said := s.seen(); r.Status.Code != "4.7.5" || len(said) > 1 {
		t.Errorf("%s %q", r.Status.Text, said)
	}
}

func TestPolicies(t *testing.T) {
	tr := New(Options{TLSLevel: "may", Hostname: "x", Log: maillog.To(io.Discard, maillog.Options{}), ExcludeCiphers: "aNULL", TLSPolicy: list{
		"a.test": "secure match=x.test:.y.test protocols=>=TLSv1.2 ciphers=high", "[a.test]:587": "encrypt", ".sub.test": "none",
		"fp.test": "fingerprint match=00:11|22:33 match=44:55", "bad1": "half-dane", "bad2": "encrypt match=x", "bad3": "secure tafile=/x", "bad4": " ",
		"bad5": "encrypt ciphers=high ciphers=low", "bad6": "secure match=", "bad7": "encrypt protocols=TLSv9", "bad8": "fingerprint", "bad9": "secure x"}})
	for dest, want := range map[string]string{"a.test": "secure", "[a.test]:587": "encrypt", "[a.test]": "may", "b.sub.test": "none",
		"c.b.sub.test": "none", "sub.test": "may", "fp.test": "fingerprint", "[c.sub.test]": "may", "b.sub.test:25": "may"} {
		p, err := tr.policyOf(t.Context(), dest, host{})
		if err != nil || p.level.String() != want {
			t.Errorf("%s: %v %v, want %s", dest, p.level, err, want)
		}
	}
	p, _ := tr.policyOf(t.Context(), "a.test", host{})
	if p.lo != tls.VersionTLS12 || strings.Join(p.match, " ") != "x.test .y.test" {
		t.Errorf("%+v", p)
	}
	for _, dest := range []string{"bad1", "bad2", "bad3", "bad4", "bad5", "bad6", "bad7", "bad8", "bad9", "broken"} {
		if _, err := tr.policyOf(t.Context(), dest, host{}); err == nil || err.Error() != errBadPolicy().Error() {
			t.Errorf("%s: %v", dest, err)
		}
	}
}

// TestNotShared holds that connections with different terms have different keys.
func TestNotShared(t *testing.T) {
	h := host{name: "smart.test", addr: netip.MustParseAddr("192.0.2.1"), port: "25"}
	seen := map[string]int{}
	for i, tm := range []terms{{}, {auth: true}, {auth: true, user: "a"}, {auth: true, user: "b"}, {auth: true, user: "a", secret: "x"}, {auth: true, user: "a", secret: "y"},
		{auth: true, user: "a \"", secret: "x"}, {policy: policy{level: levelMay}}, {policy: policy{level: levelSecure}}, {policy: policy{level: levelSecure, match: []string{"a"}}},
		{policy: policy{level: levelSecure}, domain: "other.test"}, {policy: policy{level: levelSecure, lo: tls.VersionTLS13}}} {
		k := tm.key(h)
		if j, ok := seen[k]; ok {
			t.Errorf("%d and %d share connections", i, j)
		}
		seen[k] = i
	}
}

func TestCheck(t *testing.T) {
	for _, o := range []Options{{TLSLevel: "half-dane"}, {TLSLevel: "x"}, {TLSLevel: "may", TLSWrapper: true},
		{FingerprintDigest: "crc32"}, {TLSProtocols: "SSLv9"}} {
		if param, why := o.Check(); param == "" || why == "" {
			t.Errorf("%+v passes", o)
		}
	}
	if param, why := (&Options{TLSLevel: "Encrypt", TLSWrapper: true, TLSProtocols: "!SSLv2, !SSLv3", FingerprintDigest: "md5"}).Check(); param != "" {
		t.Error(param, why)
	}
}
