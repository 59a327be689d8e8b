package remote

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"packetboat/internal/send/remote/certs"
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
	if s.terms.strict {
		return true, s.vouched(st.PeerCertificates)
	}
	if err := certs.Chain(st.PeerCertificates, s.t.opts.Roots, s.t.opts.VerifyDepth, name); err != nil {
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
	digest := certs.Digests()[strings.ToLower(s.t.opts.FingerprintDigest)]
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
		if certs.Has(c, strings.TrimSuffix(pattern, ".")) {
			return true
		}
	}
	return false
}
