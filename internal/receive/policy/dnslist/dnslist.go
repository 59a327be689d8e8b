// Package dnslist asks DNS block and allow lists (RFC 5782): which name stands
// for a client's address or a domain, which answers count ("zone=127.0.0.[2;4..8]"),
// and what is remembered of them. receive/policy uses it for reject_rbl_client,
// reject_rhsbl_*, permit_dnswl_client and permit_rhswl_client.
package dnslist

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"packetboat/internal/sys/dns"
)

// Resolver asks name servers; *dns.Resolver is one.
type Resolver interface {
	Addrs(ctx context.Context, host, network string) ([]netip.Addr, error)
	TXT(ctx context.Context, name string) ([]string, error)
}

// Zone is a list, with the answers that count.
type Zone struct {
	Text   string // as it was configured, for rbl_reply_maps
	Domain string
	want   *pattern // nil: every answer
}

// Parse reads "zone" or "zone=pattern".
func Parse(text string) (Zone, error) {
	domain, want, filtered := strings.Cut(text, "=")
	z := Zone{Text: text, Domain: domain}
	if domain == "" {
		return z, fmt.Errorf("%q names no DNS list", text)
	}
	if !filtered {
		return z, nil
	}
	p, err := parsePattern(want)
	if err != nil {
		return z, fmt.Errorf("RBL reply error: %w", err)
	}
	z.want = p
	return z, nil
}

// Answer is what a list says of a name.
type Answer struct {
	Listed bool
	Text   string // its TXT records, joined by " / ", at most 500 octets
}

// Limits of what is remembered. Postfix keeps 100 answers as long as a process
// lives; ours lives for weeks, so they are forgotten after a minute.
const (
	maxAnswers = 4096
	answerLife = time.Minute
	textLimit  = 500
)

// Lists asks and remembers. It is used by many goroutines.
type Lists struct {
	r     Resolver
	warn  func(format string, args ...any)
	clock func() time.Time

	mu    sync.Mutex
	known map[string]remembered
}

type remembered struct {
	addrs []netip.Addr
	text  string
	until time.Time
}

// New returns Lists that ask r; warn is told of lists that do not answer.
func New(r Resolver, warn func(format string, args ...any)) *Lists {
	return &Lists{r: r, warn: warn, clock: time.Now, known: map[string]remembered{}}
}

// Ask tells what zone says of name, the reversed address or the domain in front
// of the zone. An error means that the list does not answer; it has been logged.
func (l *Lists) Ask(ctx context.Context, z Zone, name string) (Answer, error) {
	query := name + "." + z.Domain
	k, err := l.find(ctx, query)
	if err != nil {
		return Answer{}, err
	}
	for _, a := range k.addrs {
		if z.want == nil || z.want.match(a) {
			return Answer{true, k.text}, nil
		}
	}
	return Answer{}, nil
}

func (l *Lists) find(ctx context.Context, query string) (remembered, error) {
	l.mu.Lock()
	k, ok := l.known[query]
	l.mu.Unlock()
	if ok && l.clock().Before(k.until) {
		return k, nil
	}
	k = remembered{}
	addrs, err := l.r.Addrs(ctx, query, "ip4")
	if err != nil && (dns.KindOf(err) == dns.TryAgain || dns.KindOf(err) == dns.Invalid) {
		l.warn("%s: RBL lookup error: %s", query, err.Error())
		return k, err
	}
	if len(addrs) > 0 {
		k.addrs = addrs
		texts, _ := l.r.TXT(ctx, query) // a list without reasons is a list as well
		k.text = strings.Join(texts, " / ")
		k.text = k.text[:min(len(k.text), textLimit)]
	}
	l.remember(query, k)
	return k, nil
}

func (l *Lists) remember(query string, k remembered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= maxAnswers {
		clear(l.known) // simple, and as good as any order against a flood
	}
	k.until = l.clock().Add(answerLife)
	l.known[query] = k
}

// Reverse writes an address as lists want it: 4.3.2.1, or the nibbles of IPv6
// from the last to the first.
func Reverse(a netip.Addr) string {
	b := a.Unmap().AsSlice()
	out := make([]byte, 0, 64)
	for i := len(b) - 1; i >= 0; i-- {
		if len(b) == 4 {
			out = append(strconv.AppendUint(out, uint64(b[i]), 10), '.')
			continue
		}
		const hex = "0123456789abcdef"
		out = append(out, hex[b[i]&15], '.', hex[b[i]>>4], '.')
	}
	return string(out[:max(len(out)-1, 0)])
}
