// Package verify knows whether mail to an address can be delivered, as Postfix's
// verify(8) does: it sends a probe, a message that goes the way of all mail up to
// the last step, and remembers what came of it (ADDRESS_VERIFICATION_README).
//
// receive/policy asks for reject_unverified_sender and _recipient; the scheduler
// tells what became of probes. No probe is ever delivered, tried again or
// reported to anybody.
package verify

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

// Options are verify's parameters. Zero means the default that stands behind
// each.
type Options struct {
	Map             string        `main:"address_verify_map"`                    // btree:/file; empty = in memory only
	PositiveExpire  time.Duration `main:"address_verify_positive_expire_time"`   // 31 d
	PositiveRefresh time.Duration `main:"address_verify_positive_refresh_time"`  // 7 d
	NegativeExpire  time.Duration `main:"address_verify_negative_expire_time"`   // 3 d
	NegativeRefresh time.Duration `main:"address_verify_negative_refresh_time"`  // 3 h
	NegativeCache   string        `main:"address_verify_negative_cache"`         // empty = yes
	CleanupInterval time.Duration `main:"address_verify_cache_cleanup_interval"` // 12 h
	Sender          string        `main:"address_verify_sender"`                 // double-bounce; <> = the null sender
	SenderTTL       time.Duration `main:"address_verify_sender_ttl"`             // 0 = the sender never changes
	Pending         int           `main:"address_verify_pending_request_limit"`  // probes under way; 5000
	Origin          string        `main:"myorigin"`
}

func (o Options) withDefaults() Options {
	const day = 24 * time.Hour
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&o.PositiveExpire, 31 * day}, {&o.PositiveRefresh, 7 * day}, {&o.NegativeExpire, 3 * day},
		{&o.NegativeRefresh, 3 * time.Hour}, {&o.CleanupInterval, 12 * time.Hour},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Sender == "" {
		o.Sender = "double-bounce"
	}
	if o.Pending == 0 {
		o.Pending = 5000
	}
	return o
}

// Limits: addresses that are remembered, at most 1 KB each, and how long an
// answer to a probe is waited for (verify(8) has the same 1000 s).
const (
	maxEntries = 100_000
	maxText    = 250
	probeLife  = 1000 * time.Second
)

// entry is what is known of an address. Times are Unix seconds; 0 = never.
type entry struct {
	outcome mail.Outcome
	known   bool  // outcome and text are an answer
	probed  int64 // when the probe that is under way was sent
	updated int64 // when the answer came
	text    string
}

// Cache remembers and asks. It is used by many goroutines.
type Cache struct {
	o    Options
	path string
	post func(env *mail.Envelope) error
	log  *maillog.Log

	mu      sync.Mutex
	entries map[mail.Address]entry
	pending int // probes under way
	dirty   bool
	saving  sync.Mutex
}

// New opens the cache. post takes a probe into the queue; it is given an envelope
// with one recipient. An error names a map that nothing can be kept in.
func New(o Options, post func(env *mail.Envelope) error, log *maillog.Log) (*Cache, error) {
	c := &Cache{o: o.withDefaults(), post: post, log: log, entries: map[mail.Address]entry{}}
	var err error
	if c.path, err = fileOf(c.o.Map); err != nil {
		return nil, err
	}
	if c.path != "" {
		c.load(time.Now())
	}
	return c, nil
}

var errBusy = errors.New("too many probes are under way")

// Query tells what is known of an address: nil while the first probe is under
// way. What is old is asked again behind the scenes.
func (c *Cache) Query(_ context.Context, a mail.Address) (*mail.Status, error) {
	return c.query(time.Now(), a.Fold())
}

func (c *Cache) query(now time.Time, a mail.Address) (*mail.Status, error) {
	c.mu.Lock()
	e, found := c.entries[a]
	t := now.Unix()
	idle := t-e.probed > seconds(probeLife)
	if found && e.known && idle && c.expired(&e, t) {
		e = entry{}
		if !c.negative() {
			c.forget(a)
		}
	}
	send := idle && (!e.known || c.stale(&e, t))
	if send && c.pending >= c.o.Pending {
		c.mu.Unlock()
		return c.answer(&e), orNil(e.known, errBusy)
	}
	if send {
		c.pending++
		e.probed = t
		if e.known || c.negative() {
			c.put(a, e)
		}
	}
	c.mu.Unlock()
	if send {
		if err := c.probe(now, a); err != nil {
			c.lost(a)
			return c.answer(&e), orNil(e.known, err)
		}
	}
	return c.answer(&e), nil
}

// orNil hides an error where there is an answer.
func orNil(answered bool, err error) error {
	if answered {
		return nil
	}
	return err
}

// probe sends a message that is nobody's.
func (c *Cache) probe(now time.Time, a mail.Address) error {
	return c.post(&mail.Envelope{Sender: c.Sender(now), Arrived: now, VerifyOnly: true, UID: -1,
		Rcpts: []mail.Rcpt{{Addr: a, Notify: mail.NotifyNever, State: mail.Pending}}})
}

// lost notes that a probe could not be sent.
func (c *Cache) lost(a mail.Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending--
	if e, ok := c.entries[a]; ok {
		e.probed = 0
		c.put(a, e)
	}
}

// answer is an entry as policy wants it.
func (c *Cache) answer(e *entry) *mail.Status {
	if !e.known {
		return nil
	}
	return &mail.Status{Outcome: e.outcome, Text: e.text}
}

// Mine tells whether an envelope is a probe of ours.
func (c *Cache) Mine(env *mail.Envelope) bool {
	if !env.VerifyOnly || env.Verify {
		return false
	}
	now := time.Now()
	return env.Sender == c.Sender(now) || env.Sender == c.Sender(now.Add(-c.o.SenderTTL)) || env.Sender == c.fixedSender()
}

// Update records what became of a probe for an address. A failure does not take
// the place of a success that still holds: the address is asked again instead.
func (c *Cache) Update(a mail.Address, st *mail.Status) {
	a = a.Fold()
	now := time.Now().Unix()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = max(c.pending-1, 0)
	old, found := c.entries[a]
	if st.Outcome != mail.Sent && found && old.known && old.outcome == mail.Sent {
		return
	}
	if st.Outcome != mail.Sent && !c.negative() && !found {
		return
	}
	c.put(a, entry{outcome: st.Outcome, known: true, updated: now, text: oneLine(st.Text)})
}

// oneLine makes a text of a stranger's fit for the file.
func oneLine(s string) string {
	s = s[:min(len(s), maxText)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

func (c *Cache) negative() bool { return !strings.EqualFold(c.o.NegativeCache, "no") }

func (c *Cache) put(a mail.Address, e entry) {
	if _, found := c.entries[a]; !found && len(c.entries) >= maxEntries {
		c.evict()
	}
	c.entries[a] = e
	c.dirty = true
}

func (c *Cache) forget(a mail.Address) {
	delete(c.entries, a)
	c.dirty = true
}

// evict drops the answers that are older than the middle; they are had again for
// a probe.
func (c *Cache) evict() {
	var sum int64
	for _, e := range c.entries {
		sum += e.updated >> 10
	}
	middle := sum / int64(len(c.entries)) << 10
	for a, e := range c.entries {
		if e.updated <= middle {
			delete(c.entries, a)
		}
	}
	if len(c.entries) >= maxEntries {
		clear(c.entries)
	}
}

// expired tells that an answer is too old to count.
func (c *Cache) expired(e *entry, now int64) bool {
	if e.outcome == mail.Sent {
		return e.updated+seconds(c.o.PositiveExpire) < now
	}
	return e.updated+seconds(c.o.NegativeExpire) < now
}

// stale tells that an answer counts, but should be asked for again.
func (c *Cache) stale(e *entry, now int64) bool {
	if e.outcome == mail.Sent {
		return e.updated+seconds(c.o.PositiveRefresh) < now
	}
	return e.updated+seconds(c.o.NegativeRefresh) < now
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// Sender is whom probes are from: with address_verify_sender_ttl a name that
// changes, so that an address that spammers find is soon worth nothing.
func (c *Cache) Sender(now time.Time) mail.Address {
	a := c.fixedSender()
	if c.o.SenderTTL <= 0 || a == "" {
		return a
	}
	local, domain := a.Split()
	return mail.Address(local + base31(now.Unix()/seconds(c.o.SenderTTL)) + "@" + domain)
}

func (c *Cache) fixedSender() mail.Address {
	switch {
	case c.o.Sender == "<>":
		return ""
	case strings.Contains(c.o.Sender, "@") || c.o.Origin == "":
		return mail.Address(c.o.Sender)
	}
	return mail.Address(c.o.Sender + "@" + c.o.Origin)
}

// base31 writes a number with digits and consonants, so that no word comes of it.
func base31(n int64) string {
	const digits = "0123456789bcdfghjklmnpqrstvwxyz"
	var b [16]byte
	i := len(b)
	for {
		i--
		b[i] = digits[n%int64(len(digits))]
		if n /= int64(len(digits)); n == 0 {
			return string(b[i:])
		}
	}
}
