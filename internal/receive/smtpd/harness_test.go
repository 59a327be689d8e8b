package smtpd

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/policy"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// memQueue is a queue in memory: messages that were committed, in order.
type memQueue struct {
	mu   sync.Mutex
	n    int
	done []*memMessage
	fail func(step string) error // nil or the error for open, start, write, commit
}

type memMessage struct {
	q    *memQueue
	id   string
	env  mail.Envelope
	body bytes.Buffer
	gone bool
}

func (q *memQueue) err(step string) error {
	if q.fail == nil {
		return nil
	}
	return q.fail(step)
}

func (q *memQueue) Open() (Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.n++
	if err := q.err("open"); err != nil {
		return nil, err
	}
	return &memMessage{q: q, id: "4F" + strings.ToUpper(strings.Repeat("A", 3)) + itoa(int64(100000+q.n))}, nil
}

func (m *memMessage) ID() string { return m.id }

func (m *memMessage) Start(env *mail.Envelope) error {
	m.env = *env
	return m.q.err("start")
}

func (m *memMessage) Write(p []byte) (int, error) {
	if err := m.q.err("write"); err != nil {
		return 0, err
	}
	return m.body.Write(p)
}

func (m *memMessage) Commit() error {
	if err := m.q.err("commit"); err != nil {
		return err
	}
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	m.q.done = append(m.q.done, m)
	return nil
}

func (m *memMessage) Abort() { m.gone = true }

func (q *memQueue) messages() []*memMessage {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*memMessage(nil), q.done...)
}

// testRouter is the world of the dialogues: the same tables stand in the
// main.cf that a real Postfix gets.
type testRouter struct{ relay []string }

var (
	localUsers = map[string]bool{"alice": true, "bob": true, "postmaster": true, "root": true, "cmd": true,
		"fail": true, "fail2": true, "tofile": true, "inc": true, "loop": true}
	listed = map[string]bool{"info@va.test": true, "bob@vm.test": true, "ok@relay.test": true}
)

func (r testRouter) Class(_ context.Context, a mail.Address) (policy.Class, error) {
	d := strings.ToLower(a.Domain())
	for _, dom := range r.relay {
		if d == dom || strings.HasSuffix(d, "."+dom) {
			return policy.Relay, nil
		}
	}
	switch d {
	case "", "mail.example.org", "localhost", "[127.0.0.1]":
		return policy.Local, nil
	case "va.test":
		return policy.VirtualAlias, nil
	case "vm.test":
		return policy.VirtualMailbox, nil
	}
	return policy.Remote, nil
}

func (r testRouter) Exists(ctx context.Context, a mail.Address) (bool, error) {
	c, _ := r.Class(ctx, a)
	local, domain := a.Fold().Split()
	if domain == "err.test" {
		return false, mail.Bounce("5.1.2", "no")
	}
	switch c {
	case policy.Remote:
		return true, nil
	case policy.Local:
		base, _, _ := strings.Cut(local, "+")
		return localUsers[base], nil
	case policy.Relay:
		return domain != "relay.test" && !strings.HasSuffix(domain, ".relay.test") || listed[string(a.Fold())], nil
	}
	return listed[string(a.Fold())], nil
}

// testResolver knows localhost and the domains of the golden sessions.
type testResolver struct{}

func (testResolver) Name(_ context.Context, a netip.Addr) (string, string, error) {
	if a.String() == "127.0.0.1" {
		return "localhost", "localhost", nil
	}
	return "", "", &dns.Error{Name: a.String(), Type: "PTR", Kind: dns.NoHost}
}

func (testResolver) MX(_ context.Context, d string) ([]dns.MX, bool, error) {
	switch d {
	case "ok.test":
		return []dns.MX{{Host: "c.ok.test", Pref: 10}}, false, nil
	case "null.test":
		return []dns.MX{{}}, false, nil
	case "slow.test":
		return nil, false, &dns.Error{Name: d, Type: "MX", Kind: dns.TryAgain}
	}
	return nil, false, &dns.Error{Name: d, Type: "MX", Kind: dns.NoHost}
}

func (testResolver) Addrs(_ context.Context, h, _ string) ([]netip.Addr, error) {
	if h == "5.0.0.127.rbl.test" {
		return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
	}
	return nil, &dns.Error{Name: h, Type: "A", Kind: dns.NoHost}
}

func (testResolver) TXT(context.Context, string) ([]string, error) { return []string{"Blocked"}, nil }

// testLog gathers log lines without their time stamps.
type testLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, text, _ := strings.Cut(strings.TrimSuffix(string(p), "\n"), "]: ")
	l.lines = append(l.lines, text)
	return len(p), nil
}

func (l *testLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// world is a server of ours with all around it, listening on 127.0.0.1.
type world struct {
	srv   *Server
	queue *memQueue
	log   *testLog
	addr  string
	pol   policy.Options
	opts  Options
	deps  Deps
	relay []string

	tables string // folder of writeTables
	sink   string // address of startSink
}

func words2(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}

// newWorld returns the default configuration of the dialogues; change it, then
// start it.
func newWorld() *world {
	w := &world{queue: &memQueue{}, log: &testLog{}, relay: []string{"relay.test"}}
	w.pol = policy.Options{MyNetworks: []string{"127.0.0.1/32"}, Delimiter: "+",
		Relay: words2("permit_mynetworks permit_sasl_authenticated defer_unauth_destination")}
	w.opts = Options{Hostname: "mail.example.org", Banner: "mail.example.org ESMTP Postfix (Debian/GNU)",
		SizeLimit: 200000, Timeout: oracle.Patience,
		Forbidden: []string{"CONNECT", "GET", "POST", "regexp:{{/^[^A-Z]/ Bogus}}"}} // as main.cf has it
	return w
}

func (w *world) start(t testing.TB) *world {
	t.Helper()
	w.build(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { w.srv.ServeConn(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.srv.Drain(ctx)
		wg.Wait()
	})
	return w
}

// build makes the server, which listens to nobody yet.
func (w *world) build(t testing.TB) {
	t.Helper()
	log := maillog.To(w.log, maillog.Options{}).Program("smtpd")
	pol, err := policy.New(w.pol, policy.Deps{Log: log, Router: testRouter{w.relay}, Resolver: testResolver{}, Open: func(spec string) (policy.Table, error) { return table.Open(spec, table.Options{}) }})
	if err != nil {
		t.Fatal(err)
	}
	w.deps.Table = func(spec string) (gate.Table, error) { return table.Open(spec, table.Options{}) }
	if w.deps.Anvil == nil {
		w.deps.Anvil = gate.NewAnvil(gate.AnvilOptions{Unit: time.Hour}, nil)
	}
	w.deps.Log, w.deps.Policy, w.deps.Open = log, pol, w.queue.Open
	if w.deps.Resolver == nil {
		w.deps.Resolver = testResolver{}
	}
	if w.srv, err = New(w.opts, w.deps); err != nil {
		t.Fatal(err)
	}
}

// pipeConn is one end of a pipe that says where it leads.
type pipeConn struct {
	net.Conn
	local, remote net.Addr
}

func (c pipeConn) LocalAddr() net.Addr  { return c.local }
func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

// bubble serves one session without a network, so that a test of
// testing/synctest sees how long it takes by a clock that no load slows.
func (w *world) bubble(t *testing.T) *talk {
	t.Helper()
	w.build(t)
	mine, theirs := net.Pipe()
	addr := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 25} }
	go w.srv.ServeConn(pipeConn{theirs, addr("127.0.0.1"), addr("127.0.0.3")})
	t.Cleanup(func() { mine.Close() })
	return newTalk(t, mine)
}

// dialFrom connects to addr from an address of the loopback network.
func dialFrom(t testing.TB, from, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: oracle.Patience}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
