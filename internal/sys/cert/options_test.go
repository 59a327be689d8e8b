package cert

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSuites(t *testing.T) {
	for _, c := range []struct{ grade, exclude, gone, left string }{
		{"medium", "", "", ""},
		{"high", "aNULL, MD5, RC4, 3DES, DES", "", "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES256-SHA"},
		{"medium", "SHA1", "ECDHE-RSA-AES256-SHA", "ECDHE-RSA-AES256-GCM-SHA384"},
		{"high", "AES128 CHACHA20", "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{"high", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
		{"high", "ECDSA+AESGCM", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-CHACHA20-POLY1305"},
	} {
		ids, err := suites(c.grade, strings.FieldsFunc(c.exclude, func(r rune) bool { return r == ' ' || r == ',' }))
		if err != nil {
			t.Errorf("%s %s: %v", c.grade, c.exclude, err)
		}
		var names []string
		for _, id := range ids {
			n, _ := CipherName(id)
			names = append(names, n)
		}
		for _, n := range strings.Fields(c.gone) {
			if slices.Contains(names, n) {
				t.Errorf("%s without %s has %s", c.grade, c.exclude, n)
			}
		}
		for _, n := range strings.Fields(c.left) {
			if !slices.Contains(names, n) {
				t.Errorf("%s without %s has no %s: %s", c.grade, c.exclude, n, names)
			}
		}
	}
	for _, bad := range [][2]string{{"best", ""}, {"high", "ECDHE"}} {
		if _, err := suites(bad[0], strings.Fields(bad[1])); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// TestConfigured: what the options ask for is what a handshake gets.
func TestConfigured(t *testing.T) {
	c, k := issue(t, "a.test", "rsa")
	s, err := Open(put(t, t.TempDir()+"/c.pem", c, k), "")
	if err != nil {
		t.Fatal(err)
	}
	conf, err := s.TLSConfig(Options{Protocols: []string{"<=TLSv1.2"}, Exclude: []string{"AES128", "CHACHA20", "SHA1"}, CurveGrade: "ultra", NoTickets: true})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(conf.CurvePreferences) != "[CurveP384]" || !conf.SessionTicketsDisabled || conf.MaxVersion != tls.VersionTLS12 {
		t.Errorf("%+v", conf)
	}
	for _, id := range conf.CipherSuites {
		if n, _ := CipherName(id); !strings.Contains(n, "AES256-GCM") {
			t.Errorf("%s is left", n)
		}
	}
	if ids := named([]string{"X448", "prime256v1", "X25519"}); fmt.Sprint(ids) != "[CurveP256 X25519MLKEM768 X25519]" {
		t.Errorf("curves are %v", ids)
	}
	for _, grade := range []string{"none", "best"} {
		if _, err := s.TLSConfig(Options{CurveGrade: grade}); err == nil {
			t.Errorf("grade %s is taken", grade)
		}
	}
}

// TestExpiry: a certificate is told of when it ends within 14 days.
func TestExpiry(t *testing.T) {
	c, k := issue(t, "short.test", "ecdsa") // for an hour
	s, err := Open(put(t, t.TempDir()+"/c.pem", c, k), "")
	if err != nil {
		t.Fatal(err)
	}
	for ahead, want := range map[time.Duration]string{0: "short.test soon", -15 * 24 * time.Hour: "", 2 * time.Hour: "short.test over"} {
		got := ""
		s.expiring(time.Now().Add(ahead), func(name string, left time.Duration) {
			got = name + " soon"
			if left < 0 {
				got = name + " over"
			}
		})
		if got != want {
			t.Errorf("in %v: %q, want %q", ahead, got, want)
		}
	}
}

// TestFingerprint: known digests of a known certificate.
func TestFingerprint(t *testing.T) {
	c, k := issue(t, "a.test", "ecdsa")
	s, err := Open(put(t, t.TempDir()+"/c.pem", c, k), "")
	if err != nil {
		t.Fatal(err)
	}
	state := &tls.ConnectionState{PeerCertificates: nil}
	if got, err := Inspect(state, nil, ""); got.Present || err != nil {
		t.Errorf("%+v %v", got, err)
	}
	state.PeerCertificates = append(state.PeerCertificates, s.Leaf())
	for digest, n := range map[string]int{"md5": 16, "sha1": 20, "": 32, "sha256": 32, "sha384": 48, "sha512": 64} {
		got, err := Inspect(state, nil, digest)
		if err != nil || len(got.Finger) != 3*n-1 || len(got.PubKey) != 3*n-1 || got.Verified || got.Subject != "a.test" {
			t.Errorf("%s: %+v %v", digest, got, err)
		}
	}
	if _, err := Inspect(state, nil, "crc32"); err == nil {
		t.Error("crc32 is taken")
	}
}
