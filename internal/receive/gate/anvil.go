package gate

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"packetboat/internal/sys/maillog"
)

// Event is what Anvil counts.
type Event uint8

// The values of Event, each with a rate limit of smtpd(8).
const (
	Connect   Event = iota // smtpd_client_connection_rate_limit
	Message                // smtpd_client_message_rate_limit
	Recipient              // smtpd_client_recipient_rate_limit
	NewTLS                 // smtpd_client_new_tls_session_rate_limit
	Auth                   // smtpd_client_auth_rate_limit
	nEvents
)

// AnvilOptions are the parameters of anvil(8). The zero value is Postfix's default.
type AnvilOptions struct {
	Unit   time.Duration `main:"anvil_rate_time_unit"`     // 0 = 60 s
	Status time.Duration `main:"anvil_status_update_time"` // between statistics in the log; 0 = 600 s
}

// Anvil counts events by service and client, for all services of a system
// together. It is safe for many goroutines.
type Anvil struct {
	opts AnvilOptions
	log  *maillog.Log

	mu      sync.Mutex
	clients map[client]*counts
	peaks   [nEvents + 1]peak // the last is of connections at a time
	swept   time.Time         // when clients were last forgotten
	most    int               // clients at a time
	mostAt  time.Time
}

// client is what counts as one: an address, or an IPv6 /64, which is the least
// that one customer gets. (Postfix 3.7 counts each IPv6 address for itself, so
// that everybody with IPv6 has 2^64 clients.)
type client struct {
	service string
	network netip.Prefix
}

type counts struct {
	open  int       // connections now
	since time.Time // begin of the time unit
	n     [nEvents]int
}

// peak is the largest count since the last statistics.
type peak struct {
	n    int
	who  client
	addr netip.Addr
	at   time.Time
}

// maxClients bounds the clients that are counted at a time, at about 150 octets
// each; more than that in one time unit is an attack that no counter stops.
const maxClients = 100000

// NewAnvil returns a counter that tells log its statistics; log may be nil.
func NewAnvil(o AnvilOptions, log *maillog.Log) *Anvil {
	if o.Unit <= 0 {
		o.Unit = time.Minute
	}
	if o.Status <= 0 {
		o.Status = 10 * time.Minute
	}
	return &Anvil{opts: o, log: log, clients: make(map[client]*counts)}
}

// Network is what counts as one client.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // the zero address of a socket without one counts too
	return p
}

// Connect counts a new connection; it returns how many the client has now and
// how many it made in this time unit. Each Connect has a Disconnect.
func (a *Anvil) Connect(service string, addr netip.Addr) (open, rate int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := client{service, Network(addr)}
	c := a.counts(k)
	c.open++
	c.n[Connect]++
	a.peak(int(nEvents), c.open, k, addr)
	a.peak(int(Connect), c.n[Connect], k, addr)
	return c.open, c.n[Connect]
}

// Disconnect ends what Connect began.
func (a *Anvil) Disconnect(service string, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[client{service, Network(addr)}]; c != nil && c.open > 0 {
		c.open--
	}
}

// Count counts an event and returns how many of its kind the client caused in
// this time unit.
func (a *Anvil) Count(e Event, service string, addr netip.Addr) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := client{service, Network(addr)}
	c := a.counts(k)
	c.n[e]++
	a.peak(int(e), c.n[e], k, addr)
	return c.n[e]
}

// Rate returns how many events of a kind the client caused in this time unit.
func (a *Anvil) Rate(e Event, service string, addr netip.Addr) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts(client{service, Network(addr)}).n[e]
}

// counts finds a client's record, which begins again with each time unit.
func (a *Anvil) counts(k client) *counts {
	now := time.Now()
	c := a.clients[k]
	if c == nil {
		if len(a.clients) >= maxClients && !a.sweep(now) {
			return &counts{since: now} // not kept: this one goes uncounted
		}
		c = &counts{since: now}
		a.clients[k] = c
		if len(a.clients) > a.most {
			a.most, a.mostAt = len(a.clients), now
		}
	}
	if now.Sub(c.since) >= a.opts.Unit {
		c.since, c.n = now, [nEvents]int{}
	}
	return c
}

// sweep forgets the clients that are gone since a time unit; once a second at
// most, so that a flood of clients does not cost a look at all of them each.
func (a *Anvil) sweep(now time.Time) bool {
	if now.Sub(a.swept) < time.Second {
		return false
	}
	a.swept = now
	for k, c := range a.clients {
		if c.open == 0 && now.Sub(c.since) >= a.opts.Unit {
			delete(a.clients, k)
		}
	}
	return len(a.clients) < maxClients
}

func (a *Anvil) peak(i, n int, k client, addr netip.Addr) {
	if n > a.peaks[i].n {
		a.peaks[i] = peak{n, k, addr, time.Now()}
	}
}

// Run tells the log the statistics until ctx ends, then a last time, as anvil(8)
// does when it exits.
func (a *Anvil) Run(ctx context.Context) {
	t := time.NewTicker(a.opts.Status)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			a.Statistics()
		case <-ctx.Done():
			a.Statistics()
			return
		}
	}
}

// Statistics writes the largest counts since the last time, and begins again.
func (a *Anvil) Statistics() {
	a.mu.Lock()
	peaks, most, at := a.peaks, a.most, a.mostAt
	a.peaks, a.most = [nEvents + 1]peak{}, 0
	a.sweep(time.Now())
	a.mu.Unlock()
	unit := int(a.opts.Unit / time.Second)
	for i, what := range [...]string{"connection rate", "", "message rate", "recipient rate", "newtls rate", "auth rate"} {
		p, per := peaks[0], unit
		switch {
		case i == 1:
			p, what, per = peaks[nEvents], "connection count", 0
		case i > 1:
			p = peaks[i-1]
		}
		if p.n > 0 {
			a.log.AnvilMax(what, p.n, per, p.who.service+":"+p.addr.Unmap().String(), p.at)
		}
	}
	if most > 0 {
		a.log.AnvilCache(most, at)
	}
}
