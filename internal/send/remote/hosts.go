package remote

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
)

// host is one address to try, with the name it was found under.
type host struct {
	name       string     // as the log shows it: MX name, literal, or "host[path]" of a socket
	addr       netip.Addr // zero for a unix socket
	port       string
	unix       string // path of a unix socket
	pref       uint16
	insecureMX bool // an MX record without DNSSEC led here
}

// String is the form of Postfix's log: name[address].
func (h host) String() string {
	if h.unix != "" {
		return h.name + "[" + h.unix + "]"
	}
	return h.name + "[" + h.addr.String() + "]"
}

// relay is the form behind relay= in the log.
func (h host) relay() string {
	if h.unix != "" {
		return h.String()
	}
	return h.String() + ":" + h.port
}

// hosts finds what stands behind a next hop: a domain (its MX hosts, else its
// addresses), [host] or [address] with an optional :port, or for LMTP
// unix:path and inet:host:port.
func (t *Transport) hosts(ctx context.Context, nexthop string) ([]host, error) {
	if path, ok := strings.CutPrefix(nexthop, "unix:"); ok && t.opts.LMTP {
		if !strings.HasPrefix(path, "/") {
			path = t.opts.QueueDirectory + "/" + path
		}
		return []host{{name: t.opts.Hostname, unix: path}}, nil
	}
	if t.opts.LMTP {
		nexthop = strings.TrimPrefix(nexthop, "inet:")
	}
	name, port, exact := splitNexthop(nexthop, t.opts.Port)
	if name == "" {
		return nil, mail.Bounce("5.1.2", "bad destination %q", nexthop)
	}
	if addr, err := netip.ParseAddr(strings.TrimPrefix(name, "ipv6:")); err == nil {
		return []host{{name: addr.String(), addr: addr.Unmap(), port: port}}, nil
	}
	// lmtp(8) never looks for MX records.
	if exact || t.opts.LMTP || t.opts.NoDNS {
		list, err := t.addresses(ctx, name, port, 0)
		return t.order(list), statusOf(err)
	}
	return t.exchangers(ctx, name, port)
}

// splitNexthop takes "domain", "domain:port", "[host]" and "[host]:port" apart.
func splitNexthop(s, defPort string) (name, port string, exact bool) {
	port = defPort
	if rest, ok := strings.CutPrefix(s, "["); ok {
		name, rest, ok = strings.Cut(rest, "]")
		if !ok {
			return "", "", false
		}
		if p, ok := strings.CutPrefix(rest, ":"); ok && p != "" {
			port = p
		}
		return strings.ToLower(name), port, true
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.Count(s, ":") == 1 {
		s, port = s[:i], s[i+1:]
	}
	return s, port, false
}

// exchangers finds the MX hosts of a domain (RFC 5321 section 5.1).
func (t *Transport) exchangers(ctx context.Context, domain, port string) ([]host, error) {
	mx, secure, err := t.opts.Resolver.MX(ctx, domain)
	switch {
	case err == nil:
	case dns.KindOf(err) == dns.NoData || dns.KindOf(err) == dns.NoHost || t.opts.IgnoreMXLookup:
		// No MX: the domain itself is the host, as if it had an MX of preference 0.
		list, err := t.addresses(ctx, domain, port, 0)
		if err != nil {
			return nil, statusOf(err)
		}
		return t.ordered(t.withoutLoop(list, domain))
	default:
		return nil, statusOf(err)
	}
	if len(mx) == 1 && mx[0].Host == "" { // RFC 7505: null MX
		return nil, mail.Bounce("5.1.0", "Domain %s does not accept mail (nullMX)", domain)
	}
	list, err := t.mxAddresses(ctx, mx, port)
	for i := range list {
		list[i].insecureMX = !secure
	}
	if len(list) == 0 {
		return nil, t.noAddress(err)
	}
	return t.ordered(t.withoutLoop(list, domain))
}

// noAddress is the status of a domain none of whose MX hosts has an address
// (smtp_defer_if_no_mx_address_found).
func (t *Transport) noAddress(err error) error {
	st := mail.AsStatus(statusOf(err))
	if t.opts.DeferIfNoMXFound && !st.Temporary() {
		st.Outcome, st.Code = mail.Deferred, "4"+st.Code[1:]
	}
	return st
}

// maxSilent is how many hosts of an MX set are asked for in vain while no name server
// answers.
const maxSilent = 5

// mxAddresses looks the hosts of an MX set up, no more of them than the limits
// on addresses can use. The error counts only when no address was found.
func (t *Transport) mxAddresses(ctx context.Context, mx []dns.MX, port string) (list []host, worst error) {
	silent := 0
	for _, m := range mx {
		// Enough to choose from; a set of hundreds is not a reason to ask hundreds of
		// times, nor to wait for as many servers that do not answer.
		if len(list) >= 4*t.opts.AddressLimit || silent >= maxSilent {
			break
		}
		found, err := t.addresses(ctx, m.Host, port, m.Pref)
		if err != nil && (worst == nil || dns.KindOf(err) == dns.TryAgain) {
			worst = err
		}
		if err != nil && dns.KindOf(err) == dns.TryAgain {
			silent++
		}
		list = append(list, found...)
	}
	return list, worst
}

// addresses looks up one host.
func (t *Transport) addresses(ctx context.Context, name, port string, pref uint16) ([]host, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return []host{{name: name, addr: addr.Unmap(), port: port, pref: pref}}, nil
	}
	addrs, err := t.opts.Resolver.Addrs(ctx, name, t.network())
	if err != nil {
		return nil, err
	}
	if t.opts.CNAMEOverrides {
		name = t.opts.Resolver.Canonical(ctx, name)
	}
	list := make([]host, len(addrs))
	for i, a := range addrs {
		list[i] = host{name: name, addr: a, port: port, pref: pref}
	}
	return list, nil
}

// network maps inet_protocols to a family of addresses.
func (t *Transport) network() string {
	p := t.opts.Protocols
	switch {
	case len(p) == 1 && p[0] == "ipv4":
		return "ip4"
	case len(p) == 1 && p[0] == "ipv6":
		return "ip6"
	}
	return "ip"
}

// withoutLoop drops ourselves and every less preferred host from an MX set
// (RFC 5321 section 5.1): only better hosts may take the mail further. When we
// are the best host, mail has come to us that configuration does not take.
func (t *Transport) withoutLoop(list []host, domain string) ([]host, error) {
	if t.opts.LMTP {
		return list, nil
	}
	own := t.opts.Own()
	self := -1
	for i, h := range list {
		if h.port == "25" && slices.Contains(own, h.addr) && (self < 0 || h.pref < list[self].pref) {
			self = i
		}
	}
	if self < 0 {
		return list, nil
	}
	pref := list[self].pref
	list = slices.DeleteFunc(slices.Clone(list), func(h host) bool { return h.pref >= pref })
	if len(list) == 0 {
		return nil, &loopError{mail.Bounce("5.4.6", "mail for %s loops back to myself", domain)}
	}
	return list, nil
}

// statusOf gives a failed look-up the codes of smtp_addr(3).
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	switch dns.KindOf(err) {
	case dns.NoHost, dns.NoData:
		return mail.Bounce("5.4.4", "%s", err.Error())
	case dns.Invalid:
		return mail.Bounce("5.4.4", "%s", err.Error())
	case dns.Filtered:
		return errorf("4.7.0", "%s", err.Error())
	}
	return errorf("4.4.3", "%s", err.Error())
}

// network and address of the host for net.Dial.
func (h host) dialTarget() (network, address string) {
	if h.unix != "" {
		return "unix", h.unix
	}
	return "tcp", net.JoinHostPort(h.addr.String(), h.port)
}
