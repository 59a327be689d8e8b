package cert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"strings"
)

// Error says which file cannot be used, why, and what to do about it.
type Error struct {
	File string
	Why  string
	Hint string // what to do; empty when there is no advice
	err  error
}

// Error gives one line: file and reason.
func (e *Error) Error() string { return e.File + ": " + e.Why }

// Unwrap returns the cause, for errors.Is(err, fs.ErrNotExist).
func (e *Error) Unwrap() error { return e.err }

var errNotCert = errors.New("not a regular file below 1 MiB")

// readError explains why a file could not be read.
func readError(file string, err error) *Error {
	e := &Error{File: file, Why: err.Error(), err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Why = "no such file"
		e.Hint = "make a certificate, or name the right file in smtpd_tls_cert_file, smtpd_tls_key_file or ssl_cert, ssl_key"
	case errors.Is(err, fs.ErrPermission):
		e.Why = "permission denied"
		e.Hint = "only root reads private keys; start the service as root"
	}
	return e
}

// key is a private key and the file it came from, for the error text.
type key struct {
	file   string
	signer crypto.Signer
}

// parse makes certificates of files that hold PEM blocks in any order.
func parse(files []string, raw [][]byte) ([]tls.Certificate, error) {
	var keys []key
	var chain []*x509.Certificate
	for i, b := range raw {
		k, c, err := blocks(files[i], b)
		if err != nil {
			return nil, err
		}
		keys, chain = append(keys, k...), append(chain, c...)
	}
	name := strings.Join(files, ", ")
	if len(chain) == 0 {
		return nil, &Error{File: name, Why: "holds no certificate",
			Hint: "the file must hold PEM text that begins with -----BEGIN CERTIFICATE-----"}
	}
	if len(keys) == 0 {
		return nil, &Error{File: name, Why: "holds no private key",
			Hint: "the key file must hold PEM text that begins with -----BEGIN PRIVATE KEY-----"}
	}
	return match(keys, chain)
}

// blocks reads the keys and certificates of one file; blocks of other kinds
// (EC and DH parameters) are left out.
func blocks(file string, b []byte) (keys []key, chain []*x509.Certificate, err error) {
	for {
		var p *pem.Block
		if p, b = pem.Decode(b); p == nil {
			return keys, chain, nil
		}
		switch {
		case p.Type == "CERTIFICATE", p.Type == "TRUSTED CERTIFICATE", p.Type == "X509 CERTIFICATE":
			c, err := x509.ParseCertificate(p.Bytes)
			if err != nil {
				return nil, nil, &Error{File: file, Why: "bad certificate: " + err.Error(), err: err}
			}
			chain = append(chain, c)
		case strings.HasSuffix(p.Type, "PRIVATE KEY"):
			k, err := parseKey(file, p)
			if err != nil {
				return nil, nil, err
			}
			keys = append(keys, key{file, k})
		}
	}
}

// parseKey reads a private key of any of the usual PEM types.
func parseKey(file string, p *pem.Block) (crypto.Signer, error) {
	if p.Type == "ENCRYPTED PRIVATE KEY" || bytes.Contains([]byte(p.Headers["Proc-Type"]), []byte("ENCRYPTED")) {
		return nil, &Error{File: file, Why: "the private key is locked with a password",
			Hint: "a server starts without anybody typing: remove it with openssl pkey -in FILE -out NEWFILE"}
	}
	if k, err := x509.ParsePKCS1PrivateKey(p.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(p.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		return nil, &Error{File: file, Why: "bad private key", err: err,
			Hint: "make a new key and certificate; RSA, ECDSA and Ed25519 keys can be used"}
	}
	if s, ok := k.(crypto.Signer); ok {
		return s, nil
	}
	return nil, &Error{File: file, Why: "a private key that cannot sign"}
}

// match finds for each key its certificate, and for that the issuers that
// follow it: all up to the next certificate that is a key's own.
func match(keys []key, chain []*x509.Certificate) ([]tls.Certificate, error) {
	owner := make([]int, len(chain))
	for i, c := range chain {
		owner[i] = -1
		for j, k := range keys {
			if samePublic(k.signer.Public(), c.PublicKey) {
				owner[i] = j
			}
		}
	}
	var out []tls.Certificate
	for j, k := range keys {
		c, ok := assemble(j, k, owner, chain)
		if !ok {
			return nil, &Error{File: k.file, Why: "the private key belongs to none of the certificates",
				Hint: "certificate and key must be made together; compare openssl x509 -pubkey -noout -in CERT with openssl pkey -pubout -in KEY"}
		}
		out = append(out, c)
	}
	return out, nil
}

func assemble(j int, k key, owner []int, chain []*x509.Certificate) (tls.Certificate, bool) {
	for i, c := range chain {
		if owner[i] != j {
			continue
		}
		out := tls.Certificate{PrivateKey: k.signer, Leaf: c, Certificate: [][]byte{c.Raw}}
		for n := i + 1; n < len(chain) && owner[n] < 0; n++ {
			out.Certificate = append(out.Certificate, chain[n].Raw)
		}
		return out, true
	}
	return tls.Certificate{}, false
}

func samePublic(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case *rsa.PublicKey:
		return a.Equal(b)
	case *ecdsa.PublicKey:
		return a.Equal(b)
	case ed25519.PublicKey:
		return a.Equal(b)
	}
	return false
}
