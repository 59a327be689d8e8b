package cert

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
)

// CipherList returns the ciphers of TLS 1.2 and before that a cipher list of OpenSSL
// (ciphers(1); ssl_cipher_list of Dovecot) leaves of those that Go has with
// forward secrecy. What names others (kRSA, DHE, CAMELLIA, 3DES) matches none, and
// the order is Go's. TLS 1.3 has no ciphers to choose. nil for an empty list.
func CipherList(list string) ([]uint16, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	killed := map[uint16]bool{}
	var ids []uint16
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' || r == ';' }) {
		word, _, _ = strings.Cut(word, "@") // "@STRENGTH" sorts, "@SECLEVEL=1" is OpenSSL's
		op := byte(0)
		if word != "" && strings.IndexByte("!-+", word[0]) >= 0 {
			op, word = word[0], word[1:]
		}
		if word == "" || op == '+' { // "+" only moves what is there to the end
			continue
		}
		for _, c := range tls.CipherSuites() {
			name, _ := CipherName(c.ID)
			if c.SupportedVersions[0] >= tls.VersionTLS13 || !strings.Contains(name, "ECDHE") || !listWord(name, word) {
				continue
			}
			ids = slices.DeleteFunc(ids, func(id uint16) bool { return id == c.ID })
			killed[c.ID] = killed[c.ID] || op == '!'
			if op == 0 && !killed[c.ID] {
				ids = append(ids, c.ID)
			}
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("the list of TLS ciphers leaves none to speak: name some with ECDHE, such as ECDHE+AESGCM")
	}
	return ids, nil
}

// listWord tells whether a cipher is one that a word of a list means.
func listWord(name, word string) bool {
	if strings.EqualFold(name, word) {
		return true
	}
	for kind := range strings.SplitSeq(word, "+") {
		switch kind = strings.ToUpper(kind); kind {
		case "ECDH", "DEFAULT", "FIPS":
			kind = "ALL" // each of ours
		case "RSA": // RSA as the exchange of keys, too
			return false
		case "SSLV3", "TLSV1":
			kind = "SHA"
		}
		if !isKind(name, kind) {
			return false
		}
	}
	return true
}
