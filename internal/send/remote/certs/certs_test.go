package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"strings"
	"testing"
)

func TestCertificateNames(t *testing.T) {
	for _, tc := range []struct {
		name, pattern string
		want          bool
	}{{"a.test", "a.test", true}, {"*.b.test", "a.b.test", true}, {"*.b.test", "b.test", false}, {"*.test", "a.test", false}, {"*", "test", false},
		{"*.b.test", "c.a.b.test", true}, {"a*.b.test", "ax.b.test", false}, {"x.a.test", ".a.test", true}, {"a.test", ".a.test", false}, {"xa.test", ".a.test", false}} {
		if sameName(tc.name, tc.pattern) != tc.want {
			t.Errorf("%s for %s", tc.name, tc.pattern)
		}
	}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "cn.test"}, DNSNames: []string{"dns.test"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.1")}}
	if Has(c, "cn.test") || !Has(c, "192.0.2.1") || Has(c, "") || Has(c, ".") {
		t.Error("wrong names")
	}
}

func TestCipherNames(t *testing.T) {
	for id, want := range map[uint16]string{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: "ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_RSA_WITH_AES_256_CBC_SHA: "AES256-SHA",
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305", tls.TLS_AES_256_GCM_SHA384: "TLS_AES_256_GCM_SHA384",
		tls.TLS_RSA_WITH_AES_128_CBC_SHA256: "AES128-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: "ECDHE-RSA-AES256-SHA"} {
		if got, _ := cipherName(id); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for _, id := range Suites([]string{"kRSA", "SHA1"}) {
		if name, _ := cipherName(id); !strings.HasPrefix(name, "ECDHE") || strings.HasSuffix(name, "-SHA") {
			t.Errorf("%s is offered", name)
		}
	}
}
