package rewrite

import (
	"context"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/route/table"
)

// errExpansion makes the message wait: an alias table does not answer, or an
// alias grows without end (cleanup(8), CLEANUP_STAT_DEFER).
func errExpansion() error { return mail.Defer("4.6.0", "Alias expansion error") }

// expansion is the state of one Expand.
type expansion struct {
	r     *Router
	ctx   context.Context
	list  []mail.Address
	again map[mail.Address]bool // addresses that led to themselves
}

// Expand returns what virtual_alias_maps make of an address, recursively: the
// completed address itself when no alias matches. An alias may list its own
// address, once. Errors are temporary *mail.Status (4.6.0).
func (r *Router) Expand(a mail.Address) ([]mail.Address, error) {
	e := &expansion{r: r, ctx: context.Background(), list: []mail.Address{r.Canonical(a)}}
	if len(r.virtual) == 0 {
		return e.list, nil
	}
	for i := 0; i < len(e.list); i++ {
		if len(e.list) > r.o.ExpansionLimit {
			r.warn("unreasonable virtual_alias_maps map expansion size for %s -- message not accepted, try again later", a)
			return nil, errExpansion()
		}
		for count := 0; !e.again[e.list[i].Fold()]; count++ {
			if count >= r.o.RecursionLimit {
				r.warn("unreasonable virtual_alias_maps map nesting for %s -- message not accepted, try again later", a)
				return nil, errExpansion()
			}
			more, err := e.step(i)
			if err != nil {
				return nil, err
			}
			if !more {
				break
			}
		}
	}
	return e.list, nil
}

// step replaces address i by what it leads to: the first in its place, the
// others at the end. It returns whether there was an alias.
func (e *expansion) step(i int) (bool, error) {
	from := e.list[i]
	to, err := e.r.mapAddress(e.ctx, e.r.virtual, from, "virtual", "virtual_alias_maps")
	if err != nil {
		e.r.warn("virtual_alias_maps map lookup problem for %s: %v", from, err)
		return false, errExpansion()
	}
	for n, a := range to {
		if len(a) > e.r.o.AddressLimit {
			e.r.warn("unreasonable virtual_alias_maps result %.300s... -- message not accepted, try again later", a)
			return false, errExpansion()
		}
		if n == 0 {
			e.list[i] = a
		} else {
			e.list = append(e.list, a)
		}
		if a.Fold() == from.Fold() {
			if e.again == nil {
				e.again = map[mail.Address]bool{}
			}
			e.again[a.Fold()] = true
		}
	}
	return len(to) > 0, nil
}

// mapAddress looks an address up in tables like virtual(5) and returns the
// completed addresses of the result, none when nothing matches. kind is the
// word of propagate_unmatched_extensions that lets an extension go on, param the
// tables' parameter.
func (r *Router) mapAddress(ctx context.Context, m table.Maps, a mail.Address, kind, param string) ([]mail.Address, error) {
	value, key, found, err := r.find(ctx, m, a, param)
	if err != nil || !found {
		return nil, err
	}
	user, ext := a.Local(), ""
	if key.Bare {
		ext = table.Extension(user, r.o.Delimiter)
		user = strings.TrimSuffix(user, ext)
	}
	if !contains(r.o.Propagate, kind) {
		ext = ""
	}
	items, err := alias.Parse(value)
	if err != nil {
		return nil, err
	}
	var out []mail.Address
	for i, it := range items {
		text := addressText(it)
		// "@domain" keeps the user and gives another domain, but only in front
		// (mail_addr_map(3)).
		if i == 0 && value[0] == '@' {
			text = user + text
		}
		out = append(out, withExt(r.Canonical(mail.Address(text)), ext))
	}
	r.trace(Event{What: Expanded, Param: param, From: a, To: out})
	return out, nil
}

// addressText takes an item for an address: address tables know no commands.
func addressText(it alias.Item) string {
	switch it.Kind {
	case alias.Command:
		return "|" + it.Text
	case alias.Include:
		return ":include:" + it.Text
	}
	return it.Text
}

// withExt appends an address extension, with its delimiter, to the local part.
func withExt(a mail.Address, ext string) mail.Address {
	if ext == "" {
		return a
	}
	local, domain := a.Split()
	if domain == "" {
		return mail.Address(local + ext)
	}
	return mail.Address(local + ext + "@" + domain)
}

// CanonicalMaps returns the address that recipient_canonical_maps, then
// canonical_maps make of a recipient of the envelope, which may be a itself: for
// mail that comes through no intake, as reports do.
func (r *Router) CanonicalMaps(a mail.Address) (mail.Address, error) {
	n := len(r.o.RcptCanonical) // r.canonical begins with these
	for _, m := range []struct {
		maps    table.Maps
		classes []string
		param   string
	}{{r.canonical[:n], r.o.RcptClasses, "recipient_canonical_maps"}, {r.canonical[n:], r.o.CanonClasses, "canonical_maps"}} {
		if len(m.maps) == 0 || !contains(m.classes, "envelope_recipient") {
			continue
		}
		for range maxCanonical {
			to, err := r.mapAddress(context.Background(), m.maps, a, "canonical", m.param)
			if err != nil {
				r.warn("%s map lookup problem for %s: %v", m.param, a, err)
				return a, mail.Defer("4.6.0", "Address mapping error")
			}
			if len(to) == 0 || to[0].Fold() == a.Fold() {
				break
			}
			a = to[0]
		}
	}
	return a, nil
}

// maxCanonical is how often one address is mapped (cleanup(8), MAX_RECURSION).
const maxCanonical = 10

func contains(list []string, word string) bool {
	for _, s := range list {
		if strings.EqualFold(s, word) {
			return true
		}
	}
	return false
}

// Exists tells whether a recipient can be delivered to, as smtpd(8) asks at
// RCPT. The name of the table that does not know it, "local recipient table",
// is for the reply. An error is a *mail.Status: nobody could tell, or the
// address leads to the error transport.
func (r *Router) Exists(a mail.Address) (bool, string, error) {
	ctx := context.Background()
	rt, err := r.Resolve(a)
	if err != nil {
		return false, "", err
	}
	known, err := r.aliased(ctx, rt.Addr, a)
	if err != nil {
		return false, "", r.failure(string(a), err)
	}
	if known {
		return true, "", nil
	}
	if rt.Class == VirtualAlias && rt.Transport == r.o.ErrorTransport && strings.HasPrefix(rt.Nexthop, dsnUnknown+" User unknown") {
		return false, "virtual alias table", nil
	}
	if rt.Transport == r.o.ErrorTransport || rt.Transport == "retry" {
		return false, "", SplitText(rt.Transport != "retry", rt.Nexthop)
	}
	return r.listed(ctx, rt)
}

// aliased tells whether an alias or canonical table knows the address, as it
// was given or completed: then it is taken for good.
func (r *Router) aliased(ctx context.Context, addrs ...mail.Address) (bool, error) {
	for i, a := range addrs {
		if i > 0 && a == addrs[0] {
			continue
		}
		if _, _, found, err := r.find(ctx, r.canonical, a, "canonical_maps"); found || err != nil {
			return found, err
		}
		if _, _, found, err := r.find(ctx, r.virtual, a, "virtual_alias_maps"); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// listed asks the recipient table of the address' class; a class without a
// table takes everybody.
func (r *Router) listed(ctx context.Context, rt Route) (bool, string, error) {
	var m table.Maps
	name, param := "", ""
	switch rt.Class {
	case Local:
		if r.always(rt.Addr.Local()) {
			return true, "", nil
		}
		m, name, param = r.locals, "local recipient table", "local_recipient_maps"
	case VirtualMailbox:
		m, name, param = r.boxes, "virtual mailbox table", "virtual_mailbox_maps"
	case Relay:
		m, name, param = r.relays, "relay recipient table", "relay_recipient_maps"
	}
	if len(m) == 0 {
		return true, "", nil
	}
	_, _, found, err := r.find(ctx, m, rt.Addr, param)
	if err != nil {
		return false, "", r.failure(string(rt.Addr), err)
	}
	if !found {
		return false, name, nil
	}
	return true, "", nil
}

// always tells the names that exist without a table: RFC 5321 section 4.5.1
// demands postmaster, bounces come from the others.
func (r *Router) always(local string) bool {
	for _, p := range []string{r.o.DoubleBounce, "postmaster", "mailer-daemon"} {
		if len(local) >= len(p) && strings.EqualFold(local[:len(p)], p) {
			return true
		}
	}
	return false
}

// SplitText makes a status of the next hop of the error and retry transports:
// "5.1.2 text", or a text without code.
func SplitText(permanent bool, text string) *mail.Status {
	code := "4.3.0"
	if permanent {
		code = "5.0.0"
	}
	if word, rest, ok := strings.Cut(text, " "); ok && isCode(word) {
		code, text = word, rest
	}
	if permanent {
		return mail.Bounce("5"+code[1:], "%s", text)
	}
	return mail.Defer("4"+code[1:], "%s", text)
}

// isCode tells whether s is an enhanced status code (RFC 3463 section 2).
func isCode(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || strings.IndexByte("245", parts[0][0]) < 0 {
		return false
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}
