package policy

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
)

func checkInvalidHelo(_ context.Context, e *eval, _ *step) result {
	if e.s.Helo == "" || validName(e.s.Helo) {
		return dunno
	}
	return e.refuse(e.p.opts.InvalidHelo, "5.5.2", "<%s>: Helo command rejected: Invalid name", e.s.Helo)
}

func checkNonFQDNHelo(_ context.Context, e *eval, _ *step) result {
	h := e.s.Helo
	if h == "" || isLiteral(h) || dns.ValidHost(strings.TrimSuffix(h, ".")) && strings.Contains(strings.TrimSuffix(h, "."), ".") {
		return dunno
	}
	return e.refuse(e.p.opts.NonFQDN, "5.5.2", "<%s>: Helo command rejected: need fully-qualified hostname", h)
}

func checkUnknownHelo(ctx context.Context, e *eval, _ *step) result {
	h := e.s.Helo
	if h == "" || isLiteral(h) {
		return dunno
	}
	found, err := e.mailDomain(ctx, h)
	const why = "<%s>: Helo command rejected: Host not found"
	switch {
	case err != nil:
		return e.deferIfPermit(450, "4.7.1", why, h)
	case found == domainNone:
		return e.refuse(e.p.opts.UnknownHelo, "4.7.1", why, h)
	}
	return dunno
}

func checkNonFQDNSender(_ context.Context, e *eval, _ *step) result {
	if e.s.Sender == nil || *e.s.Sender == "" {
		return dunno
	}
	return e.nonFQDN(*e.s.Sender, "Sender address", "5.5.2")
}

func checkNonFQDNRcpt(_ context.Context, e *eval, _ *step) result {
	if e.s.Rcpt == nil {
		return dunno
	}
	return e.nonFQDN(*e.s.Rcpt, "Recipient address", "5.5.2")
}

func (e *eval) nonFQDN(a mail.Address, class, dsn string) result {
	_, domain := a.Split()
	domain = strings.TrimSuffix(domain, ".")
	if isLiteral(domain) || dns.ValidHost(domain) && strings.Contains(domain, ".") {
		return dunno
	}
	// An internationalised domain is as good as its A-labels (RFC 6531).
	if !ascii(domain) && strings.Contains(domain, ".") {
		return dunno
	}
	return e.refuse(e.p.opts.NonFQDN, dsn, "<%s>: %s rejected: need fully-qualified address", a, class)
}

func checkUnknownSender(ctx context.Context, e *eval, _ *step) result {
	if e.s.Sender == nil || *e.s.Sender == "" {
		return dunno
	}
	return e.unknownDomain(ctx, *e.s.Sender, "Sender address", "4.1.8", "5.7.27", 550)
}

func checkUnknownRcpt(ctx context.Context, e *eval, _ *step) result {
	if e.s.Rcpt == nil || *e.s.Rcpt == "" {
		return dunno
	}
	return e.unknownDomain(ctx, *e.s.Rcpt, "Recipient address", "4.1.2", "5.1.10", 556)
}

// unknownDomain refuses an address whose domain has neither MX nor address, or
// the null MX of RFC 7505. Our own domains are not asked for.
func (e *eval) unknownDomain(ctx context.Context, a mail.Address, class, dsn, nullDSN string, nullCode int) result {
	d, err := e.resolve(ctx, a)
	if err != nil {
		return e.broken(a, err)
	}
	_, domain := d.addr.Split()
	if d.class != Remote || domain == "" || isLiteral(domain) {
		return dunno
	}
	found, err := e.mailDomain(ctx, domain)
	switch {
	case err != nil:
		return e.tempfail(dsn, "<%s>: %s rejected: Domain not found", a, class)
	case found == domainNull:
		return e.refuse(nullCode, nullDSN, "<%s>: %s rejected: Domain %s does not accept mail (nullMX)", a, class, domain)
	case found == domainNone:
		return e.refuse(e.p.opts.UnknownAddress, dsn, "<%s>: %s rejected: Domain not found", a, class)
	}
	return dunno
}

// tempfail applies unknown_address_tempfail_action.
func (e *eval) tempfail(dsn, format string, args ...any) result {
	if strings.EqualFold(e.p.opts.Tempfail, "defer") {
		return e.refuse(450, dsn, format, args...)
	}
	return e.deferIfPermit(450, dsn, format, args...)
}

// found says what DNS knows of a mail domain.
type found uint8

const (
	domainNone found = iota
	domainNull       // RFC 7505
	domainOK
)

// mailDomain asks for MX, then for addresses. An error means that no server
// could say.
func (e *eval) mailDomain(ctx context.Context, domain string) (found, error) {
	r := e.p.deps.Resolver
	if r == nil {
		return domainNone, errNoResolver
	}
	mx, _, err := r.MX(ctx, strings.TrimSuffix(domain, "."))
	if err == nil {
		if len(mx) == 1 && (mx[0].Host == "" || mx[0].Host == ".") {
			return domainNull, nil
		}
		if len(mx) > 0 {
			return domainOK, nil
		}
	}
	if err != nil && dns.KindOf(err) == dns.TryAgain {
		return domainNone, err
	}
	addrs, err := r.Addrs(ctx, strings.TrimSuffix(domain, "."), "ip")
	switch {
	case err != nil && dns.KindOf(err) == dns.TryAgain:
		return domainNone, err
	case err == nil && len(addrs) > 0:
		return domainOK, nil
	}
	return domainNone, nil
}

var errNoResolver = &dns.Error{Kind: dns.TryAgain}

// validName tells whether h is a host name or an address literal; a bare
// address passes, as in Postfix, since so many clients say one.
func validName(h string) bool {
	if isLiteral(h) {
		return true
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	return dns.ValidHost(strings.TrimSuffix(h, "."))
}

// isLiteral tells whether s is an address literal of RFC 5321 section 4.1.3.
func isLiteral(s string) bool {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok {
		return false
	}
	if inner, ok = strings.CutSuffix(inner, "]"); !ok {
		return false
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		a, err := netip.ParseAddr(inner[5:])
		return err == nil && a.Is6()
	}
	a, err := netip.ParseAddr(inner)
	return err == nil && a.Is4()
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// checkRBLClient refuses clients that a DNS block list names (zone or
// zone=address; RFC 5782).
func checkRBLClient(ctx context.Context, e *eval, st *step) result {
	r := e.p.deps.Resolver
	if r == nil {
		return dunno
	}
	zone, want, filtered := strings.Cut(st.arg, "=")
	name := reverseName(e.s.Addr) + zone
	addrs, err := r.Addrs(ctx, name, "ip4")
	// A list that does not answer never keeps mail away.
	if err != nil || len(addrs) == 0 || filtered && !named(addrs, want) {
		return dunno
	}
	why := ""
	if t, err := r.TXT(ctx, name); err == nil && len(t) > 0 {
		why = "; " + t[0]
	}
	return e.refuse(e.p.opts.MapsRBL, "5.7.1", "Service unavailable; Client host [%s] blocked using %s%s", e.s.Addr.Unmap(), zone, why)
}

func named(addrs []netip.Addr, want string) bool {
	for _, a := range addrs {
		if a.String() == want {
			return true
		}
	}
	return false
}

// reverseName writes an address as block lists want it, with a dot at the end:
// 4.3.2.1. or the nibbles of IPv6.
func reverseName(a netip.Addr) string {
	b := a.Unmap().AsSlice()
	var out []byte
	for i := len(b) - 1; i >= 0; i-- {
		if len(b) == 4 {
			out = append(strconv.AppendUint(out, uint64(b[i]), 10), '.')
			continue
		}
		const hex = "0123456789abcdef"
		out = append(out, hex[b[i]&15], '.', hex[b[i]>>4], '.')
	}
	return string(out)
}
