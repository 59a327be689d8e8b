package main

import (
	"os"
	"path/filepath"
	"slices"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// startRoles starts auth first: login asks it from its first client on.
func (p *parent) startRoles() error {
	p.auth = &role{name: "auth", p: p, setup: p.setupAuth, handle: func(_ *peer, e event) { e.close() }}
	if err := p.auth.start(); err != nil {
		return err
	}
	if p.s.speaks("imap") || p.s.speaks("pop3") || p.s.speaks("sieve") {
		p.login = &role{name: "login", p: p, setup: p.setupLogin, handle: p.fromLogin}
		if err := p.login.start(); err != nil {
			return err
		}
	}
	if p.s.speaks("lmtp") || slices.ContainsFunc(p.s.services, runsQuotaStatus) {
		p.lmtp = &role{name: "lmtp", p: p, setup: p.setupLMTP, handle: p.fromLMTP, user: p.internalUser}
		if err := p.lmtp.start(); err != nil {
			return err
		}
	}
	return p.startScripts()
}

// internalUser is whom roles run as that need no right but no prison either.
func (p *parent) internalUser() (*proc.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	return proc.LookupUser(p.settings().InternalUser)
}

func (p *parent) setupAuth(q *peer) error { return p.sockets.send(q, "auth", "userdb") }

// setupLogin hands the login process keys, settings and sockets.
func (p *parent) setupLogin(q *peer) error {
	s := p.settings()
	for _, proto := range []string{"imap", "pop3"} {
		u, err := s.setupFor(proto)
		if err != nil {
			return err
		}
		if s.tls() {
			if err = s.fillKeys(u); err != nil {
				return err
			}
		}
		u.Chroot = filepath.Join(s.BaseDir, "empty")
		if os.Geteuid() == 0 {
			if u.RunAs, err = proc.LookupUser(s.LoginUser); err != nil {
				return s.errorAt("default_login_user", s.LoginUser+": "+err.Error(), "make the account, or name another")
			}
		}
		if err := q.send(message{Op: opSetup, Setup: u, Name: proto}); err != nil {
			return err
		}
	}
	return p.sockets.send(q, "imap", "pop3", "sieve")
}

func (p *parent) fromLogin(q *peer, e event) {
	switch e.Op {
	case opAuth:
		go p.connectAuth(q, e)
	case opHandover:
		go p.handover(q, e)
		return // handover closes the files
	}
	e.close()
}

// unixListener returns where a unix_listener is on disk.
func (s *settings) unixPath(l config.UnixListener) string {
	if filepath.IsAbs(l.Path) {
		return l.Path
	}
	return filepath.Join(s.BaseDir, l.Path)
}
