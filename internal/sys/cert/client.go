package cert

import (
	"crypto"
	_ "crypto/md5"  // digests of fingerprints that old configurations hold
	_ "crypto/sha1" // likewise
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Authorities are the certificates that client certificates are checked with.
// The zero value trusts nobody.
type Authorities struct {
	pool  *x509.CertPool
	depth int
}

// maxAuthorities bounds the files of a CApath folder.
const maxAuthorities = 10000

// OpenAuthorities reads smtpd_tls_CAfile and smtpd_tls_CApath; empty names are
// left out. depth is smtpd_tls_ccert_verifydepth: how many certificates may
// stand above the client's; 0 means 9. system adds those of the machine
// (tls_append_default_CA).
func OpenAuthorities(file, folder string, depth int, system bool) (*Authorities, error) {
	a := &Authorities{pool: x509.NewCertPool(), depth: depth}
	if depth == 0 {
		a.depth = 9
	}
	if system {
		if p, err := x509.SystemCertPool(); err == nil {
			a.pool = p
		}
	}
	if file != "" {
		if err := a.add(file, true); err != nil {
			return nil, err
		}
	}
	if folder == "" {
		return a, nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, readError(folder, err)
	}
	for _, e := range entries[:min(len(entries), maxAuthorities)] {
		if e.Type()&fs.ModeDir == 0 {
			if err := a.add(filepath.Join(folder, e.Name()), false); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// add reads the certificates of a file, which must hold some if need is set.
func (a *Authorities) add(file string, need bool) error {
	b, err := readFile(file)
	if err != nil && need {
		return readError(file, err)
	}
	n := 0
	for {
		var p *pem.Block
		if p, b = pem.Decode(b); p == nil {
			break
		}
		// Trusted certificates of OpenSSL's own form have more behind them.
		if c, err := x509.ParseCertificate(p.Bytes); err == nil {
			a.pool.AddCert(c)
			n++
		}
	}
	if n == 0 && need {
		return &Error{File: file, Why: "holds no certificate", Hint: "CAfile holds the certificates of authorities in PEM"}
	}
	return nil
}

// Client is what is known of a client's certificate.
type Client struct {
	Present  bool
	Verified bool   // signed by one of the authorities, and in its time
	Subject  string // common names; empty when there are none
	Issuer   string
	Finger   string // digests of certificate and public key: "AB:CD:..."
	PubKey   string
	Why      string // why it was not verified
}

// Inspect looks at the certificate that a client showed. digest is
// smtpd_tls_fingerprint_digest: md5, sha1, sha256 (the default), sha384, sha512.
func Inspect(s *tls.ConnectionState, a *Authorities, digest string) (c Client, err error) {
	if len(s.PeerCertificates) == 0 {
		return c, nil
	}
	h, err := Digest(digest)
	if err != nil {
		return c, err
	}
	leaf := s.PeerCertificates[0]
	c = Client{Present: true, Subject: clean(leaf.Subject.CommonName), Issuer: clean(leaf.Issuer.CommonName),
		Finger: finger(h, leaf.Raw), PubKey: finger(h, leaf.RawSubjectPublicKeyInfo)}
	if a == nil {
		return c, nil
	}
	between := x509.NewCertPool()
	for _, m := range s.PeerCertificates[1:] {
		between.AddCert(m)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: a.pool, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		c.Why = clean(err.Error())
		return c, nil
	}
	for _, chain := range chains {
		c.Verified = c.Verified || len(chain)-1 <= a.depth
	}
	return c, nil
}

// Digest finds a digest by OpenSSL's name.
func Digest(name string) (crypto.Hash, error) {
	switch strings.ToLower(name) {
	case "md5":
		return crypto.MD5, nil
	case "sha1":
		return crypto.SHA1, nil
	case "", "sha256":
		return crypto.SHA256, nil
	case "sha384":
		return crypto.SHA384, nil
	case "sha512":
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("digest %q is not known: use sha256", name)
}

func finger(h crypto.Hash, b []byte) string {
	d := h.New()
	d.Write(b)
	text := strings.ToUpper(hex.EncodeToString(d.Sum(nil)))
	var out strings.Builder
	for i := 0; i < len(text); i += 2 {
		if i > 0 {
			out.WriteByte(':')
		}
		out.WriteString(text[i : i+2])
	}
	return out.String()
}

// clean makes a name of a certificate fit for logs and headers: a stranger wrote it.
func clean(s string) string {
	s = s[:min(len(s), 200)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' || r == '\\' || r == '(' || r == ')' || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
}
