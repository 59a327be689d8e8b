package query

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/route/table/mapfile"
)

// Env is what package table hands to a driver: the table's settings, and how
// other tables and files are reached.
type Env struct {
	// Name is the specification, "mysql:/etc/postfix/virtual.cf".
	Name string
	// Params are the table's settings.
	Params *mapfile.Params
	// Fold says that keys are asked for in lower case.
	Fold bool
	// Domains opens the list of the parameter domain.
	Domains func(items string) (func(ctx context.Context, domain string) (bool, error), error)
	// Read returns the content of a certificate, key or option file; nil = os.ReadFile.
	Read func(path string) ([]byte, error)
}

// Rules reads the parameters domain, result_format (format is its older name's
// value or the default) and expansion_limit.
func (e Env) Rules(format string) *Rules {
	p := e.Params
	r := &Rules{Format: format, Limit: p.Int("expansion_limit", 0, 0)}
	if _, err := r.Add(r.Format, true); err != nil {
		p.Fail(err)
	}
	if list := p.Str("domain", ""); list != "" && e.Domains != nil {
		var err error
		if r.Domains, err = e.Domains(list); err != nil {
			p.Fail(fmt.Errorf("domain: %w", err))
		}
	}
	return r
}

// Key makes the key that is asked for: in lower case, where the table folds.
// What is not UTF-8, or holds a NUL, is in no database (ok = false).
func (e Env) Key(key string) (_ string, ok bool) {
	if key == "" || strings.ToValidUTF8(key, "") != key || strings.IndexByte(key, 0) >= 0 {
		return "", false
	}
	if e.Fold {
		key = strings.ToLower(key)
	}
	return key, true
}

// File reads a file that the settings name.
func (e Env) File(path string) ([]byte, error) {
	if e.Read != nil {
		return e.Read(path)
	}
	return os.ReadFile(path)
}

// TLS are the settings of an encrypted connection.
type TLS struct {
	CAFile, CADir string // where trusted authorities stand; both empty = those of the system
	Cert, Key     string // the client's own, or empty
	Verify        bool   // the server's certificate must be trusted
	Names         bool   // and be for the server's name
}

// Config makes the configuration of crypto/tls for a server.
func (t TLS) Config(e Env, server string) (*tls.Config, error) {
	c := &tls.Config{ServerName: server, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" || t.CADir != "" {
		var err error
		if c.RootCAs, err = t.roots(e); err != nil {
			return nil, err
		}
	}
	if t.Cert != "" {
		cert, err := e.File(t.Cert)
		if err != nil {
			return nil, err
		}
		key, err := e.File(firstOf(t.Key, t.Cert))
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

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// roots reads the trusted authorities; the file wins over the folder.
func (t TLS) roots(e Env) (*x509.CertPool, error) {
	files := []string{t.CAFile}
	if t.CAFile == "" {
		files, _ = filepath.Glob(filepath.Join(t.CADir, "*")) // the pattern is well-formed
	}
	pool, found := x509.NewCertPool(), false
	for _, f := range files {
		b, err := e.File(f)
		if err != nil && t.CAFile != "" {
			return nil, err
		}
		found = pool.AppendCertsFromPEM(b) || found
	}
	if !found {
		return nil, fmt.Errorf("%s: no certificate", firstOf(t.CAFile, t.CADir))
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
