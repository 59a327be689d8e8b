// Package cert keeps certificates with their private keys, takes renewed files
// up by itself, and makes the tls.Config that the servers of the house share.
// receive/smtpd uses it for STARTTLS and smtps, serve/login for IMAP and POP3.
package cert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// maxFile is the largest certificate or key file that is read, in bytes; a
// chain with a dozen RSA-4096 certificates needs 30 KiB.
const maxFile = 1 << 20

// checkEvery is how often file contents are compared where no notification
// comes: network file systems, or folders that this process may not watch.
const checkEvery = 60 * time.Second

// Read returns a file's bytes. A process without the right to read keys passes
// one that asks its parent; the default reads the file itself.
type Read func(path string) ([]byte, error)

// Store is one or more certificates with their keys, from files. It is safe
// for many goroutines; those that hold a connection keep what they got.
type Store struct {
	files []string
	read  Read
	state atomic.Pointer[state]
	sni   func(name string) *Store
}

// state is one reading of the files; it is replaced as a whole.
type state struct {
	raw   [][]byte // the files' bytes, to tell whether they changed
	certs []tls.Certificate
}

// Open reads a certificate chain and its private key, as
// smtpd_tls_cert_file and smtpd_tls_key_file of postconf(5) or ssl_cert and
// ssl_key of Dovecot name them. An empty keyFile means that the key is in
// certFile. The error is an *Error that says what to do.
func Open(certFile, keyFile string) (*Store, error) {
	return OpenWith(nil, certFile, keyFile)
}

// OpenChain reads files that hold keys each followed by its certificates
// (smtpd_tls_chain_files of postconf(5)); several kinds of key may be mixed,
// and the client's abilities choose.
func OpenChain(files ...string) (*Store, error) { return OpenWith(nil, files...) }

// OpenWith is Open and OpenChain with another way to read files; nil reads
// them directly. Keys and certificates are matched by their public keys, so
// the order of files does not matter.
func OpenWith(read Read, files ...string) (*Store, error) {
	if read == nil {
		read = readFile
	}
	s := &Store{read: read}
	for _, f := range files {
		if f != "" && !slices.Contains(s.files, f) {
			s.files = append(s.files, f)
		}
	}
	if _, err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads the files again and tells whether they had changed. After an
// error the former certificates stay in use: a half-written renewal ends no
// service.
func (s *Store) Reload() (changed bool, err error) {
	raw := make([][]byte, len(s.files))
	for i, f := range s.files {
		if raw[i], err = s.read(f); err != nil {
			return false, readError(f, err)
		}
	}
	old := s.state.Load()
	if old != nil && slices.EqualFunc(old.raw, raw, bytes.Equal) {
		return false, nil
	}
	certs, err := parse(s.files, raw)
	if err != nil {
		return false, err
	}
	s.state.Store(&state{raw: raw, certs: certs})
	return true, nil
}

// Files returns the paths the store was made from.
func (s *Store) Files() []string { return slices.Clone(s.files) }

// NotAfter returns the moment when the first of the certificates expires.
func (s *Store) NotAfter() time.Time {
	var first time.Time
	for _, c := range s.state.Load().certs {
		if first.IsZero() || c.Leaf.NotAfter.Before(first) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

// Leaf returns the certificate that a client of today's usual abilities gets.
func (s *Store) Leaf() *x509.Certificate { return s.state.Load().certs[0].Leaf }

// SetSNI gives the store a look-up of other stores by server name
// (tls_server_sni_maps of postconf(5), local_name of Dovecot); it returns nil
// for names it does not know, and is asked with a lower-case name once a
// handshake. It must be set before the first handshake.
func (s *Store) SetSNI(lookup func(name string) *Store) { s.sni = lookup }

// certificate chooses for one handshake.
func (s *Store) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.sni != nil && hello.ServerName != "" {
		if other := s.sni(strings.ToLower(hello.ServerName)); other != nil {
			return other.choose(hello), nil
		}
	}
	return s.choose(hello), nil
}

// choose returns the first certificate that the client can check, or else the
// first one: the client then says what it misses.
func (s *Store) choose(hello *tls.ClientHelloInfo) *tls.Certificate {
	certs := s.state.Load().certs
	if len(certs) == 1 {
		return &certs[0]
	}
	// A name that stands on no certificate says nothing about the kinds of key that
	// the client can check: with it, every certificate would seem unfit.
	nameless := *hello
	nameless.ServerName = ""
	for i := range certs {
		if nameless.SupportsCertificate(&certs[i]) == nil {
			return &certs[i]
		}
	}
	return &certs[0]
}

// Watch takes changed files up until ctx ends. It tells report nil after each
// renewal and the error of each file that could not be used; a file that stays
// bad is told once. It returns when ctx ends. A change between opening and
// watching is seen, too: it looks once when it has begun to watch.
func (s *Store) Watch(ctx context.Context, report func(error)) {
	events, stop := s.notify()
	defer stop()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	last := s.check(report, "")
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-events:
			settle(ctx, events)
		}
		last = s.check(report, last)
	}
}

// check reloads and reports; it returns the text of the error that stands.
func (s *Store) check(report func(error), last string) string {
	changed, err := s.Reload()
	switch {
	case err == nil && changed:
		report(nil)
	case err != nil && err.Error() != last:
		report(err)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func readFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, errNotCert
	}
	return os.ReadFile(path)
}
