// Package login talks with IMAP and POP3 clients until they have proved who
// they are: greeting, CAPABILITY or CAPA, STARTTLS, authentication. It runs in
// a process without rights: it sees no file and no mail, asks the auth process
// through auth/wire, and hands a client that was let in to its parent, which
// asks auth itself whom the ticket belongs to. So a break into this process
// gives the attacker nobody's mail.
//
// A plain connection leaves the process with its descriptor. For TLS the keys
// stay here: two goroutines carry bytes between the client and the mail
// process until either ends.
//
// Memory: a client before its login costs at most 8 KiB of input buffer and
// its goroutine, with TLS about 45 KiB; at most MaxClients of them are held at
// once. A plain client after its login costs nothing here, one with TLS 21 KiB
// (measured with 1,000 of them idle).
package login

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// Proto is a protocol of the clients.
type Proto string

// The values of Proto: the service's name for auth and log.
const (
	IMAP Proto = "imap"
	POP3 Proto = "pop3"
)

// Options is how clients are met. The zero value offers no TLS and takes
// passwords in the clear.
type Options struct {
	Greeting         string         `dovecot:"login_greeting"`         // empty = "Packetboat ready."
	DisablePlaintext bool           `dovecot:"disable_plaintext_auth"` // no passwords without TLS
	Verbose          bool           `dovecot:"auth_verbose"`           // log each refused try
	RequireTLS       bool           // ssl = required: no authentication at all without TLS
	TLS              *tls.Config    // nil = no STARTTLS and no TLS ports
	Trusted          []netip.Prefix // login_trusted_networks: as good as TLS
	Balancers        []netip.Prefix // haproxy_trusted_networks: who may tell a client's address
	BalancerTimeout  time.Duration  `dovecot:"haproxy_timeout"` // for their header; 0 = 3 s
	Timeout          time.Duration  // for all up to the login; 0 = 3 minutes
	MaxClients       int            // before their login; 0 = 1000; one more pushes the oldest out
	MaxPerIP         int            // of these from one address (IPv6: one /64); 0 = 100
	Log              *maillog.Log
	LogFormat        LogFormat
	Exceptions       []Exception // for some networks; of those that fit the last one counts
}

// Exception is what differs for connections from, or to, a network: a section
// remote or local of dovecot.conf. nil = it says nothing of that.
type Exception struct {
	Remote, Local    netip.Prefix // the zero value is every address
	DisablePlaintext *bool
	RequireTLS       *bool
}

// demands tells whether a connection may send passwords in the clear, and whether
// it has to be TLS.
func (o *Options) demands(local, remote netip.Addr) (plain, needTLS bool) {
	disable, needTLS := o.DisablePlaintext, o.RequireTLS
	for _, x := range o.Exceptions {
		if x.Remote.IsValid() && !x.Remote.Contains(remote) || x.Local.IsValid() && !x.Local.Contains(local) {
			continue
		}
		if x.DisablePlaintext != nil {
			disable = *x.DisablePlaintext
		}
		if x.RequireTLS != nil {
			needTLS = *x.RequireTLS
		}
	}
	return !disable, needTLS
}

// Handover is a client that was let in.
type Handover struct {
	Ticket  wire.Ticket
	Proto   Proto
	User    string // for the log only: the parent asks auth by Ticket
	Method  string
	Tag     string // of the IMAP command that gets the OK
	Pending []byte // what the client sent behind it
	TLS     bool
	Session string
	Remote  netip.AddrPort
	Local   netip.AddrPort
}

// ErrTooMany says that the user has mail_max_userip_connections sessions.
var ErrTooMany = errors.New("too many connections")

// Parent takes clients over. It returns the number of the process that serves
// the client from now on. It does not close conn.
type Parent interface {
	Handover(ctx context.Context, h Handover, conn *os.File) (mpid int, err error)
}

// Limits and defaults.
const (
	defaultGreeting   = "Packetboat ready."
	defaultTimeout    = 3 * time.Minute // as Dovecot's login processes
	defaultMaxClients = 1000
	defaultMaxPerIP   = 100
	defaultBalancer   = 3 * time.Second
	writeTimeout      = 30 * time.Second
	handoverTimeout   = 30 * time.Second
)

// Server meets clients. Close ends the listeners' Serve calls by closing them.
type Server struct {
	o      Options
	auth   *wire.Client
	parent Parent

	mu      sync.Mutex
	clients int
	perIP   map[netip.Prefix]int
	sockets map[net.Conn]*waiting // clients before their login
	entered uint64                // how many came ever: the order of waiting
	pushed  int                   // of clients: told to go, but not gone yet
	active  sync.WaitGroup        // clients before their login, and proxies behind it
	closing bool
}

// waiting is a client before its login.
type waiting struct {
	ip     netip.Prefix
	order  uint64
	pushed bool // has to make room for a newer one
}

// New returns a Server that asks auth and hands over to parent.
func New(o Options, auth *wire.Client, parent Parent) *Server {
	if o.Greeting == "" {
		o.Greeting = defaultGreeting
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxClients == 0 {
		o.MaxClients = defaultMaxClients
	}
	if o.MaxPerIP == 0 {
		o.MaxPerIP = defaultMaxPerIP
	}
	if o.BalancerTimeout == 0 {
		o.BalancerTimeout = defaultBalancer
	}
	return &Server{o: o, auth: auth, parent: parent, perIP: make(map[netip.Prefix]int), sockets: make(map[net.Conn]*waiting)}
}

// Serve accepts clients of p until l is closed. immediate means that TLS
// begins at once (ports 993 and 995).
func (s *Server) Serve(l net.Listener, p Proto, immediate bool) {
	proc.Accept(l, nil, func(c net.Conn) { s.meet(c, p, immediate, addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())) })
}

// Shutdown sends every client away that has not logged in yet, and waits for
// those that have until ctx ends.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	for c := range s.sockets {
		c.SetReadDeadline(time.Now()) // wakes the session, which says goodbye
	}
	s.mu.Unlock()
	s.Drain(ctx)
}

// Drain waits until the last client has gone, or ctx ends. Close the listeners
// before.
func (s *Server) Drain(ctx context.Context) {
	done := make(chan struct{})
	go func() { s.active.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// meet runs one client from its first byte to its login.
func (s *Server) meet(c net.Conn, p Proto, immediate bool, local, remote netip.AddrPort) {
	ip := netOf(remote)
	if !s.enter(c, ip) {
		c.Close()
		return
	}
	cl := s.newClient(c, p, local, remote)
	defer func() {
		if e := recover(); e != nil {
			s.o.Log.DovecotError(string(p)+"-login", "panic: "+string(debug.Stack()))
			c.Close()
		}
		s.leave(c, ip)
		cl.free()
	}()
	cl.run(immediate)
}

// enter counts a client in. When there are too many, the oldest one has to go,
// as with Dovecot: strangers who connect and say nothing must not keep those
// out who log in at once. It is false only when nobody can be pushed out.
func (s *Server) enter(c net.Conn, ip netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing || s.clients >= 2*s.o.MaxClients || s.perIP[ip] >= 2*s.o.MaxPerIP:
		return false
	case s.perIP[ip] >= s.o.MaxPerIP:
		s.push(func(w *waiting) bool { return w.ip == ip })
	case s.clients-s.pushed >= s.o.MaxClients:
		s.push(func(*waiting) bool { return true })
	}
	s.active.Add(1)
	s.clients++
	s.perIP[ip]++
	s.entered++
	s.sockets[c] = &waiting{ip: ip, order: s.entered}
	return true
}

// push wakes the oldest client that may is true for; its session says goodbye.
// s.mu is held.
func (s *Server) push(may func(*waiting) bool) {
	var oldest *waiting
	var conn net.Conn
	for c, w := range s.sockets {
		if !w.pushed && may(w) && (oldest == nil || w.order < oldest.order) {
			oldest, conn = w, c
		}
	}
	if oldest != nil {
		oldest.pushed = true
		s.pushed++
		conn.SetReadDeadline(time.Now())
	}
}

// isPushed tells whether a client has to make room.
func (s *Server) isPushed(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.sockets[c]
	return w != nil && w.pushed
}

func (s *Server) leave(c net.Conn, ip netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.Done()
	s.clients--
	if s.sockets[c].pushed {
		s.pushed--
	}
	delete(s.sockets, c)
	if s.perIP[ip]--; s.perIP[ip] <= 0 {
		delete(s.perIP, ip)
	}
}

// netOf returns the network that an address counts as: itself, or its /64.
func netOf(ap netip.AddrPort) netip.Prefix {
	if !ap.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if ap.Addr().Is6() {
		bits = 64
	}
	p, _ := ap.Addr().Prefix(bits)
	return p
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
