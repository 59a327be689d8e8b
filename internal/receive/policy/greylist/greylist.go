// Package greylist refuses a stranger's first try for a while (RFC 6647): a mail
// system comes again, most spam programs do not. It behaves as postgrey(8) with
// its defaults: the triplet of client network (/24, /64), sender and recipient
// has to wait 300 seconds; a client that came back for five different triplets,
// not more than one an hour, is known from then on.
//
// It is off unless smtpd_greylist = yes; receive/policy asks it for recipients
// that no restriction has refused or permitted.
package greylist

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"sync"
	"time"

	"packetboat/internal/mail"
)

// Options are parameters of our own. Zero means the default that stands behind
// each.
type Options struct {
	Delay       time.Duration `main:"smtpd_greylist_delay"`        // 300 s
	RetryWindow time.Duration `main:"smtpd_greylist_retry_window"` // 2 d: a first try is forgotten if no second one came
	MaxAge      time.Duration `main:"smtpd_greylist_max_age"`      // 35 d since it was last seen
	Trust       int           `main:"smtpd_greylist_auto_permit"`  // 5 triplets make a client known; below 0 = never
	Text        string        `main:"smtpd_greylist_text"`         // %s = seconds to wait, %r = the recipient's domain
}

func (o Options) withDefaults() Options {
	const day = 24 * time.Hour
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Delay, 300 * time.Second}, {&o.RetryWindow, 2 * day}, {&o.MaxAge, 35 * day}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Trust == 0 {
		o.Trust = 5
	}
	if o.Text == "" {
		o.Text = "Greylisted, try again in %s seconds"
	}
	return o
}

// Limits of what is remembered: 48 octets a triplet and 40 a client with the
// map's own share, so some 20 MB when both are full. Then what was seen longest
// ago gives way.
const (
	maxTriplets = 200_000
	maxClients  = 50_000
)

// hash stands for a triplet: what strangers say has no length here.
type hash [16]byte

// times are Unix seconds.
type times struct{ first, last int64 }

// trust is how often a client came back, and when that was last counted.
type trust struct {
	count int64
	last  int64
}

// List remembers who has been seen. It is used by many goroutines.
type List struct {
	o    Options
	path string
	warn func(format string, args ...any)

	mu       sync.Mutex
	triplets map[hash]times
	clients  map[netip.Addr]trust
	dirty    bool
	saving   sync.Mutex
}

// Verdict is what becomes of a recipient.
type Verdict struct {
	Wait   time.Duration // above 0: refuse it, so long is missing
	Waited time.Duration // above 0: the triplet has just passed, after this long
}

// New opens the list kept in the file path; empty = in memory only. A file that
// cannot be read is told to warn, and the list begins empty: mail waits a little
// more, but is never lost for it.
func New(o Options, path string, warn func(format string, args ...any)) *List {
	l := &List{o: o.withDefaults(), path: path, warn: warn, triplets: map[hash]times{}, clients: map[netip.Addr]trust{}}
	if path != "" {
		l.load(time.Now())
	}
	return l
}

// Ask records a try and says what becomes of it.
func (l *List) Ask(now time.Time, client netip.Addr, sender, rcpt mail.Address) Verdict {
	client = client.Unmap().WithZone("")
	key := triplet(client, sender, rcpt)
	t := now.Unix()
	l.mu.Lock()
	defer l.mu.Unlock()
	who := l.clients[client]
	if l.o.Trust > 0 && who.count >= int64(l.o.Trust) {
		if t >= who.last+3600 || who.last > t {
			l.know(client, trust{who.count, t})
		}
		return Verdict{}
	}
	seen, known := l.triplets[key]
	passed := known && seconds(l.o.Delay) <= seen.last-seen.first
	if !known || !passed && t-seen.first > seconds(l.o.RetryWindow) || seen.first > t {
		seen.first = t
	}
	l.see(key, times{seen.first, t})
	missing := seconds(l.o.Delay) - (t - seen.first)
	switch {
	case missing > 0:
		return Verdict{Wait: time.Duration(missing) * time.Second}
	case passed:
		return Verdict{}
	}
	if who.count == 0 || t >= who.last+3600 {
		l.know(client, trust{who.count + 1, t})
	}
	return Verdict{Waited: time.Duration(t-seen.first) * time.Second}
}

// Text is what a client is told that has to wait.
func (l *List) Text(v Verdict, rcpt mail.Address) string {
	return strings.NewReplacer("%s", itoa(int64(v.Wait/time.Second)), "%r", rcpt.Domain()).Replace(l.o.Text)
}

func (l *List) see(key hash, t times) {
	if _, known := l.triplets[key]; !known && len(l.triplets) >= maxTriplets {
		evict(l.triplets, func(t times) int64 { return t.last })
	}
	l.triplets[key] = t
	l.dirty = true
}

func (l *List) know(client netip.Addr, t trust) {
	if _, known := l.clients[client]; !known && len(l.clients) >= maxClients {
		evict(l.clients, func(t trust) int64 { return t.last })
	}
	l.clients[client] = t
	l.dirty = true
}

// evict drops what was seen before the middle of the times it finds: about half,
// so that a flood pays for it once in many thousand tries.
func evict[K comparable, V any](m map[K]V, last func(V) int64) {
	var sum, n int64
	for _, v := range m {
		sum, n = sum+last(v)>>10, n+1
	}
	middle := sum / max(n, 1) << 10
	for k, v := range m {
		if last(v) <= middle {
			delete(m, k)
		}
	}
	if int64(len(m)) == n {
		clear(m)
	}
}

// triplet makes a triplet's key. Client networks, not addresses, count, since a
// large sender tries again from a neighbour.
func triplet(client netip.Addr, sender, rcpt mail.Address) hash {
	bits := 24
	if client.Is6() {
		bits = 64
	}
	network, _ := client.Prefix(bits)
	text := strings.ToLower(network.String() + "\x00" + steady(sender) + "\x00" + string(rcpt))
	sum := sha256.Sum256([]byte(text))
	return hash(sum[:16])
}

// steady takes out of a sender what differs from message to message: the
// extension, the numbers of VERP, the tag of BATV.
func steady(a mail.Address) string {
	user, domain := a.Split()
	if domain == "" {
		return string(a)
	}
	if parts := strings.Split(user, "="); len(parts) == 3 && parts[0] == "prvs" {
		user = parts[2]
		if tag(parts[2]) && !tag(parts[1]) {
			user = parts[1]
		}
	}
	user, _, _ = strings.Cut(user, "+")
	return numbers(user) + "@" + domain
}

// tag tells a tag of BATV: ten digits or letters at least.
func tag(s string) bool {
	return len(s) >= 10 && strings.Trim(s[:10], "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// numbers writes "#" for each number that is a word of its own.
func numbers(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && word(s[j]) {
			j++
		}
		switch {
		case j == i:
			b.WriteByte(s[i])
			j++
		case strings.Trim(s[i:j], "0123456789") == "":
			b.WriteByte('#')
		default:
			b.WriteString(s[i:j])
		}
		i = j
	}
	return b.String()
}

func word(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
