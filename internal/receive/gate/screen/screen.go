// Package screen looks at clients before a SMTP server does: postscreen(8) of
// Postfix. Robots that send spam speak before they are greeted, stand on block
// lists, or do not wait for answers; mail servers do none of that and are
// remembered, so that they never wait again. cmd/mtad puts a Screen in front of
// a smtpd.Server where master.cf has a postscreen service. A client that is let
// in is handed over within the process, on the same connection.
//
// A client under test costs a goroutine, a 4 KiB buffer, and nothing else.
package screen

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/policy/dnslist"
	"packetboat/internal/receive/smtpd/syntax"
	"packetboat/internal/sys/haproxy"
	"packetboat/internal/sys/maillog"
)

// Options are the parameters of postscreen(8). The zero value is Postfix's default.
type Options struct {
	Hostname  string        `main:"myhostname"`
	Banner    string        `main:"smtpd_banner"`               // of the SMTP dialogue of the tests
	Access    []string      `main:"postscreen_access_list"`     // permit_mynetworks, permit, reject, dunno, tables
	Networks  []string      `main:"mynetworks"`                 // for permit_mynetworks
	Deny      string        `main:"postscreen_denylist_action"` // ignore, enforce, drop
	Allowed   []string      `main:"postscreen_allowlist_interfaces"`
	Teaser    string        `main:"postscreen_greet_banner"` // empty = none
	Wait      time.Duration `main:"postscreen_greet_wait"`   // 0 = 6 s
	Greet     string        `main:"postscreen_greet_action"`
	GreetTTL  time.Duration `main:"postscreen_greet_ttl"` // 0 = 1 day
	Sites     []string      `main:"postscreen_dnsbl_sites"`
	Threshold int           `main:"postscreen_dnsbl_threshold"`           // 0 = 1
	Good      int           `main:"postscreen_dnsbl_allowlist_threshold"` // below 0: a score as low passes all tests
	DNSBL     string        `main:"postscreen_dnsbl_action"`
	DNSTime   time.Duration `main:"postscreen_dnsbl_timeout"` // 0 = 10 s
	DNSMin    time.Duration `main:"postscreen_dnsbl_min_ttl"` // 0 = 60 s
	DNSMax    time.Duration `main:"postscreen_dnsbl_max_ttl"` // 0 = 1 hour
	Reply     string        `main:"postscreen_dnsbl_reply_map"`

	PipeOn   bool          `main:"postscreen_pipelining_enable"`
	Pipe     string        `main:"postscreen_pipelining_action"` // empty = enforce
	PipeTTL  time.Duration `main:"postscreen_pipelining_ttl"`    // 0 = 30 days, as the next two
	NonOn    bool          `main:"postscreen_non_smtp_command_enable"`
	Non      string        `main:"postscreen_non_smtp_command_action"` // empty = drop
	NonTTL   time.Duration `main:"postscreen_non_smtp_command_ttl"`
	BareOn   bool          `main:"postscreen_bare_newline_enable"`
	Bare     string        `main:"postscreen_bare_newline_action"`
	BareTTL  time.Duration `main:"postscreen_bare_newline_ttl"`
	Forbid   []string      `main:"postscreen_forbidden_commands"`
	Commands int           `main:"postscreen_command_count_limit"` // 0 = 20
	Timeout  time.Duration `main:"postscreen_command_time_limit"`  // 0 = 300 s
	Filter   string        `main:"postscreen_command_filter"`
	HeloNeed bool          `main:"postscreen_helo_required"`
	NoVRFY   bool          `main:"postscreen_disable_vrfy_command"`
	Discard  []string      `main:"postscreen_discard_ehlo_keywords"`
	// By address, before Discard.
	DiscardMaps []string `main:"postscreen_discard_ehlo_keyword_address_maps"`
	Footer      string   `main:"postscreen_reject_footer"` // behind each 4xx and 5xx reply
	FooterMaps  []string `main:"postscreen_reject_footer_maps"`
	Expansion   string   `main:"postscreen_expansion_filter"` // bytes that get into it; empty = printable ASCII
	Soft        bool     `main:"soft_bounce"`
	Size        int64    `main:"message_size_limit"`
	TLSLevel    string   `main:"postscreen_tls_security_level"`

	Cache        string        `main:"postscreen_cache_map"`                     // "btree:PATH"; ours is PATH.list
	Keep         time.Duration `main:"postscreen_cache_retention_time"`          // 0 = 7 days
	Clients      int           `main:"postscreen_client_connection_count_limit"` // 0 = no limit
	Queue        int           `main:"postscreen_pre_queue_limit"`               // clients under test; 0 = 100
	Upstream     string        `main:"postscreen_upstream_proxy_protocol"`
	UpstreamTime time.Duration `main:"postscreen_upstream_proxy_timeout"` // 0 = 5 s
	Stress       *Options      // the same parameters with stress=yes; nil = these
	// Respect writes ALLOWLISTED and DENYLISTED, not the words of Postfix before 3.6.
	Respect string `main:"respectful_logging"`
}

// Deps are what a Screen needs of the rest of the house.
type Deps struct {
	Log      *maillog.Log
	Resolver dnslist.Resolver // nil: no DNSBL is asked
	Table    gate.Open
	TLS      *tls.Config    // nil: no STARTTLS in the dialogue of the tests
	Serve    func(net.Conn) // the smtpd service that clients are handed to
}

// Screen is one postscreen service. It is safe for many connections at once.
type Screen struct {
	o       Options
	d       Deps
	access  []rule
	nets    *gate.Hosts
	allowed *gate.Hosts
	sites   []site
	lists   *dnslist.Lists
	reply   gate.Table
	filter  gate.Table
	forbid  []gate.Table
	cache   *cache

	footers, discard []gate.Table
	filterFooter     string
	hidden           syntax.Keywords

	stressed atomic.Bool
	mu       sync.Mutex
	clients  map[netip.Addr]int
	testing  int
}

// New opens lists and cache. The error names the parameter.
func New(o Options, d Deps) (*Screen, error) {
	s := &Screen{o: o.withDefaults(), d: d, clients: map[netip.Addr]int{}}
	if o.Stress != nil {
		hard := o.Stress.withDefaults()
		s.o.Stress = &hard
	}
	for name, v := range map[string]string{"denylist": s.o.Deny, "greet": s.o.Greet, "dnsbl": s.o.DNSBL,
		"pipelining": s.o.Pipe, "non_smtp_command": s.o.Non, "bare_newline": s.o.Bare} {
		if v != "ignore" && v != "enforce" && v != "drop" {
			return nil, fmt.Errorf("postscreen_%s_action = %s is not known: write ignore, enforce or drop", name, v)
		}
	}
	if o.Upstream != "" && o.Upstream != "haproxy" {
		return nil, fmt.Errorf("postscreen_upstream_proxy_protocol = %s is not known: write haproxy, or nothing", o.Upstream)
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	if d.Resolver != nil {
		s.lists = dnslist.New(d.Resolver, d.Log.Warn)
	}
	s.cache = openCache(s.o.Cache, s.o.Keep, d.Log)
	return s, nil
}

func (o Options) withDefaults() Options {
	day := 24 * time.Hour
	for _, t := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Wait, 6 * time.Second}, {&o.GreetTTL, day}, {&o.DNSTime, 10 * time.Second}, {&o.DNSMin, time.Minute}, {&o.DNSMax, time.Hour},
		{&o.PipeTTL, 30 * day}, {&o.NonTTL, 30 * day}, {&o.BareTTL, 30 * day}, {&o.Timeout, 300 * time.Second}, {&o.Keep, 7 * day},
		{&o.UpstreamTime, 5 * time.Second}} {
		if *t.v == 0 {
			*t.v = t.def
		}
	}
	for _, t := range []struct {
		v   *string
		def string
	}{{&o.Deny, "ignore"}, {&o.Greet, "ignore"}, {&o.DNSBL, "ignore"}, {&o.Pipe, "enforce"}, {&o.Non, "drop"}, {&o.Bare, "ignore"},
		{&o.Hostname, "localhost"}} {
		if *t.v = strings.ToLower(*t.v); *t.v == "" || *t.v == "continue" {
			*t.v = t.def
		}
	}
	for _, t := range []struct {
		v   *int
		def int
	}{{&o.Threshold, 1}, {&o.Commands, 20}, {&o.Queue, 100}} {
		if *t.v == 0 {
			*t.v = t.def
		}
	}
	if o.Banner == "" {
		o.Banner = o.Hostname + " ESMTP Postfix"
	}
	return o
}

// Run writes the list of known clients now and then, until ctx ends.
func (s *Screen) Run(ctx context.Context) { s.cache.run(ctx) }

// ServeConn tests a client and hands it to smtpd, or closes the connection. A
// fault in this program costs only this client.
func (s *Screen) ServeConn(raw net.Conn) {
	kept := true
	defer func() {
		if fault := recover(); fault != nil {
			s.d.Log.SMTPDPanic(raw.RemoteAddr().String(), fault, debug.Stack())
		}
		if kept {
			raw.Close()
		}
	}()
	conn := &handed{Conn: raw}
	if s.o.Upstream != "" {
		h, err := haproxy.Read(raw, s.o.UpstreamTime)
		if err != nil {
			s.d.Log.SMTPDUpstream(err)
			return
		}
		if !h.Local {
			conn.client, conn.server = net.TCPAddrFromAddrPort(h.Client), net.TCPAddrFromAddrPort(h.Server)
		}
	}
	c := newClient(s, conn)
	s.d.Log.ScreenConnect(c.end, endpoint(conn.LocalAddr()))
	if !s.enter(c) {
		return
	}
	pass := c.test()
	s.leave(c)
	if !pass {
		return
	}
	kept = false
	conn.SetDeadline(time.Time{})
	s.d.Serve(conn)
}

// enter counts a client; false when there are too many.
func (s *Screen) enter(c *client) bool {
	s.mu.Lock()
	n, all := s.clients[c.addr]+1, s.testing+1
	crowd := s.o.Clients > 0 && n > s.o.Clients && !c.local
	if !crowd && all <= s.o.Queue {
		s.clients[c.addr], s.testing = n, all
		s.weigh()
		s.mu.Unlock()
		return true
	}
	s.mu.Unlock()
	if crowd {
		s.d.Log.ScreenCrowd(c.end)
		return c.drop("421 4.7.0 Error: too many connections")
	}
	s.d.Log.ScreenBusy(c.end)
	return c.drop("421 4.3.2 All screening ports are busy")
}

func (s *Screen) leave(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.testing--
	s.weigh()
	if s.clients[c.addr]--; s.clients[c.addr] <= 0 {
		delete(s.clients, c.addr)
	}
}

// handed is a connection with the client's true address, and what it said too
// early in front of what it says.
type handed struct {
	net.Conn
	client, server *net.TCPAddr
	early          []byte
}

// Read gives what came early first.
func (h *handed) Read(p []byte) (int, error) {
	if len(h.early) > 0 {
		n := copy(p, h.early)
		h.early = h.early[n:]
		return n, nil
	}
	return h.Conn.Read(p)
}

// RemoteAddr is the client's address, as the load balancer told it.
func (h *handed) RemoteAddr() net.Addr {
	if h.client != nil {
		return h.client
	}
	return h.Conn.RemoteAddr()
}

// LocalAddr is our end, as the client sees it.
func (h *handed) LocalAddr() net.Addr {
	if h.server != nil {
		return h.server
	}
	return h.Conn.LocalAddr()
}

// endpoint writes "[address]:port".
func endpoint(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return "[unknown]:0"
	}
	ap := t.AddrPort()
	return fmt.Sprintf("[%s]:%d", ap.Addr().Unmap(), ap.Port())
}
