package smtpd

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"packetboat/internal/receive/policy"
	"packetboat/internal/sys/dns"
)

// How long a client's name is remembered, how many are, and how long a look-up
// may take before the client is "unknown".
const (
	nameLife    = 60 * time.Second
	maxNames    = 4096
	nameTimeout = 15 * time.Second
)

// peerName is what is known of an address's name.
type peerName struct {
	name, reverse   string // "unknown" where there is none
	state, revState policy.Lookup
	why             string // set if reverse does not lead back
	until           time.Time
}

// names finds and remembers the names of clients.
type names struct {
	resolver Resolver
	mu       sync.Mutex
	known    map[netip.Addr]peerName
}

func newNames(r Resolver) *names {
	return &names{resolver: r, known: make(map[netip.Addr]peerName)}
}

// cached returns a name that was found not long ago.
func (n *names) cached(a netip.Addr) (peerName, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.known[a]
	return p, ok && time.Now().Before(p.until)
}

func (n *names) remember(a netip.Addr, p peerName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) >= maxNames {
		clear(n.known) // simple, and as good as any order against a flood
	}
	p.until = time.Now().Add(nameLife)
	n.known[a] = p
}

// find asks the resolver.
func (n *names) find(ctx context.Context, a netip.Addr) peerName {
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	name, reverse, err := n.resolver.Name(ctx, a)
	p := peerName{name: name, reverse: reverse}
	bad := policy.NameNone
	if err != nil && dns.KindOf(err) == dns.TryAgain {
		bad = policy.NameTry
	}
	if name == "" {
		p.name, p.state = "unknown", bad
	}
	if reverse == "" {
		p.reverse, p.revState = "unknown", bad
	}
	if name == "" && reverse != "" {
		p.why = " "
		if err != nil && dns.KindOf(err) != dns.NoData {
			p.why = err.Error()
		}
	}
	return p
}

// lookup begins to look for the client's name, so that the greeting need not
// wait for a slow name server.
func (c *session) lookup() {
	n := c.s.names
	if n == nil || !c.st.Addr.IsValid() || c.st.Addr.IsUnspecified() {
		return
	}
	if p, ok := n.cached(c.st.Addr); ok {
		c.named(p)
		return
	}
	found := make(chan peerName, 1)
	c.looking = found
	go n.search(c.ctx, c.st.Addr, found)
}

// search is a look-up of its own goroutine; a fault in it costs only the name.
func (n *names) search(ctx context.Context, a netip.Addr, found chan<- peerName) {
	p := peerName{name: "unknown", reverse: "unknown", state: policy.NameTry, revState: policy.NameTry}
	defer func() {
		_ = recover()
		found <- p
	}()
	p = n.find(ctx, a)
	// What a client that left did not wait for is no knowledge, and what no
	// server could say may be said in a moment.
	if ctx.Err() == nil && p.state != policy.NameTry {
		n.remember(a, p)
	}
}

// identify waits for the name and writes the session's first line. It is
// called before anything that needs either.
func (c *session) identify() {
	if c.known {
		return
	}
	c.known = true
	if c.looking != nil {
		c.named(<-c.looking)
		c.looking = nil
	}
	c.s.deps.Log.SMTPDConnect(c.st.Client())
}

func (c *session) named(p peerName) {
	c.st.Name, c.st.NameState = p.name, p.state
	c.st.Reverse, c.st.RevState = p.reverse, p.revState
	c.peer.Name = p.name
	if p.why != "" {
		c.s.deps.Log.SMTPDHostname(p.reverse, c.st.Addr.Unmap().String(), trimBlank(p.why))
	}
}

func trimBlank(s string) string {
	if s == " " {
		return ""
	}
	return s
}
