// Package dane holds a mail host's certificate against the TLSA records that its
// domain publishes in DNSSEC (RFC 6698, RFC 7672). send/remote asks DNS and calls
// it; no certificate authority has a say.
package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
)

// Record is one TLSA record.
type Record struct {
	Usage    uint8  // 2: a certificate authority of the domain's own, 3: the host's key
	Selector uint8  // 0: the whole certificate, 1: its public key
	Matching uint8  // 0: the bytes themselves, 1: SHA-256, 2: SHA-512
	Data     string // the bytes or their digest
}

// The values that SMTP uses (RFC 7672 section 3.1.3: 0 and 1 do not count).
const (
	usageTA = 2
	usageEE = 3
)

// Usable returns the records that can be used. None of several means: encrypt, but
// there is nothing to verify with (RFC 7672 section 2.2). digests are the names of those
// that count, the best first (tls_dane_digests; empty = sha512 sha256): of records that
// differ in the digest alone the best counts (RFC 7671 section 9).
func Usable(list []Record, digests []string) (out []Record) {
	if len(digests) == 0 {
		digests = []string{"sha512", "sha256"}
	}
	rank := func(r *Record) int {
		name := map[uint8]string{1: "sha256", 2: "sha512"}[r.Matching]
		return slices.IndexFunc(digests, func(d string) bool { return strings.EqualFold(d, name) })
	}
	best := map[[2]uint8]int{}
	for _, r := range wellFormed(list) {
		if r.Matching == 0 {
			out = append(out, r)
			continue
		}
		kind, at := [2]uint8{r.Usage, r.Selector}, rank(&r)
		if old, ok := best[kind]; at >= 0 && (!ok || at < old) {
			best[kind] = at
		}
	}
	for _, r := range wellFormed(list) {
		if at, ok := best[[2]uint8{r.Usage, r.Selector}]; ok && r.Matching != 0 && rank(&r) == at {
			out = append(out, r)
		}
	}
	return out
}

// wellFormed returns the records whose fields make sense.
func wellFormed(list []Record) (out []Record) {
	for _, r := range list {
		size := map[uint8]int{1: sha256.Size, 2: sha512.Size}[r.Matching]
		known := r.Usage == usageTA || r.Usage == usageEE
		if known && r.Selector <= 1 && r.Matching <= 2 && (r.Matching == 0 && r.Data != "" || size == len(r.Data) && size > 0) {
			out = append(out, r)
		}
	}
	return out
}

// matches tells whether a record is about a certificate.
func (r *Record) matches(c *x509.Certificate) bool {
	b := c.Raw
	if r.Selector == 1 {
		b = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case 1:
		sum := sha256.Sum256(b)
		b = sum[:]
	case 2:
		sum := sha512.Sum512(b)
		b = sum[:]
	}
	return bytes.Equal(b, []byte(r.Data))
}

// ErrNoMatch says that no record is about a certificate of the chain.
var ErrNoMatch = errors.New("num=65:no matching DANE TLSA records")

// Verify tells whether a chain, the host's own certificate first, is what the
// records promise: the host's key, whatever else its certificate says (usage 3), or
// an authority of the domain's that signed a certificate for one of names (usage 2).
func Verify(chain []*x509.Certificate, list []Record, names []string) error {
	if len(chain) == 0 {
		return ErrNoMatch
	}
	for i := range list {
		if list[i].Usage == usageEE && list[i].matches(chain[0]) {
			return nil
		}
	}
	err := ErrNoMatch
	for i := range list {
		if list[i].Usage != usageTA {
			continue
		}
		for _, anchor := range anchors(chain, &list[i]) {
			if e := signed(chain, anchor, names); e == nil {
				return nil
			} else {
				err = e
			}
		}
	}
	return err
}

// anchors are the certificates that a record of usage 2 names: one of the chain,
// or the one in the record itself.
func anchors(chain []*x509.Certificate, r *Record) (out []*x509.Certificate) {
	for _, c := range chain {
		if r.matches(c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 && r.Selector == 0 && r.Matching == 0 {
		if c, err := x509.ParseCertificate([]byte(r.Data)); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// signed verifies a chain up to an anchor, and the host's name.
func signed(chain []*x509.Certificate, anchor *x509.Certificate, names []string) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	o.Roots.AddCert(anchor)
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return err
	}
	for _, n := range names {
		if chain[0].VerifyHostname(n) == nil {
			return nil
		}
	}
	return errors.New("num=62:hostname mismatch")
}
