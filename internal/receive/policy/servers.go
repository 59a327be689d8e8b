package policy

import (
	"context"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/hosts"
	"packetboat/internal/route/table"
)

// maxServers bounds the hosts of one domain that are looked at.
const maxServers = 100

func checkClientServers(rec hosts.Record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.servers(ctx, st, rec, known(e.s.Name), e.s.Name, subject{e.s.Client(), clientClass})
	}
}

func checkReverseServers(rec hosts.Record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.servers(ctx, st, rec, known(e.s.Reverse), e.s.Reverse, subject{e.s.Reverse, reverseClass})
	}
}

func checkHeloServers(rec hosts.Record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.servers(ctx, st, rec, e.s.Helo, e.s.Helo, subject{e.s.Helo, heloClass})
	}
}

func checkSenderServers(rec hosts.Record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.addressServers(ctx, st, rec, e.s.Sender, senderClass)
	}
}

func checkRcptServers(rec hosts.Record) check {
	return func(ctx context.Context, e *eval, st *step) result {
		return e.addressServers(ctx, st, rec, e.s.Rcpt, rcptClass)
	}
}

func (e *eval) addressServers(ctx context.Context, st *step, rec hosts.Record, a *mail.Address, class string) result {
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
func (e *eval) servers(ctx context.Context, st *step, rec hosts.Record, domain, target string, about subject) result {
	if domain == "" {
		return dunno
	}
	r := e.serverAccess(ctx, st, rec, domain, target, about)
	return e.forbidPermit(st, r, target)
}

func (e *eval) serverAccess(ctx context.Context, st *step, rec hosts.Record, domain, target string, about subject) result {
	if domain[0] == '[' {
		// A literal is its own mail exchanger; nobody answers for it.
		if a, ok := hosts.Literal(domain); ok && rec != hosts.NS {
			r, _ := e.access(ctx, st, about, table.AddrKeys(a.String()))
			return r
		}
		return dunno
	}
	list, asked, err := e.finder().Of(ctx, rec, domain)
	if err != nil {
		e.p.deps.Log.SMTPDServerLookup(rec.String(), orElse(asked, target), hosts.DNSError(err))
		return dunno
	}
	for _, h := range list[:min(len(list), maxServers)] {
		if r, found := e.hostAccess(ctx, st, rec, h, about); r != dunno || found {
			return r
		}
	}
	return dunno
}

// hostAccess asks for one host: its name, then its addresses.
func (e *eval) hostAccess(ctx context.Context, st *step, rec hosts.Record, host string, about subject) (result, bool) {
	if a, err := netip.ParseAddr(host); err == nil {
		return e.access(ctx, st, about, table.AddrKeys(a.String()))
	}
	if rec != hosts.A {
		if r, found := e.access(ctx, st, about, e.hostKeys(host)); r != dunno || found {
			return r, found
		}
	}
	addrs, err := e.finder().Addrs(ctx, host)
	if err != nil && rec != hosts.A {
		e.p.deps.Log.SMTPDServerAddr(rec.String(), host, about.class, about.value, hosts.AddrError(err))
	}
	for _, a := range addrs {
		if r, found := e.access(ctx, st, about, table.AddrKeys(a.String())); r != dunno || found {
			return r, found
		}
	}
	return dunno, false
}

// finder asks for hosts.
func (e *eval) finder() hosts.Finder {
	return hosts.Finder{Resolver: e.p.deps.Resolver, Servers: e.p.deps.Servers}
}
