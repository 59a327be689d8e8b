// Package hosts answers receive/policy's questions about names: what they are, and
// which hosts stand behind them in DNS.
package hosts

import (
	"context"
	"net/netip"
	"strings"

	"packetboat/internal/sys/dns"
)

// Resolver asks name servers; *dns.Resolver is one.
type Resolver interface {
	MX(ctx context.Context, domain string) ([]dns.MX, bool, error)
	Addrs(ctx context.Context, host, network string) ([]netip.Addr, error)
	TXT(ctx context.Context, name string) ([]string, error)
}

// NameServers finds the name servers of a zone, for check_*_ns_access.
type NameServers interface {
	NS(ctx context.Context, zone string) ([]string, error)
}

// Record is which hosts of a domain an access table is asked about.
type Record uint8

// The values of Record.
const (
	A  Record = iota // the domain itself, by its addresses only
	MX               // who takes its mail
	NS               // who answers for it
)

// String names the record as warnings do.
func (r Record) String() string { return [...]string{"A", "MX", "NS"}[r] }

// Finder asks. Without a Resolver or Servers nobody can say anything.
type Finder struct {
	Resolver Resolver
	Servers  NameServers
}

// Of returns the hosts that stand behind a domain: its MX or itself, the NS of it
// or of the next domain above that has some. asked is the domain that could not be
// looked up, empty when all of them had nothing.
func (f Finder) Of(ctx context.Context, rec Record, domain string) (hosts []string, asked string, err error) {
	domain = strings.TrimSuffix(dns.ASCII(domain), ".")
	switch rec {
	case A:
		return []string{domain}, domain, nil
	case MX:
		hosts, err = f.exchangers(ctx, domain)
		if err != nil && Absent(err) {
			return []string{domain}, domain, nil
		}
	case NS:
		hosts, err = f.nameServers(ctx, &domain)
	}
	return hosts, domain, err
}

// exchangers returns the MX hosts; those of a null MX (RFC 7505) are none.
func (f Finder) exchangers(ctx context.Context, domain string) ([]string, error) {
	if f.Resolver == nil {
		return nil, errNoResolver
	}
	mx, _, err := f.Resolver.MX(ctx, domain)
	var hosts []string
	for _, m := range mx {
		if m.Host != "" && m.Host != "." {
			hosts = append(hosts, m.Host)
		}
	}
	return hosts, err
}

// nameServers looks for a zone's servers; where the domain is no zone, in the
// domains above it. domain becomes the one that could not be asked, empty when
// all were.
func (f Finder) nameServers(ctx context.Context, domain *string) ([]string, error) {
	if f.Servers == nil {
		return nil, errNoResolver
	}
	for {
		hosts, err := f.Servers.NS(ctx, *domain)
		_, above, more := strings.Cut(*domain, ".")
		if err == nil || !Absent(err) {
			return hosts, err
		}
		if !more || above == "" {
			*domain = ""
			return nil, err
		}
		*domain = above
	}
}

// Addrs returns the addresses of a host.
func (f Finder) Addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if f.Resolver == nil {
		return nil, errNoResolver
	}
	return f.Resolver.Addrs(ctx, host, "ip")
}

// Absent tells that DNS is sure that there is nothing.
func Absent(err error) bool {
	k := dns.KindOf(err)
	return k == dns.NoHost || k == dns.NoData
}

// DNSError is what dns_strerror(3) says of a failure.
func DNSError(err error) string {
	switch dns.KindOf(err) {
	case dns.NoHost:
		return "Host not found"
	case dns.NoData:
		return "Host found but no data record of requested type"
	case dns.Invalid:
		return "Malformed or unexpected name server reply"
	}
	return "Host not found, try again"
}

// AddrError is what gai_strerror(3) says of a failure.
func AddrError(err error) string {
	switch dns.KindOf(err) {
	case dns.NoHost:
		return "Name or service not known"
	case dns.NoData:
		return "No address associated with hostname"
	}
	return "Temporary failure in name resolution"
}

// Found says what DNS knows of a mail domain.
type Found uint8

// The values of Found.
const (
	None Found = iota
	Null       // RFC 7505
	OK
)

// MailDomain asks for MX, then for addresses. An error means that no server
// could say.
func (f Finder) MailDomain(ctx context.Context, domain string) (Found, error) {
	r := f.Resolver
	if r == nil {
		return None, errNoResolver
	}
	mx, _, err := r.MX(ctx, strings.TrimSuffix(domain, "."))
	if err == nil {
		if len(mx) == 1 && (mx[0].Host == "" || mx[0].Host == ".") {
			return Null, nil
		}
		if len(mx) > 0 {
			return OK, nil
		}
	}
	if err != nil && dns.KindOf(err) == dns.TryAgain {
		return None, err
	}
	addrs, err := r.Addrs(ctx, strings.TrimSuffix(domain, "."), "ip")
	switch {
	case err != nil && dns.KindOf(err) == dns.TryAgain:
		return None, err
	case err == nil && len(addrs) > 0:
		return OK, nil
	}
	return None, nil
}

var errNoResolver = &dns.Error{Kind: dns.TryAgain}

// ValidName tells whether h is a host name or an address Literal; a bare
// address passes, as in Postfix, since so many clients say one.
func ValidName(h string) bool {
	if _, ok := Literal(h); ok {
		return true
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	return dns.ValidHost(strings.TrimSuffix(h, "."))
}

// Literal reads an address literal of RFC 5321 section 4.1.3: [1.2.3.4] and
// [IPv6:::1].
func Literal(s string) (netip.Addr, bool) {
	inner, opened := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if !opened || !closed {
		return netip.Addr{}, false
	}
	six := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if six {
		inner = inner[5:]
	}
	a, err := netip.ParseAddr(inner)
	return a, err == nil && a.Is6() == six
}

// ASCII tells whether s is nothing but ASCII.
func ASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// CutDot takes the dot off the end of a name, if it is one dot.
func CutDot(s string) string {
	if len(s) > 1 && s[len(s)-1] == '.' && s[len(s)-2] != '.' {
		return s[:len(s)-1]
	}
	return s
}

// ListDomain is the domain of a name or address that a list can be asked for:
// no Literal, and nothing that ends in a number, which lists refuse to hear.
func ListDomain(what string) string {
	domain := what
	if i := strings.LastIndexByte(what, '@'); i >= 0 {
		domain = what[i+1:]
	}
	if domain == "" || strings.Trim(domain[strings.LastIndexByte(domain, '.')+1:], "0123456789") == "" {
		return ""
	}
	if domain = dns.ASCII(domain); !dns.ValidHost(domain) {
		return ""
	}
	return domain
}
