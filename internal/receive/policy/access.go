package policy

import (
	"context"
	"net/netip"
	"slices"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
)

func checkClientAccess(ctx context.Context, e *eval, st *step) result {
	keys := append(e.hostKeys(e.s.Name), table.AddrKeys(e.s.Addr.Unmap().String())...)
	r, _ := e.access(ctx, st, subject{e.s.Client(), clientClass}, keys)
	return r
}

func checkReverseAccess(ctx context.Context, e *eval, st *step) result {
	keys := append(e.hostKeys(e.s.Reverse), table.AddrKeys(e.s.Addr.Unmap().String())...)
	r, _ := e.access(ctx, st, subject{e.s.Reverse, reverseClass}, keys)
	return e.forbidPermit(st, r, e.s.Reverse)
}

func checkHeloAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.Helo == "" {
		return dunno
	}
	r, _ := e.access(ctx, st, subject{e.s.Helo, heloClass}, e.hostKeys(e.s.Helo))
	return r
}

func checkEtrnAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.Site == "" {
		return dunno
	}
	r, _ := e.access(ctx, st, subject{e.s.Site, etrnClass}, e.hostKeys(e.s.Site))
	return r
}

func checkSASLAccess(ctx context.Context, e *eval, st *step) result {
	if !e.saslKnown(st) || e.s.User == "" {
		return dunno
	}
	r, _ := e.access(ctx, st, subject{printable(e.s.User), saslClass}, []table.Key{{Text: e.s.User}})
	return r
}

// saslKnown says so in the log where a restriction needs AUTH and the service
// has none.
func (e *eval) saslKnown(st *step) bool {
	if !e.p.opts.SASL {
		e.p.deps.Log.Warn("restriction `%s' ignored: no SASL support", st.written)
	}
	return e.p.opts.SASL
}

func checkSenderAccess(ctx context.Context, e *eval, st *step) result {
	switch {
	case e.s.Sender == nil:
		return dunno
	case *e.s.Sender == "":
		r, _ := e.access(ctx, st, subject{"", senderClass}, []table.Key{{Text: e.p.opts.NullKey}})
		return r
	}
	return e.mailAccess(ctx, st, *e.s.Sender, senderClass)
}

func checkRcptAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.Rcpt == nil {
		return dunno
	}
	return e.mailAccess(ctx, st, *e.s.Rcpt, rcptClass)
}

// mailAccess asks for an address as it is once routing inside it was followed.
func (e *eval) mailAccess(ctx context.Context, st *step, a mail.Address, class string) result {
	d, err := e.resolve(ctx, a)
	if err != nil {
		return e.broken(a, err)
	}
	key := e.qualified(d.addr)
	if key.Domain() == "" {
		return dunno
	}
	r, _ := e.access(ctx, st, subject{string(a), class}, table.AccessMailKeys(key, e.p.opts.Delimiter, e.p.parents()))
	// A recipient with a route of its own is too suspicious to be permitted.
	if r == permit && class == rcptClass && d.routed && !e.p.opts.Untrusted && !e.s.Actions.Discard {
		return dunno
	}
	return r
}

// qualified adds myorigin to an address without a domain.
func (e *eval) qualified(a mail.Address) mail.Address {
	if a.Domain() == "" && e.p.opts.MyOrigin != "" {
		return a + mail.Address("@"+e.p.opts.MyOrigin)
	}
	return a
}

// subject is what a table was asked about, as its texts name it.
type subject struct{ value, class string }

// access asks a table for each key in turn (access(5)); the first that is there
// decides. found tells that one was there.
func (e *eval) access(ctx context.Context, st *step, about subject, keys []table.Key) (r result, found bool) {
	value, key, found, err := st.maps.FindKeys(ctx, keys)
	if err != nil {
		e.p.deps.Log.SMTPDRestriction(err.Error())
		return e.hard("4.3.5", "%s", rejected(about.value, about.class, "Server configuration error")), true
	}
	if !found {
		return dunno, false
	}
	e.found(st.arg, key.Text, value)
	return e.act(ctx, answer{table: st.arg, key: keys[0].Text, text: value, about: about}), true
}

// parents tells whether a domain's entry in an access table counts for its
// subdomains too (parent_domain_matches_subdomains); otherwise only ".domain"
// does.
func (p *Policy) parents() bool {
	return slices.Contains(p.opts.ParentMatches, "smtpd_access_maps")
}

// maxKeys bounds the look-ups that one hostile name can cause.
const maxKeys = 64

// hostKeys are the keys of a name; an address has no parent domains.
func (e *eval) hostKeys(name string) []table.Key {
	if _, err := netip.ParseAddr(name); err == nil {
		return []table.Key{{Text: name}}
	}
	keys := table.DomainKeys(name, e.p.parents())
	// "example.com." ends in a key that is empty.
	keys = slices.DeleteFunc(keys, func(k table.Key) bool { return k.Text == "" })
	return keys[:min(len(keys), maxKeys)]
}

// forbidPermit turns a permission into a fault where a stranger decides what is
// looked up: his reverse name, his name servers.
func (e *eval) forbidPermit(st *step, r result, target string) result {
	if r != permit || e.s.Actions.Discard {
		return r
	}
	e.p.deps.Log.SMTPDForbidden(st.written, target)
	return e.fault()
}

// printable replaces what a log line must not hold.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c >= 0x7f {
			b[i] = '_'
		}
	}
	return string(b)
}
