package remote

import (
	"context"
	"strconv"

	"packetboat/internal/send/remote/certs"
	"packetboat/internal/sys/dns"
	"packetboat/internal/trust/dane"
)

// daneState finds what DANE demands of one host (RFC 7672 section 2.2). What
// DNSSEC does not protect says nothing: level dane does what "may" does then, and
// dane-only has the mail wait. A look-up that fails is no permission to go on.
func (t *Transport) daneState(ctx context.Context, p policy, h host) (policy, error) {
	only := p.level == levelDaneOnly
	weaker := func(l level, why string) (policy, error) {
		if only {
			return p, errorf("4.7.5", "%s", why)
		}
		p.level = l
		return p, nil
	}
	if !t.opts.dnssec() {
		t.log.Warn("%s: dane configured with dnssec lookups disabled", h)
		return p, errBadPolicy()
	}
	if h.unix != "" || certs.IsAddress(h.name) || h.insecureMX && only {
		return weaker(levelMay, "non DNSSEC destination")
	}
	if l, ok := parseLevel(t.opts.InsecureMX); ok && h.insecureMX && l < levelDane {
		return weaker(l, "non DNSSEC destination")
	}
	secure, err := t.opts.Resolver.SecureAddrs(ctx, h.name)
	if err != nil {
		return p, errorf("4.7.5", "TLSA lookup error for %s:%s", h.name, h.port)
	}
	if !secure && !t.opts.ForceTLSA {
		return weaker(levelMay, "non DNSSEC destination")
	}
	port, _ := strconv.Atoi(h.port)
	list, secure, err := t.opts.Resolver.TLSA(ctx, h.name, port)
	switch {
	case err != nil && dns.KindOf(err) != dns.NoData && dns.KindOf(err) != dns.NoHost:
		return p, errorf("4.7.5", "TLSA lookup error for %s:%s", h.name, h.port)
	case err != nil || len(list) == 0 || !secure:
		return weaker(levelMay, "no TLSA records found")
	}
	var records []dane.Record
	for _, r := range list {
		records = append(records, dane.Record(r))
	}
	if p.tlsa = dane.Usable(records, t.opts.Digests); len(p.tlsa) == 0 {
		return weaker(levelEncrypt, "TLSA records unusable")
	}
	return p, nil
}

// dnssec tells whether smtp_dns_support_level lets DNSSEC count.
func (o *Options) dnssec() bool { return o.DNSSupport == "dnssec" }
