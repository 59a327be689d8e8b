// Package dns asks name servers for what mail needs: MX, addresses, reverse
// names and texts. It knows the difference between "there is none" and "nobody
// could say", on which every decision to bounce or to wait hangs, and it bounds
// what a hostile server can make of an answer.
package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// maxRecords is the number of records of one answer that are looked at
// (dns_rr_list_limit of Postfix 3.9).
const maxRecords = 100

// maxAliases is the length of a CNAME chain that is followed within one answer.
const maxAliases = 10

// Kind says why a look-up failed.
type Kind uint8

// The values of Kind.
const (
	TryAgain Kind = iota // no server answered, or one said SERVFAIL
	NoHost               // the name does not exist (NXDOMAIN)
	NoData               // the name exists, without records of this type
	Invalid              // an answer that must not be used
	Filtered             // a filter of ours left none of the records
)

// Error is a failed look-up. Its text is Postfix's, because log readers count it.
type Error struct {
	Name, Type string
	Kind       Kind
}

// Error says "Host or domain name not found. Name service error for ...".
func (e *Error) Error() string {
	if e.Kind == Filtered {
		return "Error looking up name=" + e.Name + " type=" + e.Type + ": DNS reply filter drops all results"
	}
	why := [...]string{"Host not found, try again", "Host not found",
		"Host found but no data record of requested type", "Malformed or unexpected name server reply"}[e.Kind]
	return "Host or domain name not found. Name service error for name=" + e.Name + " type=" + e.Type + ": " + why
}

// Is makes errors.Is(err, &Error{Kind: k}) compare the Kind alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Name == "" && t.Kind == e.Kind
}

// KindOf returns the Kind of a failed look-up; an error of another sort counts
// as TryAgain.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return TryAgain
}

// Options says whom to ask. The zero value asks the servers of /etc/resolv.conf.
type Options struct {
	Servers []string      // host:port; empty = resolv.conf, read again when it changes
	Timeout time.Duration // of one try; 0 = 5 s
	Tries   int           // tries a server; 0 = 2
	Hosts   string        // hosts(5) file that comes before DNS for addresses; empty = /etc/hosts
}

// Resolver asks. It is safe for many goroutines.
type Resolver struct {
	opts  Options
	conf  *confFile
	hosts *hostsFile
	drop  func(record string) bool // nil = every record counts
}

// New returns a Resolver for o.
func New(o Options) *Resolver {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Tries == 0 {
		o.Tries = 2
	}
	if o.Hosts == "" {
		o.Hosts = "/etc/hosts"
	}
	return &Resolver{opts: o, conf: &confFile{path: "/etc/resolv.conf"}, hosts: &hostsFile{path: o.Hosts}}
}

// MX is one mail exchanger. Host has no trailing dot; the empty Host is the
// null MX of RFC 7505.
type MX struct {
	Host string
	Pref uint16
}

// MX returns the mail exchangers of a domain by rising preference, equal ones
// in random order (RFC 5321 section 5.1), and whether the answer was
// authenticated (AD bit).
func (r *Resolver) MX(ctx context.Context, domain string) (mx []MX, secure bool, err error) {
	rrs, secure, err := r.ask(ctx, domain, mdns.TypeMX)
	if err != nil {
		return nil, secure, err
	}
	for _, rr := range rrs {
		if m, ok := rr.(*mdns.MX); ok {
			mx = append(mx, MX{strings.TrimSuffix(m.Mx, "."), m.Preference})
		}
	}
	rand.Shuffle(len(mx), func(i, j int) { mx[i], mx[j] = mx[j], mx[i] })
	slices.SortStableFunc(mx, func(a, b MX) int { return int(a.Pref) - int(b.Pref) })
	return mx, secure, nil
}

// Addrs returns the addresses of a host: network is "ip", "ip4" or "ip6". The
// hosts file comes first. With "ip" a failure of one family matters only when
// the other has no address.
func (r *Resolver) Addrs(ctx context.Context, host, network string) ([]netip.Addr, error) {
	if a := r.hosts.addrs(host, network); len(a) > 0 {
		return a, nil
	}
	var out []netip.Addr
	var failed error
	for _, t := range types(network) {
		rrs, _, err := r.ask(ctx, host, t)
		// "Try again" for one family outweighs "none" for the other.
		if err != nil && (failed == nil || KindOf(failed) != TryAgain) {
			failed = err
		}
		out = append(out, addrsOf(rrs)...)
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, failed
}

func types(network string) []uint16 {
	switch network {
	case "ip4":
		return []uint16{mdns.TypeA}
	case "ip6":
		return []uint16{mdns.TypeAAAA}
	}
	return []uint16{mdns.TypeAAAA, mdns.TypeA}
}

func addrsOf(rrs []mdns.RR) (out []netip.Addr) {
	for _, rr := range rrs {
		var ip net.IP
		switch rr := rr.(type) {
		case *mdns.A:
			ip = rr.A
		case *mdns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// Names returns the names that an address claims (PTR), the hosts file first.
func (r *Resolver) Names(ctx context.Context, addr netip.Addr) ([]string, error) {
	if n := r.hosts.names(addr); len(n) > 0 {
		return n, nil
	}
	arpa, err := mdns.ReverseAddr(addr.String())
	if err != nil {
		return nil, &Error{addr.String(), "PTR", Invalid}
	}
	rrs, _, err := r.ask(ctx, arpa, mdns.TypePTR)
	var names []string
	for _, rr := range rrs {
		if p, ok := rr.(*mdns.PTR); ok {
			names = append(names, strings.TrimSuffix(p.Ptr, "."))
		}
	}
	return names, err
}

// Name returns the name of a client as Postfix knows it: the first reverse
// name that is a host name and resolves forward to addr again. reverse is the
// claimed name even where that fails. The Kind of err says which step failed.
func (r *Resolver) Name(ctx context.Context, addr netip.Addr) (name, reverse string, err error) {
	names, err := r.Names(ctx, addr)
	if err != nil {
		return "", "", err
	}
	for _, n := range names {
		if !ValidHost(n) {
			continue
		}
		reverse = n
		addrs, err := r.Addrs(ctx, n, family(addr))
		if err != nil {
			return "", reverse, err
		}
		if slices.Contains(addrs, addr.Unmap()) {
			return n, reverse, nil
		}
		return "", reverse, &Error{n, "A", NoData}
	}
	return "", "", &Error{addr.String(), "PTR", NoData}
}

func family(a netip.Addr) string {
	if a.Unmap().Is4() {
		return "ip4"
	}
	return "ip6"
}

// TXT returns the texts of a name, each joined from its strings, 64 KiB at most.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	rrs, _, err := r.ask(ctx, name, mdns.TypeTXT)
	var out []string
	for _, rr := range rrs {
		if t, ok := rr.(*mdns.TXT); ok {
			out = append(out, strings.Join(t.Txt, ""))
		}
	}
	return out, err
}

// Exists tells whether name has records of any kind that mail can use (MX, A
// or AAAA), for reject_unknown_*_domain.
func (r *Resolver) Exists(ctx context.Context, name string) (bool, error) {
	if _, _, err := r.MX(ctx, name); err == nil {
		return true, nil
	} else if KindOf(err) == TryAgain {
		return false, err
	}
	_, err := r.Addrs(ctx, name, "ip")
	if err == nil {
		return true, nil
	}
	if KindOf(err) == TryAgain {
		return false, err
	}
	return false, nil
}

// ValidHost tells whether s is a host name: letters, digits, "-" and "_",
// labels of 1 to 63 and at most 255 octets (valid_hostname.c's rules).
func ValidHost(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	digits := true
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i] | 0x20
			letter := c >= 'a' && c <= 'z' || label[i] == '_' || label[i] == '-' || label[i] >= 0x80
			if !letter && (label[i] < '0' || label[i] > '9') {
				return false
			}
			digits = digits && !letter
		}
	}
	return !digits
}
