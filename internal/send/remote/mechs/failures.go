package mechs

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Failures are the passwords that hosts refused, by a digest of host, user and password.
type Failures struct {
	mu sync.Mutex
	m  map[[sha256.Size]byte]refused
}

// Refusal is the reply with which a host refused a password.
type Refusal struct {
	Code int
	Text string
	DSN  string // x.y.z; empty without one
}

// refused is a reply that ended a login.
type refused struct {
	reply Refusal
	until time.Time
}

// The figures of Failures.
const (
	defAuthCache = 90 * 24 * time.Hour
	maxFailures  = 10000
)

// Find returns the reply with which a host refused a password.
func (f *Failures) Find(key [sha256.Size]byte) (Refusal, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.m[key]
	if ok && time.Now().After(r.until) {
		delete(f.m, key)
		ok = false
	}
	return r.reply, ok
}

// Note remembers a reply. When there are too many all are forgotten, and tried anew.
func (f *Failures) Note(key [sha256.Size]byte, r Refusal, keep time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil || len(f.m) >= maxFailures {
		f.m = map[[sha256.Size]byte]refused{}
	}
	if keep == 0 {
		keep = defAuthCache
	}
	f.m[key] = refused{r, time.Now().Add(keep)}
}
