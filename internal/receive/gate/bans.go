package gate

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// The figures of Bans: how many wrong passwords cost nothing, the longest delay
// of an answer, how long a failure is remembered, and how many addresses and
// accounts are (64 octets each).
const (
	freeFailures = 3
	maxDelay     = 15 * time.Second
	banLife      = 15 * time.Minute
	maxBans      = 50000
)

// Bans slows down who guesses passwords: each failure beyond the third doubles
// the time that the next answer takes, by address and by account. An account is
// never locked, because anybody could then lock out its owner; its delay is
// shorter for addresses that have not failed. Accounts are kept as a keyed hash.
// A nil *Bans delays nobody.
type Bans struct {
	mu    sync.Mutex
	addrs map[netip.Prefix]failures
	users map[uint64]failures
	seed  maphash.Seed
}

type failures struct {
	n    int
	last time.Time
}

// NewBans returns empty counters.
func NewBans() *Bans {
	return &Bans{addrs: map[netip.Prefix]failures{}, users: map[uint64]failures{}, seed: maphash.MakeSeed()}
}

// Failed counts a wrong password and returns how long the answer is to be kept
// back. user may be empty.
func (b *Bans) Failed(addr netip.Addr, user string) time.Duration {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	n := count(b.addrs, Network(addr), now)
	if user != "" {
		n = max(n, count(b.users, b.hash(user), now)/4)
	}
	return delay(n)
}

// Passed forgets an address's failures after a right password.
func (b *Bans) Passed(addr netip.Addr, user string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.addrs, Network(addr))
	delete(b.users, b.hash(user))
}

func (b *Bans) hash(user string) uint64 { return maphash.String(b.seed, strings.ToLower(user)) }

// delay doubles from one second on.
func delay(n int) time.Duration {
	if n <= freeFailures {
		return 0
	}
	return min(time.Second<<min(n-freeFailures-1, 10), maxDelay)
}

// count adds a failure to a record. A full map forgets what is old, and if that
// is not enough, everything: it was filled by many addresses, whose single
// records slow nobody down.
func count[K comparable](m map[K]failures, k K, now time.Time) int {
	f := m[k]
	if now.Sub(f.last) > banLife {
		f.n = 0
	}
	if _, known := m[k]; !known && len(m) >= maxBans {
		for old, g := range m {
			if now.Sub(g.last) > banLife {
				delete(m, old)
			}
		}
		if len(m) >= maxBans {
			clear(m)
		}
	}
	f.n, f.last = f.n+1, now
	m[k] = f
	return f.n
}
