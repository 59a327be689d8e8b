package main

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"packetboat/cmd/mrad/keyring"
	"packetboat/internal/auth/wire"
	"packetboat/internal/serve/login"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// loginRole meets the clients. It gives up every right before it reads a byte.
type loginRole struct {
	p       *peer
	log     *maillog.Log
	auth    *wire.Client
	servers map[login.Proto]*login.Server
	ring    keyring.Ring
	stores  []*cert.Store // one a protocol, over ring
	mu      sync.Mutex
	ears    []net.Listener
}

func runLogin(string) error {
	ch, err := proc.Inherited(channelFD)
	if err != nil {
		return err
	}
	r := &loginRole{p: newPeer(ch), log: roleLog(), servers: make(map[login.Proto]*login.Server)}
	r.auth = wire.New(r.dialAuth)
	r.p.serve(func(e event) {
		if err := r.handle(e); err != nil {
			os.Exit(complain(err)) // the parent starts another one
		}
	})
	return nil
}

func (r *loginRole) handle(e event) error {
	switch e.Op {
	case opSetup:
		e.close()
		return r.setup(e.Setup, login.Proto(e.Name))
	case opListen:
		l, err := listenerOf(e)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.ears = append(r.ears, l)
		r.mu.Unlock()
		go r.serve(l, *e.Listen)
		return nil
	case opRun:
		return r.p.send(message{Op: opReady})
	case opKeys:
		r.ring.Set(e.Setup.keys())
		for _, s := range r.stores {
			if _, err := s.Reload(); err != nil {
				r.log.DovecotError("login", "ssl_cert: "+err.Error())
			}
		}
	case opRetire:
		go r.retire(24*time.Hour, (*login.Server).Drain)
	case opStop:
		go r.retire(stopTime, (*login.Server).Shutdown)
	}
	e.close()
	return nil
}

func (r *loginRole) serve(l net.Listener, as listenAs) {
	if as.Service == "sieve" {
		serveSieve(l)
		return
	}
	server := r.servers[login.Proto(as.Service)]
	if as.HAProxy {
		server.ServeBalanced(l, login.Proto(as.Service), as.SSL)
		return
	}
	server.Serve(l, login.Proto(as.Service), as.SSL)
}

// setup makes the server of one protocol; the first one also confines the
// process. The server of the second shares the wall.
func (r *loginRole) setup(u *setup, proto login.Proto) error {
	o := login.Options{Greeting: u.Greeting, DisablePlaintext: u.DisablePlaintext, Verbose: u.Verbose,
		RequireTLS: u.RequireTLS, Trusted: u.Trusted, Balancers: u.Balancers, BalancerTimeout: u.BalancerTimeout, Log: r.log, LogFormat: u.LogFormat, Exceptions: u.Exceptions}
	if len(u.CertPEM) > 0 {
		store, all, err := r.ring.Open(u.keys())
		if err != nil {
			return err
		}
		r.stores = append(r.stores, all...)
		if o.TLS, err = store.TLSConfig(u.TLS); err != nil {
			return err
		}
	}
	if len(r.servers) == 0 {
		if err := confine(u); err != nil {
			return err
		}
	}
	r.servers[proto] = login.New(o, r.auth, r)
	return nil
}

// confine takes away every right but the open sockets: no file (Landlock), an
// empty root folder, the login user. Landlock comes first, because it looks
// into /proc once.
func confine(u *setup) error {
	_ = time.Now().Local().String() // reads the time zone's file now
	if err := proc.Confine(nil, nil); err != nil {
		return err
	}
	if u.RunAs != nil {
		if err := proc.Chroot(u.Chroot); err != nil {
			return err
		}
		return proc.Become(u.RunAs, 0)
	}
	return nil
}

// authWait is how long a client waits for an auth process that is being
// started again.
const authWait = 5 * time.Second

// dialAuth connects to the auth process that lives now, or comes up soon.
func (r *loginRole) dialAuth(ctx context.Context) (net.Conn, error) {
	for end := time.Now().Add(authWait); ; time.Sleep(50 * time.Millisecond) {
		c, err := r.askAuth(ctx)
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return c, err
		}
	}
}

// askAuth asks the parent for a connection.
func (r *loginRole) askAuth(ctx context.Context) (net.Conn, error) {
	e, err := r.p.call(ctx, message{Op: opAuth})
	if err != nil {
		return nil, err
	}
	defer e.close()
	if len(e.files) != 1 {
		return nil, errors.New("no connection to auth")
	}
	return net.FileConn(e.files[0])
}

// Handover implements login.Parent.
func (r *loginRole) Handover(ctx context.Context, h login.Handover, conn *os.File) (int, error) {
	e, err := r.p.call(ctx, message{Op: opHandover, Handover: &h}, conn)
	e.close()
	return e.Number, err
}

// retire closes the ears and ends the process when its last client has gone,
// at the latest after limit.
func (r *loginRole) retire(limit time.Duration, wait func(*login.Server, context.Context)) {
	r.mu.Lock()
	for _, l := range r.ears {
		l.Close()
	}
	r.ears = nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, s := range r.servers {
		wait(s, ctx)
	}
	r.p.ch.Close()
	os.Exit(0)
}

// serveSieve tells ManageSieve clients that there is none (RFC 5804 section
// 1.3: a server may greet with BYE).
func serveSieve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte("BYE \"ManageSieve is not available here.\"\r\n"))
		c.Close()
	}
}
