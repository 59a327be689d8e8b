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
	Timeout          time.Duration  // for all up to the login; 0 = 3 minutes
	MaxClients       int            // before their login; 0 = 1000
	MaxPerIP         int            // of these from one address (IPv6: one /64); 0 = 100
	Log              *maillog.Log
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
	sockets map[net.Conn]bool // for Shutdown: clients before their login
	active  sync.WaitGroup    // clients before their login, and proxies behind it
	closing bool
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
	return &Server{o: o, auth: auth, parent: parent, perIP: make(map[netip.Prefix]int), sockets: make(map[net.Conn]bool)}
}

// Serve accepts clients of p until l is closed. immediate means that TLS
// begins at once (ports 993 and 995).
func (s *Server) Serve(l net.Listener, p Proto, immediate bool) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // out of descriptors, or a client that left at once
			continue
		}
		go s.meet(c, p, immediate)
	}
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
func (s *Server) meet(c net.Conn, p Proto, immediate bool) {
	ip := netOf(c.RemoteAddr())
	if !s.enter(c, ip) {
		c.Close()
		return
	}
	cl := s.newClient(c, p)
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

// enter counts a client in, unless there are too many.
func (s *Server) enter(c net.Conn, ip netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.clients >= s.o.MaxClients || s.perIP[ip] >= s.o.MaxPerIP {
		return false
	}
	s.active.Add(1)
	s.clients++
	s.perIP[ip]++
	s.sockets[c] = true
	return true
}

func (s *Server) leave(c net.Conn, ip netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.Done()
	s.clients--
	delete(s.sockets, c)
	if s.perIP[ip]--; s.perIP[ip] <= 0 {
		delete(s.perIP, ip)
	}
}

// netOf returns the network that an address counts as: itself, or its /64.
func netOf(a net.Addr) netip.Prefix {
	ap := addrPort(a)
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
