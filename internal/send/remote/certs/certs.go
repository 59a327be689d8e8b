// Package certs judges the certificates of hosts and finds the words for them, and for
// ciphers, that Postfix's log has (OpenSSL's). send/remote asks it.
package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Digests are the values of smtp_tls_fingerprint_digest that are known.
func Digests() map[string]func([]byte) string {
	return map[string]func([]byte) string{
		"md5":    func(b []byte) string { d := md5.Sum(b); return hex.EncodeToString(d[:]) },
		"sha1":   func(b []byte) string { d := sha1.Sum(b); return hex.EncodeToString(d[:]) },
		"sha256": func(b []byte) string { d := sha256.Sum256(b); return hex.EncodeToString(d[:]) },
		"sha384": func(b []byte) string { d := sha512.Sum384(b); return hex.EncodeToString(d[:]) },
		"sha512": func(b []byte) string { d := sha512.Sum512(b); return hex.EncodeToString(d[:]) },
	}
}

// Chain verifies that a chain leads to one of our certificate authorities.
// depth is how many certificates may stand above the host's.
func Chain(certs []*x509.Certificate, roots *x509.CertPool, depth int, name string) error {
	if roots == nil { // no CAfile and no CApath: nobody is trusted
		roots = x509.NewCertPool()
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(o)
	if err != nil {
		return chainError(certs, name, err)
	}
	for _, c := range chains {
		if len(c)-1 <= depth {
			return nil
		}
	}
	return fmt.Errorf("certificate verification failed for %s: certificate chain longer than limit(%d)", name, depth)
}

// chainError says what is wrong with a chain as tls_log_verify_error says it.
func chainError(certs []*x509.Certificate, name string, err error) error {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return outOfTime(certs, invalid.Cert, name)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return fmt.Errorf("certificate verification failed for %s: not designated for use as a server certificate", name)
	case !errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("server certificate verification failed for %s: %s", name, err.Error())
	}
	top := certs[len(certs)-1]
	if len(certs) == 1 && string(top.RawIssuer) == string(top.RawSubject) {
		return fmt.Errorf("certificate verification failed for %s: self-signed certificate", name)
	}
	return fmt.Errorf("certificate verification failed for %s: untrusted issuer %s", name, oneLine(top.Issuer))
}

// outOfTime names the certificate whose days are over, or have not begun.
func outOfTime(certs []*x509.Certificate, bad *x509.Certificate, name string) error {
	what, when := "server", "has expired"
	if bad != nil && !bad.Equal(certs[0]) {
		what = "CA"
	}
	if bad != nil && time.Now().Before(bad.NotBefore) {
		when = "not yet valid"
	}
	return fmt.Errorf("%s certificate verification failed for %s: certificate %s", what, name, when)
}

// oneLine writes a name as X509_NAME_oneline(3) does: /C=DE/O=X/CN=Y. What
// cannot be printed becomes a question mark.
func oneLine(n pkix.Name) string {
	short := map[string]string{"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
		"1.2.840.113549.1.9.1": "emailAddress"}
	var b strings.Builder
	for _, a := range n.Names {
		key := a.Type.String()
		if s := short[key]; s != "" {
			key = s
		}
		fmt.Fprintf(&b, "/%s=%v", key, a.Value)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, b.String()[:min(b.Len(), 256)])
}

// Has compares the names of a certificate with a pattern: a name, an
// address, or ".domain" for everything below it. The common name counts only
// without any DNS name (RFC 6125 section 6.4.4).
func Has(c *x509.Certificate, pattern string) bool {
	if pattern == "" || pattern == "." {
		return false
	}
	if IsAddress(pattern) {
		ip := net.ParseIP(pattern)
		for _, a := range c.IPAddresses {
			if a.Equal(ip) {
				return true
			}
		}
		return false
	}
	names := c.DNSNames
	if len(names) == 0 {
		names = []string{c.Subject.CommonName}
	}
	for _, n := range names {
		if sameName(strings.ToLower(n), strings.ToLower(pattern)) {
			return true
		}
	}
	return false
}

// sameName tells whether a certificate's name fits a pattern. "*." in front
// stands for one or more labels (tls_wildcard_matches_multiple_labels), but
// never for those of a whole top-level domain.
func sameName(name, pattern string) bool {
	if strings.HasPrefix(pattern, ".") {
		return len(name) > len(pattern) && strings.HasSuffix(name, pattern)
	}
	rest, wild := strings.CutPrefix(name, "*")
	if !wild {
		return name == pattern
	}
	return strings.HasPrefix(rest, ".") && strings.Count(rest, ".") > 1 &&
		len(pattern) > len(rest) && strings.HasSuffix(pattern, rest)
}

// IsAddress tells a network address from a name.
func IsAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// Suites returns the ciphers below TLS 1.3 that are offered: Go's good ones and
// those with keys sent under RSA, which many a mail host still needs, and which
// are better than no TLS.
func Suites(exclude []string) (out []uint16) {
	var list []*tls.CipherSuite
	list = append(list, tls.CipherSuites()...)
	for _, c := range tls.InsecureCipherSuites() {
		if strings.HasPrefix(c.Name, "TLS_RSA_WITH_AES_") {
			list = append(list, c)
		}
	}
	for _, c := range list {
		if !excluded(c.ID, exclude) {
			out = append(out, c.ID)
		}
	}
	return out
}

// excluded tells whether smtp_tls_exclude_ciphers names a cipher or its kind.
// Words for what is never offered (aNULL, RC4, 3DES ...) have nothing to do.
func excluded(id uint16, words []string) bool {
	name, _ := cipherName(id)
	sentKey := !strings.HasPrefix(name, "ECDHE-")
	for _, w := range words {
		switch w = strings.ToUpper(w); {
		case w == strings.ToUpper(name),
			(w == "KRSA" || w == "RSA") && sentKey,
			(w == "SHA1" || w == "SHA") && strings.HasSuffix(name, "-SHA"),
			w == "AES128" && strings.Contains(name, "AES128"),
			w == "AES256" && strings.Contains(name, "AES256"),
			w == "AES" && strings.Contains(name, "AES"),
			w == "CHACHA20" && strings.Contains(name, "CHACHA20"):
			return true
		}
	}
	return false
}

// Describe says what was agreed on in OpenSSL's words (tls_log_summary).
func Describe(st *tls.ConnectionState) string {
	name, bits := cipherName(st.CipherSuite)
	version := strings.Replace(strings.Replace(tls.VersionName(st.Version), "TLS ", "TLSv", 1), "TLSv1.0", "TLSv1", 1)
	out := fmt.Sprintf("%s with cipher %s (%d/%d bits)", version, name, bits, bits)
	if st.Version < tls.VersionTLS13 {
		return out
	}
	return out + fmt.Sprintf(" key-exchange %s", st.CurveID) + signature(st.PeerCertificates)
}

// signature names the key that the host signed with. The digest is that which
// TLS 1.3 ties to the key, or for RSA the one that we ask for first.
func signature(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	switch k := chain[0].PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(" server-signature RSA-PSS (%d bits) server-digest SHA256", k.N.BitLen())
	case *ecdsa.PublicKey:
		bits := k.Curve.Params().BitSize
		curve := fmt.Sprintf("secp%dr1", bits)
		if bits == 256 { // OpenSSL's name of the same curve
			curve = "prime256v1"
		}
		return fmt.Sprintf(" server-signature ECDSA (%s) server-digest SHA%d", curve, min((bits+127)/128*128, 512))
	case ed25519.PublicKey:
		return " server-signature ED25519"
	}
	return ""
}

// cipherName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into OpenSSL's
// ECDHE-RSA-AES128-GCM-SHA256; names of TLS 1.3 are the same in both.
func cipherName(id uint16) (name string, bits int) {
	name, bits = tls.CipherSuiteName(id), 256
	if strings.Contains(name, "AES_128") {
		bits = 128
	}
	kx, rest, ok := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !ok {
		return name, bits
	}
	rest = strings.NewReplacer("AES_128_CBC", "AES128", "AES_256_CBC", "AES256", "AES_128", "AES128", "AES_256", "AES256",
		"CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305").Replace(rest)
	if kx == "RSA" { // OpenSSL does not name what was once the only way
		return strings.ReplaceAll(rest, "_", "-"), bits
	}
	return strings.ReplaceAll(kx+"-"+rest, "_", "-"), bits
}
