package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"packetboat/cmd/mrad/lmtp"
	"packetboat/cmd/mrad/pamcall"
	"packetboat/internal/auth"
	"packetboat/internal/auth/wire"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// channelFD is the descriptor of a role's end of its channel.
const channelFD = 3

// roleLog is a role's log: lines on standard error, which the parent reads.
func roleLog() *maillog.Log { return roleLogger().Program("") }

func roleLogger() *maillog.Logger {
	return maillog.To(os.Stderr, maillog.Options{Name: "dovecot", Bare: true, Host: "-"})
}

// authRole answers passwords and accounts. It runs as root where the parent
// does: PAM and shadow files want it.
type authRole struct {
	p      *peer
	auth   *auth.Auth
	server *wire.Server
	log    *maillog.Log
	ears   []net.Listener

	proxies bool // lmtp_proxy
}

func runAuth(path string) error {
	ch, err := proc.Inherited(channelFD)
	if err != nil {
		return err
	}
	s, err := load(path, true) // the parent has judged it
	if err != nil {
		return err
	}
	r := &authRole{p: newPeer(ch), log: roleLog(), proxies: s.conf.For(config.Context{Protocol: "lmtp"}).Get("lmtp_proxy") == "yes"} // as lmtp.Options.Proxy
	o, err := s.authOptions()
	if err != nil {
		return err
	}
	o.Log = r.tell
	if pam, err := pamcall.New(); err == nil {
		o.PAM = pam
	}
	if r.auth, err = auth.New(o); err != nil {
		return err
	}
	r.server = &wire.Server{Backend: r.auth, Warn: func(text string) { r.log.DovecotError("auth", text) }}
	r.p.serve(r.handle)
	return nil
}

func (r *authRole) tell(v auth.Level, text string) {
	if v == auth.Error {
		r.log.DovecotError("auth", text)
		return
	}
	r.log.DovecotInfo("auth", text)
}

func (r *authRole) handle(e event) {
	switch e.Op {
	case opRun:
		r.p.send(message{Op: opReady})
	case opListen:
		if l, err := listenerOf(e); err == nil {
			r.ears = append(r.ears, l)
			if e.Listen.Service == "userdb" {
				go proc.Accept(l, nil, r.serveUserdb)
				return
			}
			go r.server.Serve(l)
		}
		return
	case opRetire: // new clients are the new process's
		for _, l := range r.ears {
			l.Close()
		}
	case opClient:
		if len(e.files) == 1 {
			if c, err := net.FileConn(e.files[0]); err == nil {
				go r.server.ServeConn(c)
			}
		}
	case opClaim:
		go r.claim(e)
		return
	case opLookup:
		go r.lookup(e)
		return
	}
	e.close()
}

// listenerOf makes a listener of the socket that came with an event.
func listenerOf(e event) (net.Listener, error) {
	defer e.close()
	if len(e.files) != 1 {
		return nil, errors.New("no socket came with the message")
	}
	l, err := net.FileListener(e.files[0])
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the parent made the name and takes it away
	}
	return l, err
}

// lookupTimeout bounds one question to the userdbs.
const lookupTimeout = time.Minute

// claim answers whom a ticket belongs to. The login process that sends it says
// nothing about the user: all comes from this process's own memory.
func (r *authRole) claim(e event) {
	req, ans, ok := r.server.Claim(*e.Ticket)
	if !ok {
		r.p.fail(e.message, errors.New("no such login"))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	q := &auth.Query{User: ans.User, Orig: ans.Fields["original_user"], Service: req.Service, Session: req.Session}
	if req.Remote.IsValid() {
		q.Remote = req.Remote.Addr().String()
	}
	u, err := r.auth.LoggedIn(ctx, q, ans.Hidden)
	if err != nil {
		r.log.DovecotError("auth", fmt.Sprintf("user %q logged in, but: %v", ans.User, err))
		r.p.fail(e.message, err)
		return
	}
	r.p.reply(e.message, message{User: u, Name: req.Service})
}

func (r *authRole) lookup(e event) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	if e.Kind == lookupMail && r.proxies {
		if _, f, err := r.auth.Passdb(ctx, e.Name, "lmtp"); err == nil && lmtp.Proxied(f) {
			r.p.reply(e.message, message{Extra: f})
			return
		}
	}
	u, err := r.auth.User(ctx, e.Name, "lmtp", nil)
	if err != nil {
		r.p.fail(e.message, err)
		return
	}
	r.p.reply(e.message, message{User: u})
}
