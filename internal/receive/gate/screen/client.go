package screen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// client is one connection under test.
type client struct {
	s     *Screen
	conn  *handed
	end   string // "[address]:port"
	addr  netip.Addr
	local bool // in mynetworks: its connections are not counted
	begun time.Time
	known expiry
	fresh expiry // what it passed now
	fail  string // the reply to RCPT after a test that failed with "enforce"; empty = none
	quick bool   // a list of good clients makes all tests pass
	own   bool   // postscreen_discard_ehlo_keyword_address_maps knows it
}

func newClient(s *Screen, conn *handed) *client {
	c := &client{s: s, conn: conn, end: endpoint(conn.RemoteAddr()), begun: time.Now()}
	if t, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.addr = t.AddrPort().Addr().Unmap().WithZone("")
	}
	c.local, _ = s.nets.Match(context.Background(), "", c.addr)
	return c
}

// say writes one reply. A client that does not take it is no loss.
func (c *client) say(line string) {
	c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	io.WriteString(c.conn, c.final(line)+"\r\n")
}

// drop refuses a client and ends its connection.
func (c *client) drop(line string) bool {
	c.say(line)
	c.s.d.Log.ScreenDisconnect(c.end)
	return false
}

// word is ALLOW or DENY in the words of the day.
func (s *Screen) word(now, before string) string {
	if s.o.Respect == "no" {
		return before
	}
	return now
}

// test decides about a client; true hands it to smtpd. What it logs, and in
// which order, is postscreen(8)'s.
func (c *client) test() bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch c.s.decide(ctx, c) {
	case "permit":
		c.s.d.Log.ScreenListed(c.s.word("ALLOWLISTED", "WHITELISTED"), c.end)
		return true
	case "reject":
		c.s.d.Log.ScreenListed(c.s.word("DENYLISTED", "BLACKLISTED"), c.end)
		if c.s.o.Deny == "drop" {
			return c.drop("521 5.3.2 Service currently unavailable")
		}
		if c.s.o.Deny == "enforce" {
			c.fail = "550 5.3.2 Service currently unavailable"
		}
	}
	c.veto(ctx)
	c.known = c.s.cache.get(c.addr)
	if c.fail == "" && !c.missing(0, nTests) {
		c.s.d.Log.ScreenPass("OLD", c.end)
		return true
	}
	if c.missing(0, tPipelining) && !c.early(ctx) {
		return false
	}
	if c.fail == "" && (c.quick || !c.missing(tPipelining, nTests)) {
		c.passed()
		return true
	}
	c.dialogue()
	return false
}

// veto makes clients of an address that is no primary one fail every time
// (postscreen_allowlist_interfaces): robots prefer backup hosts.
func (c *client) veto(ctx context.Context) {
	t, ok := c.conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	if in, err := c.s.allowed.Match(ctx, "", t.AddrPort().Addr()); !in && err == nil {
		c.s.d.Log.ScreenListed(c.s.word("ALLOWLIST VETO", "WHITELIST VETO"), c.end)
		if c.fail == "" {
			c.fail = "450 4.3.2 Service currently unavailable"
		}
	}
}

// enabled tells whether a test is switched on.
func (s *Screen) enabled(test int) bool {
	switch test {
	case tPregreet:
		return true
	case tDNSBL:
		return len(s.sites) > 0
	case tPipelining:
		return s.o.PipeOn
	case tNonSMTP:
		return s.o.NonOn
	}
	return s.o.BareOn
}

// missing tells whether one of the tests from..to-1 is still to be passed.
func (c *client) missing(from, to int) bool {
	now := time.Now().Unix()
	for t := from; t < to; t++ {
		if c.s.enabled(t) && c.known[t] < now && c.fresh[t] < now {
			return true
		}
	}
	return false
}

// pass notes a test.
func (c *client) pass(test int, ttl time.Duration) { c.fresh[test] = time.Now().Add(ttl).Unix() }

// passed tells the log and remembers the client.
func (c *client) passed() {
	if c.fresh == (expiry{}) {
		return
	}
	c.s.d.Log.ScreenPass("NEW", c.end)
	e := c.known
	for t, until := range c.fresh {
		e[t] = max(e[t], until)
	}
	c.s.cache.put(c.addr, e)
}

// early holds the tests before the greeting; false when the client is gone.
func (c *client) early(ctx context.Context) bool {
	o := &c.s.o
	score := c.s.ask(ctx, c)
	if o.Teaser != "" {
		c.say("220-" + o.Teaser)
	}
	switch said, err := c.wait(score); {
	case err != nil:
		c.s.d.Log.ScreenHangup(time.Since(c.begun), c.end, "tests before SMTP handshake")
		c.s.d.Log.ScreenDisconnect(c.end)
		return false
	case len(said) > 0:
		c.s.d.Log.ScreenPregreet(len(said), time.Since(c.begun), c.end, said)
		switch o.Greet {
		case "drop":
			return c.drop("521 5.5.1 Protocol error")
		case "enforce":
			c.failed("550 5.5.1 Protocol error")
		default:
			c.pass(tPregreet, 0)
		}
	default:
		c.pass(tPregreet, o.GreetTTL)
	}
	return c.judge(ctx, score)
}

// failed keeps the first refusal.
func (c *client) failed(reply string) {
	if c.fail == "" {
		c.fail = reply
	}
}

// wait returns what the client says before it is greeted. It waits the whole
// time, unless the client is known to be patient and all lists have answered.
func (c *client) wait(sc *score) ([]byte, error) {
	c.conn.SetReadDeadline(time.Now().Add(c.s.limits().wait))
	patient := c.known[tPregreet] >= time.Now().Unix()
	if patient {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-sc.done:
				c.conn.SetReadDeadline(time.Now())
			case <-stop:
			}
		}()
	}
	buf := make([]byte, 1024)
	n, err := c.conn.Read(buf)
	if n > 0 {
		c.conn.early = buf[:n] // smtpd is to see it, too
		return c.conn.early, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return nil, err
}

// judge looks at the client's rank on the block lists as far as they have
// answered.
func (c *client) judge(ctx context.Context, sc *score) bool {
	o := &c.s.o
	rank, name := sc.get()
	switch {
	case len(c.s.sites) == 0:
	case rank < o.Threshold:
		c.pass(tDNSBL, o.DNSMax)
		c.quick = o.Good < 0 && rank <= o.Good
	default:
		c.s.d.Log.ScreenDNSBL(rank, c.end)
		why := " 5.7.1 Service unavailable; client [" + c.addr.String() + "] blocked using " + c.s.shown(ctx, name)
		switch o.DNSBL {
		case "drop":
			return c.drop("521" + why)
		case "enforce":
			c.failed("550" + why)
		default:
			c.pass(tDNSBL, 0)
		}
	}
	if c.quick {
		for t, ttl := range [nTests]time.Duration{o.GreetTTL, o.DNSMax, o.PipeTTL, o.NonTTL, o.BareTTL} {
			c.pass(t, ttl)
		}
	}
	return true
}
