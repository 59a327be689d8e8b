package cert

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// Grades that smtpd_tls_ciphers knows. Nothing below "medium" is ever spoken,
// whatever is asked for: Go has no such ciphers.
var grades = [...]string{"null", "export", "low", "medium", "high"}

// suites returns the ciphers of TLS 1.2 and before that a grade and a list of
// exclusions leave (smtpd_tls_ciphers, smtpd_tls_exclude_ciphers of postconf(5));
// nil when nothing is excluded: then Go's own list holds, which has forward
// secrecy throughout. TLS 1.3 has no ciphers to choose, as in Postfix.
func suites(grade string, exclude []string) ([]uint16, error) {
	known := grade == ""
	for _, g := range grades {
		known = known || strings.EqualFold(g, grade)
	}
	if !known {
		return nil, fmt.Errorf("TLS cipher grade %q is not known: use medium or high", grade)
	}
	if len(exclude) == 0 {
		return nil, nil
	}
	var ids []uint16
	for _, c := range tls.CipherSuites() {
		name, _ := CipherName(c.ID)
		if c.SupportedVersions[0] < tls.VersionTLS13 && strings.Contains(name, "ECDHE") && !excluded(name, exclude) {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("the excluded TLS ciphers leave none to speak")
	}
	return ids, nil
}

func excluded(name string, words []string) bool {
	for _, w := range words {
		if strings.EqualFold(w, name) || allKinds(name, w) {
			return true
		}
	}
	return false
}

// allKinds tells whether a cipher has all the properties of "RSA+AES".
func allKinds(name, word string) bool {
	for kind := range strings.SplitSeq(word, "+") {
		if !isKind(name, strings.ToUpper(kind)) {
			return false
		}
	}
	return true
}

// isKind knows OpenSSL's words for properties of the ciphers that we have
// (ciphers(1)). Words for others (aNULL, RC4, MD5, DES, kRSA, DHE...) match none.
func isKind(name, kind string) bool {
	aead := strings.Contains(name, "GCM") || strings.Contains(name, "CHACHA20")
	switch kind {
	case "ALL", "HIGH", "ECDHE", "EECDH", "KEECDH", "KECDHE":
		return true
	case "RSA", "ARSA", "ECDHERSA":
		return strings.Contains(name, "-RSA-")
	case "ECDSA", "AECDSA":
		return strings.Contains(name, "-ECDSA-")
	case "AES":
		return strings.Contains(name, "AES")
	case "AES128", "AES256", "CHACHA20":
		return strings.Contains(name, kind)
	case "AESGCM":
		return strings.Contains(name, "GCM")
	case "SHA", "SHA1":
		return strings.HasSuffix(name, "-SHA")
	case "SHA256", "SHA384":
		return strings.HasSuffix(name, kind) && !aead
	case "TLSV1.2":
		return aead || strings.HasSuffix(name, "-SHA256")
	}
	return false
}

// curves turns smtpd_tls_eecdh_grade and tls_eecdh_auto_curves into Go's
// curves; nil is Go's own order, post-quantum hybrids first.
func curves(grade string, auto []string) ([]tls.CurveID, error) {
	switch grade {
	case "", "auto":
		return named(auto), nil
	case "strong":
		return []tls.CurveID{tls.CurveP256}, nil
	case "ultra":
		return []tls.CurveID{tls.CurveP384}, nil
	case "none":
		return nil, fmt.Errorf("smtpd_tls_eecdh_grade = none leaves no key exchange with forward secrecy: write auto")
	}
	return nil, fmt.Errorf("smtpd_tls_eecdh_grade = %s is not known: write auto, strong or ultra", grade)
}

// named reads names of curves; those that Go lacks (X448, brainpool) are left out.
func named(names []string) (ids []tls.CurveID) {
	for _, n := range names {
		switch strings.ToLower(n) {
		case "x25519":
			ids = append(ids, tls.X25519MLKEM768, tls.X25519)
		case "prime256v1", "p-256", "secp256r1":
			ids = append(ids, tls.CurveP256)
		case "secp384r1", "p-384":
			ids = append(ids, tls.CurveP384)
		case "secp521r1", "p-521":
			ids = append(ids, tls.CurveP521)
		}
	}
	return ids
}
