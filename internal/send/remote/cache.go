package remote

import (
	"sync"
	"time"
)

// The figures of the connection cache (smtp_connection_cache_time_limit,
// smtp_connection_reuse_time_limit of postconf(5)).
const (
	cacheTime = 2 * time.Second   // an idle connection is kept
	reuseTime = 300 * time.Second // age at which a connection is used no more
	cacheSize = 100               // idle connections of one transport
)

// cache keeps connections for the next message to the same host. It does so on
// demand, as smtp_connection_cache_on_demand says: a host that gets one message
// now and then is left at once.
type cache struct {
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
			if now.Sub(t) > cacheTime {
				delete(c.last, k)
			}
		}
	}
	if c.last == nil {
		c.last, c.idle = map[string]time.Time{}, map[string][]*session{}
	}
	before := c.last[key]
	c.last[key] = now
	return now.Sub(before) < cacheTime
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
	if s.broken || !s.wanted || c.n >= cacheSize || time.Since(s.opened) > reuseTime {
		go s.close()
		return
	}
	c.idle[key] = append(c.idle[key], s)
	c.n++
	s.expire = time.AfterFunc(cacheTime, func() { c.expired(key, s) })
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
		r, err := s.command(t.opts.MailTimeout, "sending RSET", "RSET")
		if err == nil && !r.failed() {
			return s
		}
		s.broken = true
		go s.close()
	}
}
