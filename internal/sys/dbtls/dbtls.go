// Package dbtls makes the encrypted connections of clients of databases and
// directories: route/table's and auth's.
package dbtls

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
)

// TLS are the settings of an encrypted connection.
type TLS struct {
	CAFile, CADir string // where trusted authorities stand; both empty = those of the system
	Cert, Key     string // the client's own, or empty
	Verify        bool   // the server's certificate must be trusted
	Names         bool   // and be for the server's name
}

// Config makes the configuration of crypto/tls for a server; read reads the files.
func (t TLS) Config(read func(path string) ([]byte, error), server string) (*tls.Config, error) {
	c := &tls.Config{ServerName: server, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" || t.CADir != "" {
		var err error
		if c.RootCAs, err = t.roots(read); err != nil {
			return nil, err
		}
	}
	if t.Cert != "" {
		cert, err := read(t.Cert)
		if err != nil {
			return nil, err
		}
		key, err := read(cmp.Or(t.Key, t.Cert))
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Cert, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if !t.Verify || !t.Names {
		c.InsecureSkipVerify = true // what is asked for is held by VerifyConnection
	}
	if t.Verify && !t.Names {
		c.VerifyConnection = func(s tls.ConnectionState) error { return trusted(s, c.RootCAs) }
	}
	return c, nil
}

// roots reads the trusted authorities; the file wins over the folder.
func (t TLS) roots(read func(string) ([]byte, error)) (*x509.CertPool, error) {
	files := []string{t.CAFile}
	if t.CAFile == "" {
		files, _ = filepath.Glob(filepath.Join(t.CADir, "*")) // the pattern is well-formed
	}
	pool, found := x509.NewCertPool(), false
	for _, f := range files {
		b, err := read(f)
		if err != nil && t.CAFile != "" {
			return nil, err
		}
		found = pool.AppendCertsFromPEM(b) || found
	}
	if !found {
		return nil, fmt.Errorf("%s: no certificate", cmp.Or(t.CAFile, t.CADir))
	}
	return pool, nil
}

// trusted checks a server's chain without its name.
func trusted(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(o)
	return err
}
