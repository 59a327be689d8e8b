package policy

import (
	"context"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/dns"
)

// record is which hosts of a domain an access table is asked about.
type record uint8

const (
	recA  record = iota // the domain itself, by its addresses only
	recMX               // who takes its mail
	recNS               // who answers for it
)

// String names the record as warnings do.
func (r record) String() string { return [...]string{"A", "MX", "NS"}[r] }

// maxServers bounds the hosts of one domain that are looked at.
const maxServers = 100

func checkClientServers(rec record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.servers(ctx, st, rec, known(e.s.Name), e.s.Name, subject{e.s.Client(), clientClass})
	}
}

func checkReverseServers(rec record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.servers(ctx, st, rec, known(e.s.Reverse), e.s.Reverse, subject{e.s.Reverse, reverseClass})
	}
}

func checkHeloServers(rec record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.servers(ctx, st, rec, e.s.Helo, e.s.Helo, subject{e.s.Helo, heloClass})
	}
}

func checkSenderServers(rec record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.addressServers(ctx, st, rec, e.s.Sender, senderClass)
	}
}

func checkRcptServers(rec record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.addressServers(ctx, st, rec, e.s.Rcpt, rcptClass)
	}
}

func (e *eval) addressServers(ctx context.Context, st *step, rec record, a *mail.Address, class string) result {
	if a == nil || *a == "" {
		return dunno
	}
	domain := a.Domain()
	if domain == "" {
		domain = string(*a) // as Postfix takes it: a name without "@" is a domain
	}
	return e.servers(ctx, st, rec, domain, string(*a), subject{string(*a), class})
}

// known is a client's name, or nothing.
func known(name string) string {
	if strings.EqualFold(name, "unknown") {
		return ""
	}
	return name
}

// servers asks the step's table for the hosts of a domain and their addresses.
// Strangers decide what these are: the table must not permit.
func (e *eval) servers(ctx context.Context, st *step, rec record, domain, target string, about subject) result {
	if domain == "" {
		return dunno
	}
	r := e.serverAccess(ctx, st, rec, domain, target, about)
	return e.forbidPermit(st, r, target)
}

func (e *eval) serverAccess(ctx context.Context, st *step, rec record, domain, target string, about subject) result {
	if domain[0] == '[' {
		// A literal is its own mail exchanger; nobody answers for it.
		if a, ok := literal(domain); ok && rec != recNS {
			r, _ := e.access(ctx, st, about, table.AddrKeys(a.String()))
			return r
		}
		return dunno
	}
	hosts, ok := e.hostsOf(ctx, rec, domain, target)
	if !ok {
		return dunno
	}
	for _, h := range hosts[:min(len(hosts), maxServers)] {
		if r, found := e.hostAccess(ctx, st, rec, h, about); r != dunno || found {
			return r
		}
	}
	return dunno
}

// hostAccess asks for one host: its name, then its addresses.
func (e *eval) hostAccess(ctx context.Context, st *step, rec record, host string, about subject) (result, bool) {
	if a, err := netip.ParseAddr(host); err == nil {
		return e.access(ctx, st, about, table.AddrKeys(a.String()))
	}
	if rec != recA {
		if r, found := e.access(ctx, st, about, e.hostKeys(host)); r != dunno || found {
			return r, found
		}
	}
	addrs, err := e.addrs(ctx, host)
	if err != nil && rec != recA {
		e.p.deps.Log.SMTPDServerAddr(rec.String(), host, about.class, about.value, addrError(err))
	}
	for _, a := range addrs {
		if r, found := e.access(ctx, st, about, table.AddrKeys(a.String())); r != dunno || found {
			return r, found
		}
	}
	return dunno, false
}

// hostsOf returns the hosts that stand behind a domain: its MX or itself, the NS
// of it or of the next domain above that has some.
func (e *eval) hostsOf(ctx context.Context, rec record, domain, target string) ([]string, bool) {
	domain = strings.TrimSuffix(dns.ASCII(domain), ".")
	var hosts []string
	var err error
	switch rec {
	case recA:
		return []string{domain}, true
	case recMX:
		hosts, err = e.exchangers(ctx, domain)
		if err != nil && absent(err) {
			return []string{domain}, true
		}
	case recNS:
		hosts, err = e.nameServers(ctx, &domain)
	}
	if err != nil {
		e.p.deps.Log.SMTPDServerLookup(rec.String(), orElse(domain, target), dnsError(err))
		return nil, false
	}
	return hosts, true
}

// exchangers returns the MX hosts; those of a null MX (RFC 7505) are none.
func (e *eval) exchangers(ctx context.Context, domain string) ([]string, error) {
	if e.p.deps.Resolver == nil {
		return nil, errNoResolver
	}
	mx, _, err := e.p.deps.Resolver.MX(ctx, domain)
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
func (e *eval) nameServers(ctx context.Context, domain *string) ([]string, error) {
	if e.p.deps.Servers == nil {
		return nil, errNoResolver
	}
	for {
		hosts, err := e.p.deps.Servers.NS(ctx, *domain)
		_, above, more := strings.Cut(*domain, ".")
		if err == nil || !absent(err) {
			return hosts, err
		}
		if !more || above == "" {
			*domain = ""
			return nil, err
		}
		*domain = above
	}
}

func (e *eval) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if e.p.deps.Resolver == nil {
		return nil, errNoResolver
	}
	return e.p.deps.Resolver.Addrs(ctx, host, "ip")
}

// absent tells that DNS is sure that there is nothing.
func absent(err error) bool {
	k := dns.KindOf(err)
	return k == dns.NoHost || k == dns.NoData
}

// dnsError is what dns_strerror(3) says of a failure.
func dnsError(err error) string {
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

// addrError is what gai_strerror(3) says of a failure.
func addrError(err error) string {
	switch dns.KindOf(err) {
	case dns.NoHost:
		return "Name or service not known"
	case dns.NoData:
		return "No address associated with hostname"
	}
	return "Temporary failure in name resolution"
}
