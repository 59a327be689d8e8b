package cert

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"strings"
)

// Describe says what a handshake agreed on in OpenSSL's words, as Postfix's log
// and Received header have it: "TLSv1.3 with cipher TLS_AES_128_GCM_SHA256
// (128/128 bits) key-exchange X25519 server-signature ECDSA (P-256)". conf is the
// server's configuration, for the kind of its key.
func Describe(s *tls.ConnectionState, conf *tls.Config) string {
	name, bits := CipherName(s.CipherSuite)
	b := fmt.Appendf(nil, "%s with cipher %s (%d/%d bits)", VersionName(s.Version), name, bits, bits)
	if s.Version < tls.VersionTLS13 {
		return string(b)
	}
	b = fmt.Appendf(b, " key-exchange %s", s.CurveID)
	return string(append(b, signature(s, conf)...))
}

// VersionName is OpenSSL's name of a TLS version.
func VersionName(v uint16) string {
	return strings.Replace(strings.Replace(tls.VersionName(v), "TLS ", "TLSv", 1), "TLSv1.0", "TLSv1", 1)
}

// CipherName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into OpenSSL's
// ECDHE-RSA-AES128-GCM-SHA256; names of TLS 1.3 are the same in both. bits is
// the length of the key.
func CipherName(id uint16) (name string, bits int) {
	name = tls.CipherSuiteName(id)
	bits = 256
	switch {
	case strings.Contains(name, "AES_128"):
		bits = 128
	case strings.Contains(name, "3DES"):
		bits = 168
	}
	if !strings.Contains(name, "_WITH_") {
		return name, bits
	}
	name = strings.TrimPrefix(name, "TLS_")
	name = strings.TrimPrefix(name, "RSA_WITH_")
	name = strings.NewReplacer("_WITH_", "-", "AES_128_CBC_SHA", "AES128-SHA", "AES_256_CBC_SHA", "AES256-SHA",
		"AES_128", "AES128", "AES_256", "AES256", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "_", "-").Replace(name)
	return name, bits
}

// signature names the server's key, which TLS 1.3 signs with.
func signature(s *tls.ConnectionState, conf *tls.Config) string {
	if conf.GetCertificate == nil || s.DidResume {
		return ""
	}
	c, err := conf.GetCertificate(&tls.ClientHelloInfo{ServerName: s.ServerName})
	if err != nil || c == nil || c.Leaf == nil {
		return ""
	}
	switch k := c.Leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(" server-signature RSA-PSS (%d bits)", k.N.BitLen())
	case *ecdsa.PublicKey:
		return " server-signature ECDSA (" + k.Curve.Params().Name + ")"
	case ed25519.PublicKey:
		return " server-signature ED25519"
	}
	return ""
}
