package remote

import (
	"crypto/md5"
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

	"packetboat/internal/trust/dane"
)

// judge holds a host's certificate against the policy. trusted says that its
// chain leads to a certificate authority of ours, whatever its name; the error
// says why the certificate is not what the policy demands, in the words of
// tls_verify.c.
func (s *session) judge(st *tls.ConnectionState) (trusted bool, err error) {
	name := s.tlsName()
	if len(st.PeerCertificates) == 0 {
		return false, fmt.Errorf("certificate verification failed for %s: no certificate", name)
	}
	if s.terms.level == levelFingerprint {
		return false, s.knownKey(st.PeerCertificates[0])
	}
	if s.terms.level >= levelDane {
		if err := dane.Verify(st.PeerCertificates, s.terms.tlsa, []string{s.host.name, s.terms.domain}); err != nil {
			return false, fmt.Errorf("server certificate verification failed for %s: %w", name, err)
		}
		return true, nil
	}
	if err := s.t.chain(st.PeerCertificates, name); err != nil {
		return false, err
	}
	if s.terms.level >= levelVerify && !s.named(st.PeerCertificates[0]) {
		return true, fmt.Errorf("server certificate verification failed for %s: num=62:hostname mismatch", name)
	}
	return true, nil
}

// knownKey compares the digests of certificate and public key with the
// policy's (smtp_tls_fingerprint_cert_match).
func (s *session) knownKey(c *x509.Certificate) error {
	digest := digests()[strings.ToLower(s.t.opts.FingerprintDigest)]
	have := []string{digest(c.Raw), digest(c.RawSubjectPublicKeyInfo)}
	for _, want := range s.terms.match {
		for _, h := range have {
			if strings.EqualFold(strings.ReplaceAll(want, ":", ""), h) {
				return nil
			}
		}
	}
	return fmt.Errorf("server certificate verification failed for %s: num=65:no matching DANE TLSA records", s.tlsName())
}

// digests are the values of smtp_tls_fingerprint_digest that are known.
func digests() map[string]func([]byte) string {
	return map[string]func([]byte) string{
		"md5":    func(b []byte) string { d := md5.Sum(b); return hex.EncodeToString(d[:]) },
		"sha1":   func(b []byte) string { d := sha1.Sum(b); return hex.EncodeToString(d[:]) },
		"sha256": func(b []byte) string { d := sha256.Sum256(b); return hex.EncodeToString(d[:]) },
		"sha384": func(b []byte) string { d := sha512.Sum384(b); return hex.EncodeToString(d[:]) },
		"sha512": func(b []byte) string { d := sha512.Sum512(b); return hex.EncodeToString(d[:]) },
	}
}

// chain verifies that a chain leads to one of our certificate authorities.
func (t *Transport) chain(certs []*x509.Certificate, name string) error {
	roots := t.opts.Roots
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
		if len(c)-1 <= t.opts.VerifyDepth {
			return nil
		}
	}
	return fmt.Errorf("certificate verification failed for %s: certificate chain longer than limit(%d)", name, t.opts.VerifyDepth)
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

// named tells whether a certificate carries one of the policy's names.
func (s *session) named(c *x509.Certificate) bool {
	for _, m := range s.terms.match {
		pattern := m
		switch strings.ToLower(m) {
		case "hostname":
			pattern = s.host.name
		case "nexthop":
			pattern = s.terms.domain
		case "dot-nexthop":
			pattern = "." + s.terms.domain
		}
		if certificateHas(c, strings.TrimSuffix(pattern, ".")) {
			return true
		}
	}
	return false
}

// certificateHas compares the names of a certificate with a pattern: a name, an
// address, or ".domain" for everything below it. The common name counts only
// without any DNS name (RFC 6125 section 6.4.4).
func certificateHas(c *x509.Certificate, pattern string) bool {
	if pattern == "" || pattern == "." {
		return false
	}
	if isAddress(pattern) {
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

// isAddress tells a network address from a name.
func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
