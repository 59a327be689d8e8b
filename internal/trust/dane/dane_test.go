package dane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"
)

// issue makes a certificate for name; parent nil = signed by itself.
func issue(t *testing.T, name string, ca bool, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out, key
}

func TestVerify(t *testing.T) {
	ca, caKey := issue(t, "ca.test", true, nil, nil)
	leaf, _ := issue(t, "mx.test", false, ca, caKey)
	other, _ := issue(t, "mx.test", false, nil, nil)
	s256 := func(b []byte) string { d := sha256.Sum256(b); return string(d[:]) }
	s512 := func(b []byte) string { d := sha512.Sum512(b); return string(d[:]) }
	spki := leaf.RawSubjectPublicKeyInfo
	for i, c := range []struct {
		r     Record
		chain []*x509.Certificate
		name  string
		ok    bool
	}{
		{Record{3, 1, 1, s256(spki)}, []*x509.Certificate{leaf}, "", true}, {Record{3, 1, 2, s512(spki)}, []*x509.Certificate{leaf}, "", true},
		{Record{3, 0, 1, s256(leaf.Raw)}, []*x509.Certificate{leaf}, "", true}, {Record{3, 0, 0, string(leaf.Raw)}, []*x509.Certificate{leaf}, "", true},
		{Record{3, 1, 1, s256(spki)}, []*x509.Certificate{other}, "mx.test", false}, {Record{3, 1, 1, s256(spki)}, []*x509.Certificate{other, leaf}, "mx.test", false},
		{Record{2, 0, 1, s256(ca.Raw)}, []*x509.Certificate{leaf, ca}, "mx.test", true}, {Record{2, 1, 1, s256(ca.RawSubjectPublicKeyInfo)}, []*x509.Certificate{leaf, ca}, "mx.test", true},
		{Record{2, 0, 1, s256(ca.Raw)}, []*x509.Certificate{leaf, ca}, "evil.test", false}, {Record{2, 0, 1, s256(ca.Raw)}, []*x509.Certificate{leaf}, "mx.test", false},
		{Record{2, 0, 0, string(ca.Raw)}, []*x509.Certificate{leaf}, "mx.test", true}, {Record{2, 0, 1, s256(ca.Raw)}, []*x509.Certificate{other, ca}, "mx.test", false},
		{Record{3, 1, 1, s256(spki)}, nil, "mx.test", false},
	} {
		if len(Usable([]Record{c.r}, nil)) != 1 {
			t.Errorf("%d: not usable", i)
		}
		if err := Verify(c.chain, []Record{c.r}, []string{c.name}); (err == nil) != c.ok {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := Verify([]*x509.Certificate{leaf}, nil, nil); !errors.Is(err, ErrNoMatch) {
		t.Error(err)
	}
}

func TestUsable(t *testing.T) {
	for _, r := range []Record{{0, 0, 1, string(make([]byte, 32))}, {1, 1, 1, string(make([]byte, 32))}, {3, 2, 1, string(make([]byte, 32))}, {3, 1, 3, "x"}, {3, 1, 1, "short"}, {3, 1, 0, ""}, {3, 1, 2, string(make([]byte, 32))}} {
		if len(Usable([]Record{r}, nil)) != 0 {
			t.Errorf("%+v is usable", r)
		}
	}
}

// TestDigests is tls_dane_digests: of records that differ in the digest alone the best
// counts, and one that is not in the list does not.
func TestDigests(t *testing.T) {
	long, short, whole := Record{3, 1, 2, string(make([]byte, 64))}, Record{3, 1, 1, string(make([]byte, 32))}, Record{3, 1, 0, "key"}
	other := Record{2, 0, 1, string(make([]byte, 32))}
	all := []Record{short, long, whole, other}
	for _, c := range []struct {
		digests []string
		want    []Record
	}{
		{nil, []Record{whole, long, other}},
		{[]string{"sha512", "sha256"}, []Record{whole, long, other}},
		{[]string{"SHA256", "sha512"}, []Record{whole, short, other}},
		{[]string{"sha512"}, []Record{whole, long}},
		{[]string{"sha1"}, []Record{whole}},
	} {
		if got := Usable(all, c.digests); !slices.Equal(got, c.want) {
			t.Errorf("%v: %+v", c.digests, got)
		}
	}
}
