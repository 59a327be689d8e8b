package policy

import (
	"context"
	"errors"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/spec"
)

// destination is where an address really leads.
type destination struct {
	addr   mail.Address // after routing inside the local part was followed
	class  Class
	routed bool // a route for the next host stands in it: user%there@relay.example
}

// resolve follows an address to its end: as trivial-rewrite(8) does, a local
// part that itself is an address (user@there@here, user%there@here,
// there!user@here) is looked into as long as the domain is one of ours. The
// number of rounds is bounded by the address's length.
func (e *eval) resolve(ctx context.Context, a mail.Address) (destination, error) {
	d := destination{addr: e.routes().Inner(a)}
	for {
		var err error
		if d.class, err = e.p.deps.Router.Class(ctx, d.addr); err != nil {
			return d, err
		}
		if d.class != Local {
			d.routed = e.routes().HasRoute(d.addr.Local())
			return d, nil
		}
		local, domain := d.addr.Split()
		inner := e.routes().Inner(mail.Address(local))
		// "user" alone is nobody else's: only a local part with a domain of its
		// own leads on.
		if domain == "" || !strings.Contains(string(inner), "@") || len(inner) >= len(d.addr) {
			return d, nil
		}
		d.addr = inner
	}
}

func (e *eval) routes() spec.Routes {
	return spec.Routes{Percent: yes(e.p.opts.PercentHack), Bang: yes(e.p.opts.SwapBang)}
}

// authorized tells whether mail to the recipient is for us, or for a domain we
// relay for, by an address without a route of its own.
func (e *eval) authorized(ctx context.Context) (bool, result) {
	if e.s.Rcpt == nil {
		return true, dunno
	}
	d, err := e.resolve(ctx, *e.s.Rcpt)
	if err != nil {
		return false, e.broken(*e.s.Rcpt, err)
	}
	// A route that another host would follow for us is relaying, unless the
	// administrator trusts that host not to (allow_untrusted_routing).
	if d.routed && !e.p.opts.Untrusted {
		return false, dunno
	}
	return d.class != Remote, dunno
}

// broken is the answer when a table or a server of ours does not work, or when
// the address, taken apart, is none: no later try will change that.
func (e *eval) broken(a mail.Address, err error) result {
	if s, ok := errors.AsType[*mail.Status](err); ok && s.Outcome == mail.Bounced {
		return e.refuse(501, "5.1.3", "<%s>: Bad recipient address syntax", a)
	}
	e.p.deps.Log.SMTPDConfig("look-up of "+string(a), err)
	return e.hard("4.3.0", "<%s>: Temporary lookup failure", a)
}

func checkPermitAuthDest(ctx context.Context, e *eval, st *step) result {
	ok, r := e.authorized(ctx)
	if ok && e.s.Rcpt != nil {
		return e.permitRcpt(ctx, st)
	}
	return r
}

// checkRelayDomains is what Postfix 1 had for reject_unauth_destination.
func checkRelayDomains(ctx context.Context, e *eval, st *step) result {
	if e.s.Rcpt == nil {
		return dunno
	}
	c, err := e.p.deps.Router.Class(ctx, mail.Address("postmaster@"+e.s.Name))
	ok := err == nil && c == Relay
	if !ok {
		var r result
		if ok, r = e.authorized(ctx); r == refuse {
			return r
		}
	}
	if ok {
		return e.permitRcpt(ctx, st)
	}
	return e.refuse(e.p.opts.RelayReject, "5.7.1", "%s", rejected(text(e.s.Rcpt), rcptClass, "Relay access denied"))
}

func checkRejectUnauthDest(ctx context.Context, e *eval, _ *step) result {
	return e.unauth(ctx, e.p.opts.RelayReject, "5.7.1")
}

func checkDeferUnauthDest(ctx context.Context, e *eval, _ *step) result {
	return e.unauth(ctx, e.p.opts.RelayReject-100, "4.7.1")
}

func (e *eval) unauth(ctx context.Context, code int, dsn string) result {
	ok, r := e.authorized(ctx)
	if ok || r == refuse {
		return r
	}
	return e.refuse(code, dsn, "<%s>: Relay access denied", *e.s.Rcpt)
}

func checkUnlistedRcpt(ctx context.Context, e *eval, _ *step) result {
	return e.unlistedRcpt(ctx)
}

func checkUnlistedSender(ctx context.Context, e *eval, _ *step) result {
	return e.unlistedSender(ctx)
}

// unlistedRcpt refuses a recipient of ours that nobody has. It is asked once for
// each recipient; what could only warn does not count.
func (e *eval) unlistedRcpt(ctx context.Context) result {
	if text(e.s.Rcpt) == "" || e.listed || !e.p.checksRecipients() {
		return dunno
	}
	e.listed = !e.warn
	return e.unlisted(ctx, *e.s.Rcpt, rcptClass, "5.1.1")
}

func (e *eval) unlistedSender(ctx context.Context) result {
	if text(e.s.Sender) == "" || e.fromListed || !e.p.checksRecipients() {
		return dunno
	}
	e.fromListed = !e.warn
	return e.unlisted(ctx, *e.s.Sender, senderClass, "5.1.0")
}

func (e *eval) unlisted(ctx context.Context, a mail.Address, class, dsn string) result {
	d, err := e.resolve(ctx, a)
	if err != nil {
		return e.broken(a, err)
	}
	known, err := e.p.deps.Router.Exists(ctx, d.addr)
	if err != nil {
		return e.undeliverable(a, class, err)
	}
	if known {
		return dunno
	}
	code, table := e.unknown(d.class)
	if d.class == VirtualAlias {
		dsn = e.p.fixDSN("5.1.1", class) // what trivial-rewrite(8) says of such a domain
	}
	return e.refuse(code, dsn, "<%s>: %s rejected: User unknown%s", a, class, table)
}

// undeliverable tells a transport that refuses all mail (error: of
// transport(5)) and an account that takes none from a table that does not work,
// which route/rewrite reports as trouble of the mail system (RFC 3463 X.3.0).
func (e *eval) undeliverable(a mail.Address, class string, err error) result {
	s, ok := errors.AsType[*mail.Status](err)
	if !ok || s.Code == "4.3.0" {
		return e.broken(a, err)
	}
	code := 550
	switch {
	case s.Reply >= 400 && s.Reply <= 599 && s.Reply != 451:
		code = s.Reply
	case s.Temporary():
		code = 450
	}
	return e.refuse(code, e.p.fixDSN(s.Code, class), "%s", rejected(string(a), class, s.Text))
}

// unknown returns reply code and the words that name the class's table.
func (e *eval) unknown(c Class) (code int, table string) {
	o := &e.p.opts
	switch c {
	case VirtualAlias:
		code, table = o.UnknownAlias, " in virtual alias table"
	case VirtualMailbox:
		code, table = o.UnknownMailbox, " in virtual mailbox table"
	case Relay:
		code, table = o.UnknownRelay, " in relay recipient table"
	default:
		code, table = o.UnknownLocal, " in local recipient table"
	}
	if !yes(o.ShowTable) {
		table = ""
	}
	return code, table
}
