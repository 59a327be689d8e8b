// Package rewrite says what an address means here: it completes addresses as
// trivial-rewrite(8) does, finds the address class, transport and next hop,
// expands virtual aliases, and tells whether a recipient exists.
// ADDRESS_REWRITING_README and ADDRESS_CLASS_README describe the rules.
package rewrite

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
)

// Options are the parameters of trivial-rewrite(8), of cleanup(8)'s alias
// expansion and of smtpd(8)'s recipient check. With the zero value every
// address with a domain goes to the default transport.
type Options struct {
	Hostname         string   `main:"myhostname"`
	Origin           string   `main:"myorigin"`
	Domain           string   `main:"mydomain"`
	Destinations     []string `main:"mydestination"`
	Interfaces       []string `main:"inet_interfaces"`
	ProxyInterfaces  []string `main:"proxy_interfaces"`
	RelayDomains     []string `main:"relay_domains"`
	AliasDomains     []string `main:"virtual_alias_domains"`
	MailboxDomains   []string `main:"virtual_mailbox_domains"`
	ParentDomains    []string `main:"parent_domain_matches_subdomains"`
	VirtualAliasMaps []string `main:"virtual_alias_maps"`
	MailboxMaps      []string `main:"virtual_mailbox_maps"`
	LocalMaps        []string `main:"local_recipient_maps"`
	RelayMaps        []string `main:"relay_recipient_maps"`
	CanonicalMaps    []string `main:"canonical_maps"`
	RcptCanonical    []string `main:"recipient_canonical_maps"`
	TransportMaps    []string `main:"transport_maps"`
	RelocatedMaps    []string `main:"relocated_maps"`
	SenderRelayhost  []string `main:"sender_dependent_relayhost_maps"`
	SenderTransport  []string `main:"sender_dependent_default_transport_maps"`
	AliasMaps        []string `main:"alias_maps"`
	AliasDatabase    []string `main:"alias_database"`

	LocalTransport   string `main:"local_transport"`
	VirtualTransport string `main:"virtual_transport"`
	RelayTransport   string `main:"relay_transport"`
	DefaultTransport string `main:"default_transport"`
	Relayhost        string `main:"relayhost"`
	ErrorTransport   string `main:"error_service_name"`

	AppendOrigin    bool     `main:"append_at_myorigin"`
	AppendDot       bool     `main:"append_dot_mydomain"`
	SwapBangpath    bool     `main:"swap_bangpath"`
	PercentHack     bool     `main:"allow_percent_hack"`
	NullDomain      bool     `main:"resolve_null_domain"`
	NumericDomain   bool     `main:"resolve_numeric_domain"`
	Delimiter       string   `main:"recipient_delimiter"`
	Propagate       []string `main:"propagate_unmatched_extensions"`
	RcptClasses     []string `main:"recipient_canonical_classes"`
	CanonClasses    []string `main:"canonical_classes"`
	AllowMinUser    bool     `main:"allow_min_user"`
	ShowTable       bool     `main:"show_user_unknown_table_name"`
	DoubleBounce    string   `main:"double_bounce_sender"`
	RecursionLimit  int      `main:"virtual_alias_recursion_limit"`      // 0 = 1000
	ExpansionLimit  int      `main:"virtual_alias_expansion_limit"`      // 0 = 1000
	AddressLimit    int      `main:"virtual_alias_address_length_limit"` // octets; 0 = 1000
	NullSenderRelay string   `main:"empty_address_relayhost_maps_lookup_key"`
	NullSenderTrans string   `main:"empty_address_default_transport_maps_lookup_key"`
	FilterNexthop   string   `main:"default_filter_nexthop"` // of a content_filter without one; empty = the recipient's domain

	// Warn is told what the log wants to know of failing tables; nil = nobody.
	Warn func(format string, args ...any)
	// Tables says how tables are opened. With Missing, addresses that need a table
	// which cannot be read wait; without, New fails.
	Tables table.Options
	// Own returns the addresses of this machine for inet_interfaces = all;
	// nil = ask the kernel.
	Own func() []netip.Addr
	// Trace is told each step of each decision; nil in a daemon, where it costs
	// nothing.
	Trace func(Event)
}

// Defaults returns the values of postconf(5) that are not the zero value, for
// those who decode no main.cf.
func Defaults() Options {
	return Options{Interfaces: []string{"all"}, LocalMaps: []string{"proxy:unix:passwd.byname"},
		LocalTransport: "local", VirtualTransport: "virtual", RelayTransport: "relay", DefaultTransport: "smtp",
		AppendOrigin: true, SwapBangpath: true, PercentHack: true, ShowTable: true,
		Propagate: []string{"canonical", "virtual"}, RcptClasses: []string{"envelope_recipient"}, CanonClasses: []string{"envelope_recipient"}, ParentDomains: []string{"relay_domains", "smtpd_access_maps"}}
}

// Router answers questions about addresses. All methods may be called from
// many goroutines.
type Router struct {
	o            Options
	local        *table.List
	relay        *table.List
	aliasDomains *table.List
	boxDomains   *table.List

	virtual, boxes, locals, relays, canonical, transport, relocated, senderRelay, senderTransport table.Maps

	ownMu sync.Mutex
	own   map[netip.Addr]bool
	ownAt time.Time
}

// New opens every table that o names.
func New(o Options) (*Router, error) {
	o.defaults()
	r := &Router{o: o}
	topts := o.Tables
	topts.AliasFiles = AliasFiles(o.AliasMaps, o.AliasDatabase)
	for _, l := range []struct {
		to    **table.List
		items []string
		how   table.Matching
		name  string
	}{
		{&r.local, o.Destinations, table.Exact, "mydestination"},
		{&r.relay, o.RelayDomains, r.parents("relay_domains"), "relay_domains"},
		{&r.aliasDomains, o.AliasDomains, table.Exact, "virtual_alias_domains"},
		{&r.boxDomains, o.MailboxDomains, table.Exact, "virtual_mailbox_domains"},
	} {
		var err error
		if *l.to, err = table.OpenList(l.items, l.how, topts); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return r, r.openMaps(topts)
}

func (r *Router) openMaps(topts table.Options) error {
	o := &r.o
	plain := topts
	plain.NoRegSub = true // transport(5): what a stranger sent names no transport
	for _, m := range []struct {
		to    *table.Maps
		specs []string
		name  string
		topts table.Options
	}{
		{&r.virtual, o.VirtualAliasMaps, "virtual_alias_maps", topts},
		{&r.boxes, o.MailboxMaps, "virtual_mailbox_maps", topts},
		{&r.locals, o.LocalMaps, "local_recipient_maps", topts},
		{&r.relays, o.RelayMaps, "relay_recipient_maps", topts},
		{&r.canonical, slices.Concat(o.RcptCanonical, o.CanonicalMaps), "canonical_maps", topts},
		{&r.transport, o.TransportMaps, "transport_maps", plain},
		{&r.relocated, o.RelocatedMaps, "relocated_maps", topts},
		{&r.senderRelay, o.SenderRelayhost, "sender_dependent_relayhost_maps", plain},
		{&r.senderTransport, o.SenderTransport, "sender_dependent_default_transport_maps", plain},
	} {
		var err error
		if *m.to, err = table.OpenAll(m.specs, m.topts); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// AliasFiles returns the files behind alias_maps and alias_database: their text
// has the form of aliases(5).
func AliasFiles(lists ...[]string) []string {
	var files []string
	for _, list := range lists {
		for _, spec := range list {
			spec = strings.TrimPrefix(spec, "proxy:")
			if _, name, ok := strings.Cut(spec, ":"); ok && strings.HasPrefix(name, "/") {
				files = append(files, name)
			}
		}
	}
	return files
}

func (o *Options) defaults() {
	or := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	or(&o.Hostname, "localhost")
	or(&o.Origin, o.Hostname)
	or(&o.LocalTransport, "local")
	or(&o.VirtualTransport, "virtual")
	or(&o.RelayTransport, "relay")
	or(&o.DefaultTransport, "smtp")
	or(&o.ErrorTransport, "error")
	or(&o.DoubleBounce, "double-bounce")
	or(&o.NullSenderRelay, "<>")
	or(&o.NullSenderTrans, "<>")
	for _, n := range []*int{&o.RecursionLimit, &o.ExpansionLimit, &o.AddressLimit} {
		if *n <= 0 {
			*n = 1000
		}
	}
}

// parents says how the domains of a list match.
func (r *Router) parents(param string) table.Matching {
	if slices.Contains(r.o.ParentDomains, param) {
		return table.Parents
	}
	return table.Subdomains
}

func (r *Router) warn(format string, args ...any) {
	if r.o.Warn != nil {
		r.o.Warn(format, args...)
	}
}

// Canonical completes an address as trivial-rewrite(8) does for local clients:
// source routes are cut off, site!user and user%site become user@site,
// @$myorigin and .$mydomain are appended.
func (r *Router) Canonical(a mail.Address) mail.Address { return mail.Address(r.rewrite(string(a))) }

func (r *Router) rewrite(a string) string {
	if a == "" || a == "@" {
		return ""
	}
	// RFC 5321 section 4.1.1.3: source routes are ignored.
	if i := strings.IndexByte(a, ':'); a[0] == '@' && i > 0 && i < len(a)-1 {
		a = r.rewritten("", a, a[i+1:])
	}
	if !strings.Contains(a, "@") {
		a = r.addDomain(a)
	}
	i := strings.LastIndexByte(a, '@')
	if domain := a[i+1:]; r.o.AppendDot && i >= 0 && domain != "" && r.o.Domain != "" &&
		!strings.ContainsAny(domain, ".[") {
		a = r.rewritten("append_dot_mydomain", a, a+"."+r.o.Domain)
	}
	return cutDot(a)
}

// addDomain gives a domain to an address without one.
func (r *Router) addDomain(a string) string {
	if i := strings.IndexByte(a, '!'); i >= 0 && r.o.SwapBangpath {
		return r.rewritten("swap_bangpath", a, a[i+1:]+"@"+a[:i])
	}
	if i := strings.LastIndexByte(a, '%'); i >= 0 && r.o.PercentHack {
		return r.rewritten("allow_percent_hack", a, a[:i]+"@"+a[i+1:])
	}
	if r.o.AppendOrigin {
		return r.rewritten("append_at_myorigin", a, a+"@"+r.o.Origin)
	}
	return a
}

// cutDot takes one dot from the end, but neither of two dots nor one behind "@".
func cutDot(a string) string {
	if n := len(a); n > 1 && a[n-1] == '.' && a[n-2] != '.' && a[n-2] != '@' && strings.Contains(a, "@") {
		return a[:n-1]
	}
	return a
}

// ownTTL is how long the addresses of this machine are believed.
const ownTTL = 30 * time.Second

// ownAddr tells whether mail to the address literal is for this machine
// (inet_interfaces, proxy_interfaces).
func (r *Router) ownAddr(a netip.Addr) bool {
	r.ownMu.Lock()
	defer r.ownMu.Unlock()
	if r.own == nil || time.Since(r.ownAt) > ownTTL {
		r.own, r.ownAt = r.addrs(), time.Now()
	}
	return r.own[a.Unmap()]
}

func (r *Router) addrs() map[netip.Addr]bool {
	set := map[netip.Addr]bool{}
	for _, name := range slices.Concat(r.o.Interfaces, r.o.ProxyInterfaces) {
		for _, a := range r.interfaceAddrs(strings.Trim(name, "[]")) {
			set[a.Unmap()] = true
		}
	}
	return set
}

func (r *Router) interfaceAddrs(name string) []netip.Addr {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}
	}
	own := r.o.Own
	if own == nil {
		own = kernelAddrs
	}
	switch name {
	case "all":
		return own()
	case "loopback-only":
		return slices.DeleteFunc(own(), func(a netip.Addr) bool { return !a.IsLoopback() })
	}
	var out []netip.Addr
	addrs, err := net.LookupHost(name)
	if err != nil {
		r.warn("inet_interfaces: host %s not found: %v", name, err)
	}
	for _, s := range addrs {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func kernelAddrs() []netip.Addr {
	var out []netip.Addr
	addrs, _ := net.InterfaceAddrs() // none: then no literal is ours
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}
