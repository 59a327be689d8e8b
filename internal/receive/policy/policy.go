// Package policy decides whether a client may connect, say HELO, send from an
// address, send to an address: the access lists smtpd_*_restrictions of
// postconf(5). receive/smtpd asks it at each verb. It logs refusals itself,
// because only it knows which were meant as a warning.
//
// A restriction is one entry of the table in entries.go; its work is one
// function. An unknown name is an error when the program starts, not a 451 when
// mail comes. What access tables and policy servers want to be done with a
// message that is let in is collected in Session.Actions.
package policy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/dnslist"
	"packetboat/internal/receive/policy/greylist"
	"packetboat/internal/receive/policy/hosts"
	"packetboat/internal/receive/policy/template"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/maillog"
)

// Class is the kind of domain that an address belongs to (ADDRESS_CLASS_README).
type Class uint8

// The values of Class.
const (
	Remote         Class = iota // anywhere else
	Local                       // mydestination, inet_interfaces, proxy_interfaces
	VirtualAlias                // virtual_alias_domains
	VirtualMailbox              // virtual_mailbox_domains
	Relay                       // relay_domains
)

// Router says where addresses lead; route/rewrite stands behind it. An address
// without a domain belongs to myorigin. Errors are temporary.
type Router interface {
	// Class returns the class of a's domain.
	Class(ctx context.Context, a mail.Address) (Class, error)
	// Exists tells whether the tables of a's class list it: an account or alias,
	// a virtual alias or mailbox, a relay recipient. Where a class has no table
	// of its addresses (local_recipient_maps empty, all of Remote), all exist. A
	// *mail.Status as error refuses the address with its codes and text: that is
	// what the error and retry transports of transport(5) want, and an account
	// that is disabled (550 5.2.1) or over its quota (452 4.2.2, 552 5.2.2).
	Exists(ctx context.Context, a mail.Address) (bool, error)
}

// Resolver asks name servers; *dns.Resolver is one.
type Resolver = hosts.Resolver

// NameServers finds the name servers of a zone, for check_*_ns_access.
type NameServers = hosts.NameServers

// Table is a look-up table (package table).
type Table = table.Table

// Verifier knows whether mail to an address can be delivered, from a probe
// message that it sends if need be (verify(8)). A nil status means that a probe
// is under way; otherwise its Outcome and Text count. An error means that nothing
// can be known.
type Verifier interface {
	Query(ctx context.Context, a mail.Address) (*mail.Status, error)
}

// Greylist refuses strangers for a while; *greylist.List is one.
type Greylist interface {
	Ask(now time.Time, client netip.Addr, sender, rcpt mail.Address) greylist.Verdict
	Text(v greylist.Verdict, rcpt mail.Address) string
}

// Deps are what policy needs of the rest of the house.
type Deps struct {
	Log      *maillog.Log
	Router   Router
	Resolver Resolver                         // nil: reject_unknown_* defer
	Servers  NameServers                      // nil: check_*_ns_access finds nothing
	Open     func(spec string) (Table, error) // opens "hash:/etc/postfix/access"; nil: no tables
	Tables   table.Options                    // how lists of patterns open theirs
	Verify   Verifier                         // nil: reject_unverified_* defer
	Grey     Greylist                         // nil: nobody is greylisted
	Trace    func(Event)                      // is told each step of each decision; nil in a daemon, where it costs nothing
}

// Policy is one service's access lists, ready to be asked by many sessions.
type Policy struct {
	opts Options
	deps Deps

	local, backup, spared            *Networks
	own                              func() []netip.Addr
	permitLog                        *table.List
	senders, certs, replies, footers table.Maps
	lists                            *dnslist.Lists
	filter                           string // smtpd_expansion_filter, unescaped
	table                            map[string]entry
	classes                          map[string]*class
	results                          sync.Map // of tables: text -> list

	client, helo, sender, relay, rcpt, data, eod, etrn list
}

// New reads the access lists. An unknown restriction, a missing argument, a
// table that cannot be opened or a bad network is an error that names it. A
// service that nothing keeps from relaying for everybody does not start either,
// as Postfix refuses it.
func New(o Options, d Deps) (*Policy, error) {
	p := &Policy{opts: o.withDefaults(), deps: d, table: entries(), classes: map[string]*class{}}
	p.own = kernelAddrs
	if d.Resolver != nil {
		p.lists = dnslist.New(d.Resolver, d.Log.Warn)
	}
	if err := p.openLists(); err != nil {
		return nil, err
	}
	if err := p.checkActions(); err != nil {
		return nil, err
	}
	if err := p.readClasses(); err != nil {
		return nil, err
	}
	for _, l := range []struct {
		into  *list
		name  string
		words []string
		stage stage
	}{
		{&p.client, "smtpd_client_restrictions", o.Client, atClient},
		{&p.helo, "smtpd_helo_restrictions", o.Helo, atHelo},
		{&p.sender, "smtpd_sender_restrictions", o.Sender, atSender},
		{&p.relay, "smtpd_relay_restrictions", o.Relay, atRcpt},
		{&p.rcpt, "smtpd_recipient_restrictions", o.Recipient, atRcpt},
		{&p.data, "smtpd_data_restrictions", o.Data, atData},
		{&p.eod, "smtpd_end_of_data_restrictions", o.EndOfData, atEOD},
		{&p.etrn, "smtpd_etrn_restrictions", o.Etrn, atEtrn},
	} {
		var err error
		if *l.into, err = p.compile(l.name, l.words, l.stage, 0); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return p, p.closed()
}

// readClasses reads smtpd_restriction_classes.
func (p *Policy) readClasses() error {
	for _, name := range p.opts.ClassNames {
		p.classes[name] = &class{name: name}
	}
	for _, name := range p.opts.ClassNames {
		if _, err := p.declare(name); err != nil {
			return err
		}
	}
	return nil
}

// openLists opens what is not part of an access list.
func (p *Policy) openLists() (err error) {
	o := &p.opts
	for _, n := range []struct {
		into  **Networks
		name  string
		words []string
	}{{&p.local, "mynetworks", o.MyNetworks}, {&p.backup, "permit_mx_backup_networks", o.BackupNetworks},
		{&p.spared, "smtpd_greylist_exceptions", o.GreyExempt}} {
		if *n.into, err = ParseNetworks(n.words, p.openWith()...); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	for _, m := range []struct {
		into  *table.Maps
		name  string
		specs []string
	}{{&p.senders, "smtpd_sender_login_maps", o.SenderLogins}, {&p.certs, "relay_clientcerts", o.RelayCerts},
		{&p.replies, "rbl_reply_maps", o.RBLReplies}, {&p.footers, "smtpd_reject_footer_maps", o.FooterMaps}} {
		for _, spec := range m.specs {
			t, err := p.open(spec)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			*m.into = append(*m.into, t)
		}
	}
	if p.permitLog, err = table.OpenList(o.PermitLog, table.Exact, p.deps.Tables); err != nil {
		return fmt.Errorf("smtpd_log_access_permit_actions: %w", err)
	}
	p.filter = template.Unescape(o.ExpandFilter)
	return nil
}

// openWith is what Networks open their tables with.
func (p *Policy) openWith() []func(string) (Table, error) {
	if p.deps.Open == nil {
		return nil
	}
	return []func(string) (Table, error){p.deps.Open}
}

func (p *Policy) open(spec string) (Table, error) {
	if p.deps.Open == nil {
		return nil, fmt.Errorf("no tables can be opened here, not %q", spec)
	}
	return p.deps.Open(spec)
}

// checkActions refuses words that *_tempfail_action does not know.
func (p *Policy) checkActions() error {
	for _, a := range []struct{ name, value string }{
		{"unknown_helo_hostname_tempfail_action", p.opts.HeloTempfail},
		{"unknown_address_tempfail_action", p.opts.AddressTempfail},
		{"unverified_recipient_tempfail_action", p.opts.RcptTempfail},
		{"unverified_sender_tempfail_action", p.opts.SenderTempfail},
	} {
		if a.value != "defer" && a.value != "defer_if_permit" {
			return fmt.Errorf("bad configuration: %s = %s", a.name, a.value)
		}
	}
	return nil
}

// closed refuses a configuration without any restriction that stops strangers
// from relaying: "reject_unauth_destination" or its like must stand in
// smtpd_relay_restrictions or smtpd_recipient_restrictions.
func (p *Policy) closed() error {
	if closes(p.relay) || closes(p.rcpt) {
		return nil
	}
	return fmt.Errorf("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains")
}

// closes looks for such a restriction: what only warns does not count, nor what
// stands behind "permit".
func closes(l list) bool {
	for _, st := range l {
		if st.name == "permit" {
			return false
		}
		if st.warn {
			continue
		}
		switch st.name {
		case "reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit", "check_relay_domains":
			return true
		}
		if st.class != nil && closes(st.class.at(atRcpt)) {
			return true
		}
	}
	return false
}

// Trusted tells whether an address is in mynetworks; a table that does not
// answer trusts nobody.
func (p *Policy) Trusted(a netip.Addr) bool {
	ok, err := p.local.Match(context.Background(), "", a)
	return ok && err == nil
}

// checksRecipients tells whether unknown recipients are looked for
// (receive_override_options).
func (p *Policy) checksRecipients() bool {
	return !slices.ContainsFunc(p.opts.Overrides, func(w string) bool { return strings.EqualFold(w, "no_unknown_recipient_checks") })
}

// yes reads a parameter whose default is yes.
func yes(v string) bool { return !strings.EqualFold(v, "no") }
