package dns

import (
	"context"
	"strings"

	mdns "github.com/miekg/dns"
)

// ask sends one question and returns the records of the wanted type, with
// CNAMEs of the same answer followed.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) ([]mdns.RR, bool, error) {
	typ := mdns.TypeToString[qtype]
	if _, ok := mdns.IsDomainName(name); !ok || name == "" || len(name) > 255 {
		return nil, false, &Error{name, typ, NoHost}
	}
	q := new(mdns.Msg)
	q.SetQuestion(mdns.Fqdn(name), qtype)
	q.SetEdns0(1232, false)
	q.AuthenticatedData = true // RFC 6840 section 5.7: tell us about AD without sending signatures
	a, err := r.exchange(ctx, q)
	if err != nil {
		return nil, false, &Error{name, typ, TryAgain}
	}
	switch a.Rcode {
	case mdns.RcodeSuccess:
	case mdns.RcodeNameError:
		return nil, a.AuthenticatedData, &Error{name, typ, NoHost}
	default:
		return nil, false, &Error{name, typ, TryAgain}
	}
	rrs := answers(a.Answer, mdns.Fqdn(name), qtype)
	if len(rrs) == 0 {
		return nil, a.AuthenticatedData, &Error{name, typ, NoData}
	}
	if rrs = r.filter(rrs); len(rrs) == 0 {
		return nil, a.AuthenticatedData, &Error{name, typ, Filtered}
	}
	return rrs, a.AuthenticatedData, nil
}

// answers picks the records of one type that belong to name, or to what name
// is an alias of. Loops and overlong chains end it, as does maxRecords.
func answers(rrs []mdns.RR, name string, qtype uint16) (out []mdns.RR) {
	if len(rrs) > 10*maxRecords {
		rrs = rrs[:10*maxRecords]
	}
	for range maxAliases {
		next := ""
		for _, rr := range rrs {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			if h.Rrtype == qtype && len(out) < maxRecords {
				out = append(out, rr)
			}
			if c, ok := rr.(*mdns.CNAME); ok {
				next = c.Target
			}
		}
		if len(out) > 0 || next == "" {
			return out
		}
		name = next
	}
	return nil
}

// exchange asks each server in turn until one answers with something else
// than a failure of its own; a cut answer is asked for again over TCP.
func (r *Resolver) exchange(ctx context.Context, q *mdns.Msg) (a *mdns.Msg, err error) {
	servers := r.opts.Servers
	if len(servers) == 0 {
		servers = r.conf.servers()
	}
	for range r.opts.Tries {
		for _, s := range servers {
			a, err = r.try(ctx, q, s)
			if err == nil && (a.Rcode == mdns.RcodeSuccess || a.Rcode == mdns.RcodeNameError) {
				return a, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return a, err
}

func (r *Resolver) try(ctx context.Context, q *mdns.Msg, server string) (*mdns.Msg, error) {
	c := &mdns.Client{Timeout: r.opts.Timeout}
	a, _, err := c.ExchangeContext(ctx, q, server)
	if err == nil && a.Truncated {
		c.Net = "tcp"
		a, _, err = c.ExchangeContext(ctx, q, server)
	}
	return a, err
}
