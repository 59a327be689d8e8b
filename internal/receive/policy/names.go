package policy

import (
	"context"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/hosts"
	"packetboat/internal/sys/dns"
)

func checkInvalidHelo(_ context.Context, e *eval, _ *step) result {
	h := e.s.Helo
	switch {
	case h == "":
		return dunno
	case h[0] == '[':
		return e.badLiteral(h)
	case hosts.ValidName(h):
		return dunno
	}
	return e.refuse(e.p.opts.InvalidHelo, "5.5.2", "%s", rejected(h, heloClass, "Invalid name"))
}

// badLiteral refuses an address literal (RFC 5321 section 4.1.3) that is none.
func (e *eval) badLiteral(h string) result {
	if _, ok := hosts.Literal(h); ok {
		return dunno
	}
	return e.refuse(e.p.opts.InvalidHelo, "5.5.2", "%s", rejected(h, heloClass, "invalid ip address"))
}

// checkNakedAddr permits a client that says an address for a name (Postfix 1).
func checkNakedAddr(ctx context.Context, e *eval, st *step) result {
	h := e.s.Helo
	e.p.deps.Log.SMTPDRestriction("restriction permit_naked_ip_address is deprecated. Use permit_mynetworks or permit_sasl_authenticated instead")
	if h == "" || strings.Trim(h, "0123456789.:") != "" {
		return dunno
	}
	if _, err := netip.ParseAddr(h); err != nil {
		return e.refuse(e.p.opts.InvalidHelo, "5.5.2", "%s", rejected(h, heloClass, "invalid ip address"))
	}
	return e.permit(ctx, st.written, heloClass, h, "")
}

func checkNonFQDNHelo(_ context.Context, e *eval, _ *step) result {
	h := e.s.Helo
	switch {
	case h == "":
		return dunno
	case h[0] == '[':
		return e.badLiteral(h)
	case e.qualifiedName(hosts.CutDot(h)):
		return dunno
	}
	return e.refuse(e.p.opts.NonFQDN, "5.5.2", "%s", rejected(h, heloClass, "need fully-qualified hostname"))
}

// qualifiedName tells whether s is a host name with a domain; one beyond ASCII
// counts if the client may use such (RFC 6531).
func (e *eval) qualifiedName(s string) bool {
	if e.s.SMTPUTF8 {
		s = dns.ASCII(s)
	}
	return hosts.ASCII(s) && dns.ValidHost(s) && strings.Contains(s, ".")
}

func checkUnknownHelo(ctx context.Context, e *eval, _ *step) result {
	h := e.s.Helo
	if h == "" {
		return dunno
	}
	if h[0] == '[' {
		return e.badLiteral(h)
	}
	found, err := e.finder().MailDomain(ctx, h)
	why := rejected(h, heloClass, "Host not found")
	switch {
	case err != nil:
		return e.tempfail(e.p.opts.HeloTempfail, 450, "4.7.1", "%s", why)
	case found == hosts.None:
		return e.refuse(e.p.opts.UnknownHelo, "4.7.1", "%s", why)
	}
	return dunno
}

func checkNonFQDNSender(_ context.Context, e *eval, _ *step) result {
	if e.s.Sender == nil || *e.s.Sender == "" {
		return dunno
	}
	return e.nonFQDN(*e.s.Sender, senderClass, "5.5.2")
}

func checkNonFQDNRcpt(_ context.Context, e *eval, _ *step) result {
	if e.s.Rcpt == nil {
		return dunno
	}
	return e.nonFQDN(*e.s.Rcpt, rcptClass, "5.5.2")
}

func (e *eval) nonFQDN(a mail.Address, class, dsn string) result {
	domain := a.Domain()
	if domain != "" && domain[0] == '[' && domain[len(domain)-1] == ']' || e.qualifiedName(hosts.CutDot(domain)) {
		return dunno
	}
	return e.refuse(e.p.opts.NonFQDN, dsn, "%s", rejected(string(a), class, "need fully-qualified address"))
}

func checkUnknownSender(ctx context.Context, e *eval, _ *step) result {
	if e.s.Sender == nil || *e.s.Sender == "" {
		return dunno
	}
	return e.unknownDomain(ctx, *e.s.Sender, senderClass, "4.1.8", "5.7.27", 550)
}

func checkUnknownRcpt(ctx context.Context, e *eval, _ *step) result {
	if e.s.Rcpt == nil || *e.s.Rcpt == "" {
		return dunno
	}
	return e.unknownDomain(ctx, *e.s.Rcpt, rcptClass, "4.1.2", "5.1.10", 556)
}

// unknownDomain refuses an address whose domain has neither MX nor address, or
// the null MX of RFC 7505. Our own domains are not asked for.
func (e *eval) unknownDomain(ctx context.Context, a mail.Address, class, dsn, nullDSN string, nullCode int) result {
	d, err := e.resolve(ctx, a)
	if err != nil {
		return e.broken(a, err)
	}
	domain := d.addr.Domain()
	final := d.class != Remote && d.class != Relay
	if final || domain == "" || domain[0] == '[' && domain[len(domain)-1] == ']' {
		return dunno
	}
	found, err := e.finder().MailDomain(ctx, dns.ASCII(domain))
	switch {
	case err != nil && dns.KindOf(err) == dns.Invalid:
		return e.refuse(e.p.opts.UnknownAddress, dsn, "%s", rejected(string(a), class, "Malformed DNS server reply"))
	case err != nil:
		return e.tempfail(e.p.opts.AddressTempfail, 450, dsn, "%s", rejected(string(a), class, "Domain not found"))
	case found == hosts.Null:
		return e.refuse(nullCode, nullDSN, "%s", rejected(string(a), class, "Domain "+domain+" does not accept mail (nullMX)"))
	case found == hosts.None:
		return e.refuse(e.p.opts.UnknownAddress, dsn, "%s", rejected(string(a), class, "Domain not found"))
	}
	return dunno
}
