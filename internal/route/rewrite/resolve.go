package rewrite

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
)

// Class is the address class of a recipient (ADDRESS_CLASS_README).
type Class uint8

// The values of Class.
const (
	Default        Class = iota // somewhere else
	Local                       // a Unix account or alias of this machine
	VirtualAlias                // a domain whose addresses are all aliases
	VirtualMailbox              // a domain with mailboxes of its own
	Relay                       // a domain that mail is passed on to
)

// String returns the class' name.
func (c Class) String() string {
	return [...]string{"default", "local", "virtual alias", "virtual mailbox", "relay"}[c]
}

// Route says where a recipient's mail goes.
type Route struct {
	Class     Class
	Transport string       // master.cf service; "error" with a text as Nexthop
	Nexthop   string       // domain, [host]:port, or a text
	Addr      mail.Address // the recipient, completed
	// Routed tells that the local part holds another route ("@", "%", "!"):
	// smtpd refuses to relay it (permit_mx_backup, reject_unauth_destination).
	Routed bool
}

// dsnUnknown is what unknown recipients are told (RFC 3463 X.1.1).
const dsnUnknown = "5.1.1"

// failure is how long mail waits for a table that does not answer: the next
// try of the queue.
func (r *Router) failure(addr string, err error) error {
	r.warn("%s: %v", addr, err)
	return mail.Defer("4.3.0", "address resolver failure")
}

// Resolve finds class, transport and next hop of a recipient for mail of the
// null sender. An address without a domain is completed first: a member of an
// alias is a local user only where $myorigin is. Errors are *mail.Status.
func (r *Router) Resolve(a mail.Address) (Route, error) {
	if !strings.Contains(string(a), "@") {
		a = r.Canonical(a)
	}
	return r.ResolveFrom("", a)
}

// maxAddress is the longest address that is looked at, in octets. RFC 5321
// section 4.5.3.1 allows 320; the work on one grows with its square.
const maxAddress = 4096

// ResolveFrom is Resolve for mail of sender, which sender_dependent_* look at.
func (r *Router) ResolveFrom(sender, a mail.Address) (Route, error) {
	if len(a) > maxAddress {
		return Route{Addr: a}, mail.Bounce("5.1.3", "bad address syntax")
	}
	ctx := context.Background()
	full, isLocal, err := r.strip(ctx, string(a))
	if err != nil {
		return Route{}, r.failure(string(a), err)
	}
	i := strings.LastIndexByte(full, '@')
	if r.o.NumericDomain && isAddr(full[i+1:]) {
		full = full[:i+1] + "[" + full[i+1:] + "]"
	}
	rt := Route{Addr: mail.Address(full), Routed: strings.ContainsAny(full[:i], "@%!")}
	if !validDomain(full[i+1:]) || (!r.o.AllowMinUser && full[0] == '-') {
		return rt, mail.Bounce("5.1.3", "bad address syntax")
	}
	if err := r.classify(ctx, &rt, sender, full[i+1:], isLocal); err != nil {
		return rt, r.failure(full, err)
	}
	if err := r.override(ctx, &rt, full[i+1:]); err != nil {
		return rt, r.failure(full, err)
	}
	return rt, nil
}

// strip takes local domains off an address until a foreign domain or a plain
// user is left: user%there@here is user@there. It returns user@domain and
// whether the domain is local.
func (r *Router) strip(ctx context.Context, a string) (string, bool, error) {
	saved, hasSaved := "", false
	for range len(a) + 100 {
		a = cutDot(a)
		if r.o.NullDomain {
			a = strings.TrimSuffix(a, "@")
		}
		if i := strings.LastIndexByte(a, '@'); i >= 0 {
			own, err := r.isLocal(ctx, a[i+1:])
			if err != nil {
				return "", false, err
			}
			if a[i+1:] != "" && !own {
				return a, false, nil
			}
			saved, hasSaved = a[i+1:], true
			a = a[:i]
		}
		if strings.Contains(a, "@") || (r.o.SwapBangpath && strings.Contains(a, "!")) ||
			(r.o.PercentHack && strings.Contains(a, "%")) {
			a = r.rewrite(a)
			continue
		}
		break
	}
	if a == "" {
		a = "MAILER-DAEMON" // RFC 5321 section 6.1 needs someone to read it
	}
	if !hasSaved {
		saved = r.o.Hostname
	}
	return a + "@" + saved, true, nil
}

// isLocal tells whether a domain is in mydestination or an address literal of
// this machine.
func (r *Router) isLocal(ctx context.Context, domain string) (bool, error) {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" || strings.HasSuffix(domain, ".") {
		return false, nil
	}
	ok, err := r.local.Match(ctx, domain)
	if ok || err != nil {
		return ok, err
	}
	if domain[0] == '[' && domain[len(domain)-1] == ']' {
		a, err := parseLiteral(domain)
		return err == nil && r.ownAddr(a), nil
	}
	return false, nil
}

// parseLiteral reads [1.2.3.4] or [IPv6:...] (RFC 5321 section 4.1.3).
func parseLiteral(s string) (netip.Addr, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	return netip.ParseAddr(s)
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// validDomain tells whether a domain can be asked for: labels of letters,
// digits, "-" and "_", or an address literal. A bare address is no domain.
func validDomain(d string) bool {
	if strings.HasPrefix(d, "[") {
		_, err := parseLiteral(d)
		return err == nil && strings.HasSuffix(d, "]")
	}
	if d == "" || len(d) > 255 {
		return false
	}
	digits := true
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c >= 0x80) {
				return false
			}
			digits = digits && c >= '0' && c <= '9'
		}
	}
	return !digits
}

// classify finds the class, and from it the transport and next hop that the
// configuration gives to it.
func (r *Router) classify(ctx context.Context, rt *Route, sender mail.Address, domain string, isLocal bool) error {
	if isLocal {
		rt.Class = Local
		list := "mydestination"
		if strings.HasPrefix(domain, "[") {
			list = "inet_interfaces" // and proxy_interfaces
		}
		r.classed(list, rt)
		r.set(rt, r.o.LocalTransport, r.o.Hostname)
		r.chosen("local_transport", rt)
		return nil
	}
	in, err := r.aliasDomains.Match(ctx, domain)
	if err != nil {
		return err
	}
	if in {
		rt.Class, rt.Transport, rt.Nexthop = VirtualAlias, r.o.ErrorTransport, dsnUnknown+" User unknown"
		if r.o.ShowTable {
			rt.Nexthop += " in virtual alias table"
		}
		r.classed("virtual_alias_domains", rt)
		return nil
	}
	if in, err = r.boxDomains.Match(ctx, domain); err != nil {
		return err
	}
	if in {
		rt.Class = VirtualMailbox
		r.classed("virtual_mailbox_domains", rt)
		r.set(rt, r.o.VirtualTransport, domain)
		r.chosen("virtual_transport", rt)
		return nil
	}
	return r.remote(ctx, rt, sender, domain)
}

// remote sets transport and next hop of a domain that is not ours.
func (r *Router) remote(ctx context.Context, rt *Route, sender mail.Address, domain string) error {
	in, err := r.relay.Match(ctx, domain)
	if err != nil {
		return err
	}
	transport, param := r.o.DefaultTransport, "default_transport"
	switch {
	case in:
		rt.Class, transport, param = Relay, r.o.RelayTransport, "relay_transport"
		r.classed("relay_domains", rt)
	default:
		r.classed("", rt)
		v, found, err := r.bySender(ctx, r.senderTransport, sender, r.o.NullSenderTrans, senderTransportMaps)
		if err != nil {
			return err
		}
		if found {
			transport, param = v, senderTransportMaps
		}
	}
	hop, err := r.relayhost(ctx, sender, domain)
	if err != nil {
		return err
	}
	r.set(rt, transport, hop)
	r.chosen(param, rt)
	return nil
}

// senderTransportMaps and senderRelayMaps name what a sender's mail goes by.
const (
	senderTransportMaps = "sender_dependent_default_transport_maps"
	senderRelayMaps     = "sender_dependent_relayhost_maps"
)

// relayhost returns the smart host for a sender's mail, or the domain itself.
func (r *Router) relayhost(ctx context.Context, sender mail.Address, domain string) (string, error) {
	v, found, err := r.bySender(ctx, r.senderRelay, sender, r.o.NullSenderRelay, senderRelayMaps)
	switch {
	case err != nil:
		return "", err
	case found:
		return v, nil
	case r.o.Relayhost != "":
		r.trace(Event{What: Chosen, Param: "relayhost", Value: r.o.Relayhost})
		return r.o.Relayhost, nil
	}
	return domain, nil
}

// bySender asks a sender_dependent_* table; the answer DUNNO ends the search
// without a result.
func (r *Router) bySender(ctx context.Context, m table.Maps, sender mail.Address, null, param string) (string, bool, error) {
	if sender == "" {
		sender = mail.Address(null)
	}
	v, _, found, err := r.find(ctx, m, sender, param)
	return v, found && !strings.EqualFold(v, "DUNNO"), err
}

// set divides "transport:nexthop" of a parameter; without next hop it is hop.
func (r *Router) set(rt *Route, transport, hop string) {
	name, next, _ := strings.Cut(transport, ":")
	if next == "" {
		next = hop
	}
	rt.Transport, rt.Nexthop = name, next
}

// override applies transport_maps and relocated_maps.
func (r *Router) override(ctx context.Context, rt *Route, domain string) error {
	// Addresses of virtual alias domains have no transport of their own.
	if len(r.transport) > 0 && rt.Class != VirtualAlias {
		keys := table.TransportKeys(rt.Addr, r.o.Delimiter, r.parents("transport_maps") == table.Parents)
		v, key, found, err := r.transport.FindKeys(ctx, keys)
		if err != nil {
			return fmt.Errorf("transport_maps lookup failure: %w", err)
		}
		r.looked("transport_maps", rt.Addr, key.Text, v, found)
		if found {
			r.mapped(rt, v, domain)
			r.chosen("transport_maps", rt)
		}
	}
	v, _, found, err := r.find(ctx, r.relocated, rt.Addr, "relocated_maps")
	if err != nil {
		return fmt.Errorf("relocated_maps lookup failure: %w", err)
	}
	if found {
		rt.Transport, rt.Nexthop = r.o.ErrorTransport, "5.1.6 User has moved to "+v
		r.chosen("relocated_maps", rt)
	}
	return nil
}

// mapped applies a transport(5) result: "transport:", "transport:nexthop",
// ":nexthop"; an empty one changes nothing.
func (r *Router) mapped(rt *Route, v, domain string) {
	name, next, _ := strings.Cut(v, ":")
	switch {
	case name != "" && next == "":
		rt.Transport, rt.Nexthop = name, domain
	case name != "":
		rt.Transport, rt.Nexthop = name, next
	case next != "":
		rt.Nexthop = next
	}
}

// mailKeys returns the keys of an address for tables like virtual(5).
func (r *Router) mailKeys(ctx context.Context, a mail.Address) ([]table.Key, error) {
	domain := a.Domain()
	own := strings.EqualFold(domain, r.o.Origin)
	if !own && domain != "" {
		var err error
		if own, err = r.isLocal(ctx, domain); err != nil {
			return nil, err
		}
	}
	return table.MailKeys(a, r.o.Delimiter, own), nil
}

// find asks tables like virtual(5), those of param, for an address.
func (r *Router) find(ctx context.Context, m table.Maps, a mail.Address, param string) (string, table.Key, bool, error) {
	if len(m) == 0 {
		return "", table.Key{}, false, nil
	}
	keys, err := r.mailKeys(ctx, a)
	if err != nil {
		return "", table.Key{}, false, err
	}
	v, key, found, err := m.FindKeys(ctx, keys)
	if err == nil {
		r.looked(param, a, key.Text, v, found)
	}
	return v, key, found, err
}

// Route answers the scheduler: transport and next hop of one recipient of a
// queued message, whose address is completed in place. Errors are *mail.Status.
func (r *Router) Route(env *mail.Envelope, rcpt *mail.Rcpt) (transport, nexthop string, err error) {
	rt, err := r.ResolveFrom(env.Sender, rcpt.Addr)
	if err != nil {
		return "", "", err
	}
	if rt.Addr != rcpt.Addr {
		if rcpt.Orig == "" {
			rcpt.Orig = rcpt.Addr
		}
		rcpt.Addr = rt.Addr
	}
	if env.Filter != "" {
		hop := r.o.FilterNexthop
		if hop == "" {
			hop = rt.Addr.Domain()
		}
		r.set(&rt, env.Filter, hop)
		r.chosen("content_filter", &rt)
	}
	// A notice that cannot be delivered ends here: qmgr(8) discards mail to the
	// double bounce address of this machine.
	if rt.Class == Local && strings.EqualFold(rt.Addr.Local(), r.o.DoubleBounce) {
		return "discard", "undeliverable postmaster notification discarded", nil
	}
	return rt.Transport, rt.Nexthop, nil
}
