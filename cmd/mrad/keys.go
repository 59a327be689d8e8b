package main

import (
	"context"
	"os"
	"slices"

	"packetboat/cmd/mrad/keyring"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/config"
)

// openKeys notes certificate and key as they are before the login process gets
// them, so that a change from then on is known for one. It returns nil without
// TLS.
func (s *settings) openKeys() (*cert.Store, error) {
	if !s.tls() {
		return nil, nil
	}
	return cert.OpenChain(s.keyFiles()...)
}

// watchKeys watches certificate and key, so that a renewed pair is used from the
// next handshake on. The parent does it: the login process sees no file. A
// reload calls it again, for the files may be others. err is that of openKeys.
func (p *parent) watchKeys(store *cert.Store, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	old, s := p.unwatch, p.s
	p.unwatch = cancel
	p.mu.Unlock()
	if old != nil {
		old()
	}
	switch {
	case store == nil && err == nil || p.login == nil:
	case err != nil:
		p.log().DovecotError("master", "ssl_cert: "+err.Error())
	default:
		go store.Watch(ctx, func(err error) { p.renewKeys(s, err) })
	}
}

// renewKeys hands a renewed pair to the login processes. err says that the files
// cannot be used: the old pair stays.
func (p *parent) renewKeys(s *settings, err error) {
	var u setup
	if err == nil {
		err = s.fillKeys(&u)
	}
	if err != nil {
		p.log().DovecotError("master", "ssl_cert: "+err.Error()+"; the old certificate stays")
		return
	}
	p.logs().Info.DovecotInfo("master", "ssl_cert: "+s.Cert+" is taken up")
	p.login.tell(message{Op: opKeys, Setup: &u})
}

// tell sends m to every process of the role.
func (r *role) tell(m message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for q := range r.all {
		go q.send(m)
	}
}

// certFiles names a certificate and its key; without a key it is in the same file.
type certFiles struct {
	Cert string `dovecot:"ssl_cert,path"`
	Key  string `dovecot:"ssl_key,path"`
}

// named returns the certificates of the local_name sections.
func (s *settings) named() map[string]certFiles {
	list := make(map[string]certFiles)
	s.conf.Filters(func(f config.Filter, b *config.Block) {
		var c certFiles
		if f == (config.Filter{LocalName: f.LocalName}) && f.LocalName != "" && b.Find("ssl_cert") != nil &&
			s.conf.For(config.Context{LocalName: f.LocalName}).Decode(&c) == nil {
			list[f.LocalName] = c
		}
	})
	return list
}

// keyFiles are all files of certificates and keys.
func (s *settings) keyFiles() (files []string) {
	add := func(c certFiles) {
		for _, f := range []string{c.Cert, c.Key} {
			if f != "" && !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	add(certFiles{s.Cert, s.Key})
	for _, c := range s.named() {
		add(c)
	}
	return files
}

// fillKeys reads all certificates and keys into a login process's setup.
func (s *settings) fillKeys(u *setup) (err error) {
	if u.CertPEM, u.KeyPEM, err = s.readKeys(certFiles{s.Cert, s.Key}); err != nil {
		return err
	}
	for name, c := range s.named() {
		n := keyring.Named{Name: name}
		if n.Cert, n.Key, err = s.readKeys(c); err != nil {
			return err
		}
		u.Names = append(u.Names, n)
	}
	return nil
}

// tryKeys tells whether the certificates and keys can be read, where there is TLS.
func (s *settings) tryKeys() error {
	if !s.tls() {
		return nil
	}
	return s.fillKeys(&setup{})
}

// readKeys reads a certificate and its key.
func (s *settings) readKeys(c certFiles) (certPEM, keyPEM []byte, err error) {
	if certPEM, err = os.ReadFile(c.Cert); err != nil {
		return nil, nil, s.errorAt("ssl_cert", err.Error(), "name a certificate that exists, or write ssl = no")
	}
	if c.Key == "" || c.Key == c.Cert {
		return certPEM, certPEM, nil
	}
	if keyPEM, err = os.ReadFile(c.Key); err != nil {
		return nil, nil, s.errorAt("ssl_key", err.Error(), "name the key that belongs to ssl_cert")
	}
	return certPEM, keyPEM, nil
}
