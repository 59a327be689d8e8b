package main

import (
	"context"
	"sync"

	"packetboat/internal/sys/cert"
)

// watchKeys watches certificate and key, so that a renewed pair is used from the
// next handshake on. The parent does it: the login process sees no file. A
// reload calls it again, for the files may be others.
func (p *parent) watchKeys() {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	old, s := p.unwatch, p.s
	p.unwatch = cancel
	p.mu.Unlock()
	if old != nil {
		old()
	}
	if !s.tls() || p.login == nil {
		return
	}
	files := []string{s.Cert}
	if s.Key != "" && s.Key != s.Cert {
		files = append(files, s.Key)
	}
	store, err := cert.OpenChain(files...)
	if err != nil {
		p.log().DovecotError("master", "ssl_cert: "+err.Error())
		return
	}
	go store.Watch(ctx, func(err error) { p.renewKeys(s, err) })
}

// renewKeys hands a renewed pair to the login processes. err says that the files
// cannot be used: the old pair stays.
func (p *parent) renewKeys(s *settings, err error) {
	var u setup
	if err == nil {
		u.CertPEM, u.KeyPEM, err = s.keys()
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

// pair is the certificate and key of a login process, for a cert.Store: the
// parent changes them.
type pair struct {
	mu        sync.Mutex
	cert, key []byte
}

func (p *pair) set(u *setup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cert, p.key = u.CertPEM, u.KeyPEM
}

// read is a cert.Read.
func (p *pair) read(name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name == "key" {
		return p.key, nil
	}
	return p.cert, nil
}
