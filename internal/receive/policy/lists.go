package policy

import (
	"context"
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/dnslist"
	"packetboat/internal/receive/policy/hosts"
	"packetboat/internal/receive/policy/reply"
	"packetboat/internal/sys/dns"
)

// checkRBLClient refuses clients that a DNS block list names (RFC 5782).
func checkRBLClient(ctx context.Context, e *eval, st *step) result {
	return e.blocked(ctx, st.zone, dnslist.Reverse(e.s.Addr), e.s.Addr.Unmap().String(), clientClass)
}

// checkMapsRBL is what Postfix 1 had: all zones of maps_rbl_domains.
func checkMapsRBL(ctx context.Context, e *eval, _ *step) result {
	for _, text := range e.p.opts.RBLZones {
		z, err := dnslist.Parse(text)
		if err != nil {
			e.p.deps.Log.SMTPDConfig("maps_rbl_domains", err)
			return e.fault()
		}
		r := e.blocked(ctx, z, dnslist.Reverse(e.s.Addr), e.s.Addr.Unmap().String(), clientClass)
		if r != dunno {
			return r
		}
	}
	return dunno
}

func checkRHSBLClient(ctx context.Context, e *eval, st *step) result {
	return e.blockedDomain(ctx, st.zone, known(e.s.Name), clientClass)
}

func checkRHSBLReverse(ctx context.Context, e *eval, st *step) result {
	return e.blockedDomain(ctx, st.zone, known(e.s.Reverse), reverseClass)
}

func checkRHSBLHelo(ctx context.Context, e *eval, st *step) result {
	return e.blockedDomain(ctx, st.zone, e.s.Helo, heloClass)
}

func checkRHSBLSender(ctx context.Context, e *eval, st *step) result {
	return e.blockedDomain(ctx, st.zone, text(e.s.Sender), senderClass)
}

func checkRHSBLRcpt(ctx context.Context, e *eval, st *step) result {
	return e.blockedDomain(ctx, st.zone, text(e.s.Rcpt), rcptClass)
}

func (e *eval) blockedDomain(ctx context.Context, z dnslist.Zone, what, class string) result {
	if domain := hosts.ListDomain(what); domain != "" {
		return e.blocked(ctx, z, domain, what, class)
	}
	return dunno
}

// blocked refuses what a list names. A list that does not answer never keeps
// mail away.
func (e *eval) blocked(ctx context.Context, z dnslist.Zone, name, what, class string) result {
	if e.p.lists == nil {
		return dunno
	}
	a, err := e.p.lists.Ask(ctx, z, name)
	if err != nil || !a.Listed {
		return dunno
	}
	return e.listReply(ctx, z, a, what, class)
}

// listReply refuses with the text of rbl_reply_maps or default_rbl_reply.
func (e *eval) listReply(ctx context.Context, z dnslist.Zone, a dnslist.Answer, what, class string) result {
	template, found, err := e.p.replies.Lookup(ctx, z.Text)
	if err != nil {
		e.p.deps.Log.SMTPDConfig("rbl_reply_maps lookup error", err)
		return e.fault()
	}
	own := map[string]string{"rbl_code": strconv.Itoa(e.p.opts.MapsRBL), "rbl_domain": z.Domain, "rbl_reason": a.Text,
		"rbl_txt": a.Text, "rbl_what": what, "rbl_class": class}
	text, ok := "", false
	if found {
		if text, ok = e.p.expand(template, e.s, own); !ok {
			e.p.deps.Log.SMTPDRestriction("rbl_reject_reply: bad rbl reply template for domain " + z.Text + ": " + template)
		}
	}
	if !ok {
		text, _ = e.p.expand(e.p.opts.RBLReply, e.s, own)
	}
	if len(text) < 4 || text[0] != '4' && text[0] != '5' || !allDigits(text[:3]) || text[3] != ' ' {
		e.p.deps.Log.SMTPDRestriction("rbl response code configuration error: " + text)
		return e.refuse(450, "4.7.1", "Service unavailable")
	}
	code, _ := strconv.Atoi(text[:3])
	dsn, rest := reply.Enhanced("4.7.1", strings.TrimLeft(text[4:], " \t"))
	return e.refuse(code, e.p.fixDSN(dsn, class), "%s", orElse(rest, "Service unavailable"))
}

func checkDNSWL(ctx context.Context, e *eval, st *step) result {
	return e.allowedBy(ctx, st, dnslist.Reverse(e.s.Addr), e.s.Addr.Unmap().String())
}

func checkRHSWL(ctx context.Context, e *eval, st *step) result {
	if domain := hosts.ListDomain(known(e.s.Name)); domain != "" {
		return e.allowedBy(ctx, st, domain, e.s.Name)
	}
	return dunno
}

// allowedBy permits what a list names, but never relaying: for a recipient that
// is not ours it has no opinion.
func (e *eval) allowedBy(ctx context.Context, st *step, name, what string) result {
	if e.p.lists == nil {
		return dunno
	}
	if e.s.Where == "RCPT" && e.s.Rcpt != nil {
		if ours, r := e.authorized(ctx); !ours {
			return r
		}
	}
	a, err := e.p.lists.Ask(ctx, st.zone, name)
	switch {
	case err != nil:
		e.deferIfReject(450, "4.7.1", "%s", rejected(what, clientClass, "Service unavailable"))
	case a.Listed:
		return e.permitClient(ctx, st)
	}
	return dunno
}

// checkMXBackup lets mail to a domain in whose MX records we stand as a backup.
func checkMXBackup(ctx context.Context, e *eval, st *step) result {
	if e.s.Rcpt == nil {
		return dunno
	}
	d, err := e.resolve(ctx, *e.s.Rcpt)
	if err != nil {
		return e.broken(*e.s.Rcpt, err)
	}
	domain := d.addr.Domain()
	switch {
	case domain == "":
		return e.permitRcpt(ctx, st)
	case d.routed && !e.p.opts.Untrusted:
		return dunno
	case d.class != Remote:
		return e.permitRcpt(ctx, st)
	case domain[0] == '[' || !e.isBackup(ctx, dns.ASCII(domain)):
		return dunno
	}
	return e.permitRcpt(ctx, st)
}

// isBackup tells whether we are an MX of the domain, and not one of the best.
func (e *eval) isBackup(ctx context.Context, domain string) bool {
	if e.p.deps.Resolver == nil {
		return false
	}
	mx, _, err := e.p.deps.Resolver.MX(ctx, domain)
	if err != nil && !hosts.Absent(err) {
		e.unverifiable("Unable to look up mail exchanger information: " + hosts.DNSError(err))
	}
	if err != nil || len(mx) == 0 {
		return false
	}
	best := 1
	for best < len(mx) && mx[best].Pref == mx[0].Pref {
		best++
	}
	if e.isMX(ctx, mx[:best]) || !e.isMX(ctx, mx[best:]) {
		return false
	}
	return len(e.p.opts.BackupNetworks) == 0 || e.allIn(ctx, mx[:best])
}

// isMX tells whether one of the hosts is this machine: first by name.
func (e *eval) isMX(ctx context.Context, mx []dns.MX) bool {
	for _, m := range mx {
		if c, err := e.p.deps.Router.Class(ctx, mail.Address("postmaster@"+m.Host)); err == nil && c == Local {
			return true
		}
	}
	for _, m := range mx {
		addrs, err := e.finder().Addrs(ctx, m.Host)
		if err != nil {
			e.unverifiable("Unable to look up mail exchanger host " + m.Host + ": " + hosts.AddrError(err))
		}
		for _, a := range addrs {
			if e.p.isOwn(a) {
				return true
			}
		}
	}
	return false
}

// allIn tells whether the hosts have all their addresses in
// permit_mx_backup_networks.
func (e *eval) allIn(ctx context.Context, mx []dns.MX) bool {
	for _, m := range mx {
		addrs, err := e.finder().Addrs(ctx, m.Host)
		if err != nil {
			e.unverifiable("Unable to look up host " + m.Host + " as mail exchanger: " + hosts.DNSError(err))
			return false
		}
		for _, a := range addrs {
			ok, err := e.p.backup.Match(ctx, m.Host, a)
			if err != nil {
				e.unverifiable("Unable to verify host " + m.Host + " as mail exchanger")
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

// unverifiable turns a later refusal into "try again".
func (e *eval) unverifiable(why string) {
	e.deferIfReject(450, "4.4.4", "%s", rejected(text(e.s.Rcpt), rcptClass, why))
}
