package remote

import (
	"sync"
	"time"
)

// CacheOptions say how long connections are kept for the next message.
type CacheOptions struct {
	NotOnDemand bool          // smtp_connection_cache_on_demand = no
	Idle        time.Duration `main:"smtp_connection_cache_time_limit"`  // 0 = 2 s
	Age         time.Duration `main:"smtp_connection_reuse_time_limit"`  // 0 = 300 s
	Uses        int           `main:"smtp_connection_reuse_count_limit"` // messages; 0 = any number
	// Always names next hops and hosts whose connections are kept after every message
	// (smtp_connection_cache_destinations); nil = none.
	Always func(name string) (bool, error)
}

// The figures of the connection cache.
const (
	cacheTime = 2 * time.Second   // an idle connection is kept
	reuseTime = 300 * time.Second // age at which a connection is used no more
	cacheSize = 100               // idle connections of one transport
)

// cache keeps connections for the next message to the same host. It does so on
// demand, unless smtp_connection_cache_on_demand says no: a host that gets one
// message now and then is left at once.
type cache struct {
	o    CacheOptions
	mu   sync.Mutex
	idle map[string][]*session // by terms.key()
	n    int
	last map[string]time.Time // when a host was used last, for those of the last moments
}

// busy notes a use of a host and tells whether it follows another one closely.
func (c *cache) busy(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.last) > cacheSize {
		for k, t := range c.last {
			if now.Sub(t) > c.o.Idle {
				delete(c.last, k)
			}
		}
	}
	if c.last == nil {
		c.last, c.idle = map[string]time.Time{}, map[string][]*session{}
	}
	before := c.last[key]
	c.last[key] = now
	return !c.o.NotOnDemand && now.Sub(before) < c.o.Idle
}

// always tells whether connections to a next hop or host are kept in any case.
func (t *Transport) always(tm *terms, h host) bool {
	f := t.opts.Cache.Always
	if f == nil {
		return false
	}
	for _, name := range [...]string{tm.dest, h.name} {
		yes, err := f(name)
		if err != nil {
			t.log.Warn("%s: %s", t.param("connection_cache_destinations"), err.Error())
		}
		if yes {
			return true
		}
	}
	return false
}

// take returns an idle connection to a host, nil without one. Whether it still
// lives shows when it is used.
func (c *cache) take(key string) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.idle[key]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	c.drop(key, len(list)-1)
	return s
}

// drop removes entry i of a host's list; the caller holds mu.
func (c *cache) drop(key string, i int) {
	list := c.idle[key]
	list[i].expire.Stop()
	list = append(list[:i:i], list[i+1:]...)
	c.n--
	if len(list) == 0 {
		delete(c.idle, key)
		return
	}
	c.idle[key] = list
}

// keep takes a connection after a message; it closes those that nobody will use.
func (c *cache) keep(s *session) {
	key := s.terms.key(s.host)
	c.mu.Lock()
	defer c.mu.Unlock()
	worn := time.Since(s.opened) > c.o.Age || c.o.Uses > 0 && s.uses >= c.o.Uses
	if s.broken || !s.wanted || c.n >= cacheSize || worn {
		go s.close()
		return
	}
	c.idle[key] = append(c.idle[key], s)
	c.n++
	s.expire = time.AfterFunc(c.o.Idle, func() { c.expired(key, s) })
}

// expired closes a connection that stayed idle.
func (c *cache) expired(key string, s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.idle[key] {
		if other == s {
			c.drop(key, i)
			go s.close()
			return
		}
	}
}

// reuse returns a cached connection that answers, nil without one. RSET tells
// whether the host is still there (smtp_reuse_session's way).
func (t *Transport) reuse(key string) *session {
	for {
		s := t.cache.take(key)
		if s == nil {
			return nil
		}
		r, err := s.command(t.opts.RSETTimeout, "sending RSET", "RSET")
		if err == nil && !r.failed() {
			return s
		}
		s.broken = true
		go s.close()
	}
}
