package screen

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/maillog"
)

// The tests in the order of postscreen's cache.
const (
	tPregreet = iota
	tDNSBL
	tPipelining
	tNonSMTP
	tBare
	nTests
)

// expiry says until when each test counts as passed, in seconds since 1970.
type expiry [nTests]int64

// The bounds of the cache: clients (at 80 octets), how often it is written, and
// the longest line of its file.
const (
	maxCache  = 200000
	saveEvery = time.Minute
	maxLine   = 200
)

// cache remembers the clients that passed. Losing it costs mail servers one
// greeting that waits, so it is written now and then, as a whole.
type cache struct {
	path string // empty = in memory only
	keep time.Duration
	log  *maillog.Log

	saving sync.Mutex
	mu     sync.Mutex
	known  map[netip.Addr]expiry
	dirty  bool
	swept  time.Time // when old clients were last forgotten
}

// openCache reads the list beside Postfix's own database, whose form is another.
func openCache(spec string, keep time.Duration, log *maillog.Log) *cache {
	c := &cache{keep: keep, log: log, known: map[netip.Addr]expiry{}}
	if _, path, ok := strings.Cut(spec, ":"); ok {
		c.path = path + ".list"
		c.load()
	}
	return c
}

func (c *cache) get(a netip.Addr) expiry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[a]
}

func (c *cache) put(a netip.Addr, e expiry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[a]; !ok && len(c.known) >= maxCache {
		c.expire(time.Now())
		if len(c.known) >= maxCache {
			return // full of clients that passed: this one is tested again next time
		}
	}
	c.known[a], c.dirty = e, true
}

// expire forgets clients whose last test ran out long ago; c.mu is held.
func (c *cache) expire(now time.Time) {
	if now.Sub(c.swept) < time.Second {
		return // a flood must not cost a look at all clients each
	}
	c.swept = now
	limit := now.Add(-c.keep).Unix()
	for a, e := range c.known {
		old := true
		for _, t := range e {
			old = old && t < limit
		}
		if old {
			delete(c.known, a)
			c.dirty = true
		}
	}
}

func (c *cache) run(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.save()
		case <-ctx.Done():
			c.save()
			return
		}
	}
}

func (c *cache) save() {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	c.expire(time.Now())
	if !c.dirty || c.path == "" {
		c.mu.Unlock()
		return
	}
	c.dirty = false
	var b bytes.Buffer
	for a, e := range c.known {
		fmt.Fprintf(&b, "%s %d;%d;%d;%d;%d\n", a, e[0], e[1], e[2], e[3], e[4])
	}
	c.mu.Unlock()
	if err := disk.WriteFile(c.path, b.Bytes(), 0o600); err != nil {
		c.log.Warn("postscreen cache: %s", err.Error())
	}
}

// load reads "ADDRESS t;t;t;t;t" lines; what cannot be read is left out.
func (c *cache) load() {
	f, err := disk.OpenFile(c.path, os.O_RDONLY, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("postscreen cache: %s", err.Error())
		}
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, maxLine), maxLine)
	for lines.Scan() && len(c.known) < maxCache {
		addr, times, _ := strings.Cut(lines.Text(), " ")
		a, err := netip.ParseAddr(addr)
		var e expiry
		n, serr := fmt.Sscanf(times, "%d;%d;%d;%d;%d", &e[0], &e[1], &e[2], &e[3], &e[4])
		if err == nil && serr == nil && n == nTests {
			c.known[a] = e
		}
	}
}
