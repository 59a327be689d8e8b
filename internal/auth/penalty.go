package auth

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// Figures of the brute-force brake (Authentication/Penalty of Dovecot): a
// client whose address failed before waits 2, 4, 8, at most 15 seconds before
// its next try is looked at; a minute without a failure makes it forgotten. An IPv6 client counts
// by its /48. The same wrong password again does not make it worse: that is a
// forgotten setting, not an attack.
const (
	penaltyFirst  = 2 * time.Second
	penaltyMax    = 15 * time.Second
	penaltyForget = time.Minute
	penaltyTries  = 10      // wrong passwords remembered for one address
	penaltyHosts  = 1 << 15 // addresses remembered: about 4 MB at most
)

// penalties counts failures by address.
type penalties struct {
	mu    sync.Mutex
	hosts map[netip.Prefix]*penalty
	now   func() time.Time
}

type penalty struct {
	count int
	last  time.Time
	tries [penaltyTries][8]byte
	next  int
}

func newPenalties() *penalties {
	return &penalties{hosts: make(map[netip.Prefix]*penalty), now: time.Now}
}

// host returns the network that an address counts as.
func host(rip string) (netip.Prefix, bool) {
	a, err := netip.ParseAddr(rip)
	if err != nil {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	bits := 32
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

// wait returns how long a try from rip waits before it is looked at.
func (p *penalties) wait(rip string) time.Duration {
	h, ok := host(rip)
	if !ok {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.hosts[h]
	if e == nil || e.count == 0 || p.now().Sub(e.last) > penaltyForget {
		return 0
	}
	d := penaltyFirst << min(e.count, 8) >> 1
	return min(d, penaltyMax)
}

// failed counts a wrong password.
func (p *penalties) failed(rip, user, password string) {
	h, ok := host(rip)
	if !ok {
		return
	}
	sum := sha256.Sum256([]byte(user + "\x00" + password))
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.hosts[h]
	if e == nil || p.now().Sub(e.last) > penaltyForget {
		p.room()
		e = &penalty{}
		p.hosts[h] = e
	}
	e.last = p.now()
	for _, old := range e.tries {
		if old == [8]byte(sum[:8]) && e.count > 0 {
			return
		}
	}
	e.tries[e.next%penaltyTries] = [8]byte(sum[:8])
	e.next++
	e.count++
}

// room forgets the old when the table is full, and all when all are new.
func (p *penalties) room() {
	if len(p.hosts) < penaltyHosts {
		return
	}
	for h, e := range p.hosts {
		if p.now().Sub(e.last) > penaltyForget {
			delete(p.hosts, h)
		}
	}
	if len(p.hosts) >= penaltyHosts {
		clear(p.hosts)
	}
}

// succeeded forgives an address.
func (p *penalties) succeeded(rip string) {
	if h, ok := host(rip); ok {
		p.mu.Lock()
		delete(p.hosts, h)
		p.mu.Unlock()
	}
}
