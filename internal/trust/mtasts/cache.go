package mtasts

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"packetboat/internal/sys/disk"
)

// The figures of the cache.
const (
	checkEvery   = 5 * time.Minute // how long what the TXT record said is taken for granted
	retryAfter   = 5 * time.Minute // a failed fetch is tried again (RFC 8461 section 3.3)
	refreshAfter = 24 * time.Hour  // a policy is fetched again while it counts (section 10.2)
	saveEvery    = 10 * time.Second
	maxDomains   = 10000    // that are remembered; a policy has 300 bytes or so
	maxFile      = 64 << 20 // octets of the file that are read
)

// Options say where policies come from and where they are kept.
type Options struct {
	File  string         // kept here over a restart; empty = in memory alone
	Names Resolver       // never nil
	Roots *x509.CertPool // who may vouch for a policy host; nil = the system's
	Port  string         // of policy hosts; empty = 443
	// Warn is told of a file that cannot be read or written; nil = nobody.
	Warn func(format string, args ...any)
}

// Cache knows the policies of domains. It is used from any goroutine.
type Cache struct {
	o     Options
	fetch *fetcher
	dirty chan struct{} // something is new

	mu      sync.Mutex
	domains map[string]*entry
}

// entry is one domain.
type entry struct {
	// asking is held while DNS or the policy host is asked, so that of many messages
	// for a domain one asks and the others wait.
	asking sync.Mutex
	state  // guarded by Cache.mu
}

// state is what is known of a domain.
type state struct {
	used    time.Time
	policy  *Policy // nil = none; never changes
	fetched time.Time
	checked time.Time // when the TXT record was looked for
	failed  time.Time // when a fetch failed
	trouble error     // why
}

// New returns a Cache with what its file holds.
func New(o Options) *Cache {
	if o.Port == "" {
		o.Port = "443"
	}
	if o.Warn == nil {
		o.Warn = func(string, ...any) {}
	}
	c := &Cache{o: o, fetch: newFetcher(o), dirty: make(chan struct{}, 1), domains: map[string]*entry{}}
	c.load()
	return c
}

// Policy returns the policy of a domain, nil when it has none that counts. trouble is
// why a newer one could not be had, for reports: ErrFetch, ErrWebPKI or ErrInvalid;
// mail goes as if the domain had said nothing new.
func (c *Cache) Policy(ctx context.Context, domain string) (p *Policy, trouble error) {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	e := c.entry(domain)
	e.asking.Lock()
	defer e.asking.Unlock()
	now := time.Now()
	c.mu.Lock()
	st := e.state
	c.mu.Unlock()
	if st.policy != nil && now.After(st.fetched.Add(st.policy.MaxAge)) {
		st.policy = nil
	}
	if now.Sub(st.checked) >= checkEvery {
		c.check(ctx, domain, &st, now)
	}
	c.mu.Lock()
	e.state = st
	c.mu.Unlock()
	if st.policy == nil || st.policy.Mode == None {
		return nil, st.trouble
	}
	return st.policy, st.trouble
}

// check looks whether the domain has a new policy, and fetches it. No answer and an
// answer that there is none leave the one that counts (RFC 8461 section 3.1).
func (c *Cache) check(ctx context.Context, domain string, st *state, now time.Time) {
	texts, err := c.o.Names.TXT(ctx, "_mta-sts."+domain)
	if ctx.Err() != nil {
		return
	}
	st.checked = now
	id := ""
	if err == nil {
		id = ParseRecord(texts)
	}
	current := st.policy != nil && st.policy.ID == id && now.Sub(st.fetched) < refreshAfter
	if id == "" || current {
		st.trouble = nil
		return
	}
	if now.Sub(st.failed) < retryAfter {
		return
	}
	p, err := c.fetch.fetch(ctx, domain)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		st.failed, st.trouble = now, err
	default:
		p.ID = id
		st.policy, st.fetched, st.trouble, st.failed = p, now, nil, time.Time{}
		select {
		case c.dirty <- struct{}{}:
		default: // it is to be written already
		}
	}
}

// entry returns the place of a domain, and makes one.
func (c *Cache) entry(domain string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.domains[domain]
	if e == nil {
		if len(c.domains) >= maxDomains {
			c.makeRoom()
		}
		e = &entry{}
		c.domains[domain] = e
	}
	e.used = time.Now()
	return e
}

// makeRoom drops a tenth: those without a policy first, and of the others those that
// were not used for the longest time. The caller holds mu.
func (c *Cache) makeRoom() {
	names := make([]string, 0, len(c.domains))
	for name := range c.domains {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := c.domains[a], c.domains[b]
		if (x.policy == nil) != (y.policy == nil) {
			if x.policy == nil {
				return -1
			}
			return 1
		}
		return x.used.Compare(y.used)
	})
	for _, name := range names[:len(names)/10] {
		delete(c.domains, name)
	}
}

// Run refreshes policies before they expire, and writes the file when something is
// new, until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	refresh := time.NewTicker(time.Hour)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			c.refresh(ctx)
		case <-c.dirty:
			c.Save()
			select { // many new ones make one file
			case <-time.After(saveEvery):
			case <-ctx.Done():
			}
		}
	}
}

// refresh asks for the policies again that are a day old, so that a domain that gets
// little mail keeps its own (RFC 8461 section 10.2).
func (c *Cache) refresh(ctx context.Context) {
	c.mu.Lock()
	var old []string
	for name, e := range c.domains {
		if e.policy != nil && time.Since(e.fetched) >= refreshAfter {
			old = append(old, name)
		}
	}
	c.mu.Unlock()
	for _, name := range old {
		if ctx.Err() != nil {
			return
		}
		c.Policy(ctx, name)
	}
}

// stored is a policy in the file.
type stored struct {
	Fetched int64 // seconds since 1970
	Policy
}

// Save writes the policies that count to the file.
func (c *Cache) Save() {
	if c.o.File == "" {
		return
	}
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	c.mu.Lock()
	for _, e := range c.domains {
		if e.policy != nil {
			out.Encode(stored{e.fetched.Unix(), *e.policy}) // to memory: it cannot fail
		}
	}
	c.mu.Unlock()
	if err := disk.WriteFile(c.o.File, b.Bytes(), 0o600); err != nil {
		c.o.Warn("%s", err.Error())
	}
}

// load reads the file. What is damaged is fetched again.
func (c *Cache) load() {
	if c.o.File == "" {
		return
	}
	f, err := disk.OpenTrusted(c.o.File, os.O_RDONLY, -1)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.o.Warn("%s", err.Error())
		}
		return
	}
	defer f.Close()
	in := json.NewDecoder(io.LimitReader(f, maxFile))
	for len(c.domains) < maxDomains {
		var s stored
		if err := in.Decode(&s); err != nil {
			if err != io.EOF {
				c.o.Warn("%s: %s", c.o.File, err.Error())
			}
			return
		}
		// A clock that went wrong must not make a policy count for ever.
		at := time.Unix(s.Fetched, 0)
		if p := s.Policy; p.Domain != "" && p.MaxAge <= year && !at.After(time.Now().Add(time.Hour)) && time.Now().Before(at.Add(p.MaxAge)) {
			c.domains[p.Domain] = &entry{state: state{policy: &p, fetched: at, used: time.Now()}}
		}
	}
}
