// Package smtpd receives mail over SMTP (RFC 5321): from the internet, from
// users (submission, smtps) and from this machine. cmd/mtad accepts the
// connections and hands each to a Server; the Server asks receive/policy about
// every command and gives the bytes to receive/intake, whose Commit is the
// promise behind "250 queued as".
//
// Replies, refusals and log lines are Postfix's, byte for byte. Each verb is one
// file. A session holds about 16 KiB while it waits (a 4 KiB buffer, a stack, the
// state of a transaction) and 64 KiB more while a message's bytes come in; with
// TLS about 40 KiB on top. Nothing a client sends makes it hold more, but the
// recipients of a transaction (at most smtpd_recipient_limit lines of 2 KiB).
package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd/peername"
	"packetboat/internal/receive/smtpd/syntax"
)

// Server is one service of master.cf: port 25, submission or smtps. It is safe
// for many connections at once.
type Server struct {
	opts  Options
	deps  Deps
	ehlo  syntax.Keywords
	names *peername.Finder

	exempt, xclient, xforward, noAuth, bareOK *gate.Hosts

	filter  gate.Table   // smtpd_command_filter; nil: none
	discard []gate.Table // smtpd_discard_ehlo_keyword_address_maps
	bad     []gate.Table // of smtpd_forbidden_commands

	calm, stress limits
	stressed     atomic.Bool

	mu      sync.Mutex
	all     map[*session]struct{}
	clients map[netip.Prefix]int
	closing atomic.Bool

	instances atomic.Uint64 // transactions begun
	idle      sync.Cond     // on mu: all became empty
}

// New returns a Server. The error names an option that cannot work.
func New(o Options, d Deps) (*Server, error) {
	o = o.withDefaults()
	if d.Policy == nil || d.Open == nil {
		return nil, errors.New("smtpd needs a policy and a queue")
	}
	if d.TLS == nil && (o.TLSWrapper || o.TLSLevel == "encrypt") {
		return nil, fmt.Errorf("service %s requires TLS, but has no certificate: set smtpd_tls_cert_file and smtpd_tls_key_file", o.Service)
	}
	if o.Upstream != "" && o.Upstream != "haproxy" {
		return nil, fmt.Errorf("smtpd_upstream_proxy_protocol = %s is not known: write haproxy, or nothing", o.Upstream)
	}
	s := &Server{opts: o, deps: d, ehlo: syntax.NewKeywords(o.DiscardEHLO), calm: o.limits(), stress: o.limits(),
		all: make(map[*session]struct{}), clients: make(map[netip.Prefix]int)}
	if o.Stress != nil {
		hard := o.Stress.withDefaults()
		s.stress = hard.limits()
	}
	s.idle.L = &s.mu
	if err := s.hosts(); err != nil {
		return nil, err
	}
	if !no(o.NoPeername) && d.Resolver != nil {
		s.names = peername.New(d.Resolver)
	}
	return s, nil
}

// no reads a parameter whose default is yes.
func no(v string) bool { return v == "no" || v == "No" || v == "NO" }

// ServeConn holds one session and closes conn. A fault in this program ends
// only this session.
func (s *Server) ServeConn(conn net.Conn) {
	c := newSession(s, conn)
	defer c.end()
	if !c.upstream() {
		return
	}
	n, ok := s.enter(c)
	if !ok {
		c.busy()
		return
	}
	defer s.leave(c)
	defer c.recover()
	c.serve(n)
}

// enter counts a session; n is how many its client has now. ok is false when
// the service is full.
func (s *Server) enter(c *session) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= s.opts.MaxSessions {
		return 0, false
	}
	s.all[c] = struct{}{}
	s.clients[c.network]++
	s.weigh()
	return s.clients[c.network], true
}

func (s *Server) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
	s.weigh()
	if s.clients[c.network]--; s.clients[c.network] <= 0 {
		delete(s.clients, c.network)
	}
	if len(s.all) == 0 {
		s.idle.Broadcast()
	}
}

// Sessions returns how many sessions there are.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Drain ends the service: sessions that wait for a command get a 421, those
// within a transaction may finish it. It returns when all are gone, or closes
// those that are left when ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.closing.Store(true)
	s.mu.Lock()
	for c := range s.all {
		c.wake()
	}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, s.closeAll)
	defer stop()
	s.mu.Lock()
	for len(s.all) > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		c.raw.Close()
	}
}
