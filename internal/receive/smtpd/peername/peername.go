// Package peername finds the names of clients by their addresses, and remembers
// them for a while: what reject_unknown_client_hostname and the log want. It is
// part of receive/smtpd.
package peername

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"packetboat/internal/receive/policy"
	"packetboat/internal/sys/dns"
)

// Resolver finds a client's name: the reverse name that leads back to addr
// (empty without one), and what the address claims to be. *dns.Resolver is one.
type Resolver interface {
	Name(ctx context.Context, addr netip.Addr) (name, reverse string, err error)
}

// How long a client's name is remembered, how many are, and how long a look-up
// may take before the client is "unknown".
const (
	nameLife    = 60 * time.Second
	maxNames    = 4096
	nameTimeout = 15 * time.Second
)

// Name is what is known of an address's name.
type Name struct {
	Name, Reverse   string // "unknown" where there is none
	State, RevState policy.Lookup
	Why             string // set if Reverse does not lead back: a blank, or the cause
	until           time.Time
}

// Finder finds and remembers the names of clients.
type Finder struct {
	resolver Resolver
	mu       sync.Mutex
	known    map[netip.Addr]Name
}

// New returns a Finder that has found nothing yet.
func New(r Resolver) *Finder {
	return &Finder{resolver: r, known: make(map[netip.Addr]Name)}
}

// Cached returns a name that was found not long ago.
func (n *Finder) Cached(a netip.Addr) (Name, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.known[a]
	return p, ok && time.Now().Before(p.until)
}

func (n *Finder) remember(a netip.Addr, p Name) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) >= maxNames {
		clear(n.known) // simple, and as good as any order against a flood
	}
	p.until = time.Now().Add(nameLife)
	n.known[a] = p
}

// find asks the resolver.
func (n *Finder) find(ctx context.Context, a netip.Addr) Name {
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	name, reverse, err := n.resolver.Name(ctx, a)
	p := Name{Name: name, Reverse: reverse}
	bad := policy.NameNone
	if err != nil && dns.KindOf(err) == dns.TryAgain {
		bad = policy.NameTry
	}
	if name == "" {
		p.Name, p.State = "unknown", bad
	}
	if reverse == "" {
		p.Reverse, p.RevState = "unknown", bad
	}
	if name == "" && reverse != "" {
		p.Why = " "
		if err != nil && dns.KindOf(err) != dns.NoData {
			p.Why = err.Error()
		}
	}
	return p
}

// Search is a look-up, for a goroutine of its own; a fault in it costs only the name.
func (n *Finder) Search(ctx context.Context, a netip.Addr, found chan<- Name) {
	p := Name{Name: "unknown", Reverse: "unknown", State: policy.NameTry, RevState: policy.NameTry}
	defer func() {
		_ = recover()
		found <- p
	}()
	p = n.find(ctx, a)
	// What a client that left did not wait for is no knowledge, and what no
	// server could say may be said in a moment.
	if ctx.Err() == nil && p.State != policy.NameTry {
		n.remember(a, p)
	}
}
