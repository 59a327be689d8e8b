// Package policy decides whether a client may connect, say HELO, send from an
// address, send to an address: the access lists smtpd_*_restrictions of
// postconf(5). receive/smtpd asks it at each verb. It logs refusals itself,
// because only it knows which were meant as a warning.
//
// A restriction is one entry of the table in entries.go; its work is one
// function. An unknown name is an error when the program starts, not a 451 when
// mail comes.
package policy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
)

// Options are the parameters of main.cf that policy reads. Lists are split as
// Postfix splits them; codes are SMTP reply codes; 0 means Postfix's default.
type Options struct {
	MyNetworks    []string `main:"mynetworks"`
	RelayDomains  []string `main:"relay_domains"`
	MyOrigin      string   `main:"myorigin"`
	Client        []string `main:"smtpd_client_restrictions"`
	Helo          []string `main:"smtpd_helo_restrictions"`
	Sender        []string `main:"smtpd_sender_restrictions"`
	Relay         []string `main:"smtpd_relay_restrictions"`
	Recipient     []string `main:"smtpd_recipient_restrictions"`
	Data          []string `main:"smtpd_data_restrictions"`
	EndOfData     []string `main:"smtpd_end_of_data_restrictions"`
	Etrn          []string `main:"smtpd_etrn_restrictions"`
	DelayReject   string   `main:"smtpd_delay_reject"` // yes or no; empty = yes
	RelayFirst    string   `main:"smtpd_relay_before_recipient_restrictions"`
	UnlistedRcpt  string   `main:"smtpd_reject_unlisted_recipient"` // empty = yes
	UnlistedFrom  bool     `main:"smtpd_reject_unlisted_sender"`
	ShowTable     string   `main:"show_user_unknown_table_name"` // empty = yes
	PercentHack   string   `main:"allow_percent_hack"`           // empty = yes
	SwapBang      string   `main:"swap_bangpath"`                // empty = yes
	Untrusted     bool     `main:"allow_untrusted_routing"`
	HeloRequired  bool     `main:"smtpd_helo_required"`
	Delimiter     string   `main:"recipient_delimiter"`
	ParentMatches []string `main:"parent_domain_matches_subdomains"`
	Tempfail      string   `main:"reject_tempfail_action"` // empty = defer_if_permit

	Codes
}

// Codes are the reply codes of postconf(5); 0 = the default named behind each.
type Codes struct {
	Reject         int `main:"reject_code"`                         // 554
	Defer          int `main:"defer_code"`                          // 450
	AccessReject   int `main:"access_map_reject_code"`              // 554
	AccessDefer    int `main:"access_map_defer_code"`               // 450
	RelayReject    int `main:"relay_domains_reject_code"`           // 554
	NonFQDN        int `main:"non_fqdn_reject_code"`                // 504
	InvalidHelo    int `main:"invalid_hostname_reject_code"`        // 501
	UnknownHelo    int `main:"unknown_hostname_reject_code"`        // 450
	UnknownClient  int `main:"unknown_client_reject_code"`          // 450
	UnknownAddress int `main:"unknown_address_reject_code"`         // 450
	Plaintext      int `main:"plaintext_reject_code"`               // 450
	MultiBounce    int `main:"multi_recipient_bounce_reject_code"`  // 550
	UnknownLocal   int `main:"unknown_local_recipient_reject_code"` // 550
	UnknownAlias   int `main:"unknown_virtual_alias_reject_code"`   // 550
	UnknownMailbox int `main:"unknown_virtual_mailbox_reject_code"` // 550
	UnknownRelay   int `main:"unknown_relay_recipient_reject_code"` // 550
	MapsRBL        int `main:"maps_rbl_reject_code"`                // 554
}

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
	// *mail.Status as error refuses the address with its code and text: that is
	// what the error and retry transports of transport(5) want.
	Exists(ctx context.Context, a mail.Address) (bool, error)
}

// Resolver asks name servers; *dns.Resolver is one.
type Resolver interface {
	MX(ctx context.Context, domain string) ([]dns.MX, bool, error)
	Addrs(ctx context.Context, host, network string) ([]netip.Addr, error)
	TXT(ctx context.Context, name string) ([]string, error)
}

// Table is a look-up table of check_*_access.
type Table interface {
	// Lookup returns the value of key; found is false where there is none.
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
}

// Deps are what policy needs of the rest of the house.
type Deps struct {
	Log      *maillog.Log
	Router   Router
	Resolver Resolver                         // nil: reject_unknown_* defer
	Open     func(spec string) (Table, error) // opens "hash:/etc/postfix/access"; nil: no tables
	Trace    func(Event)                      // is told each step of each decision; nil in a daemon, where it costs nothing
}

// Policy is one service's access lists, ready to be asked by many sessions.
type Policy struct {
	opts  Options
	deps  Deps
	local *Networks

	client, helo, sender, relay, rcpt, data, eod, etrn list
}

// New reads the access lists. An unknown restriction, a missing argument, a
// table that cannot be opened or a bad network is an error that names it. A
// service that nothing keeps from relaying for everybody does not start either,
// as Postfix refuses it.
func New(o Options, d Deps) (*Policy, error) {
	local, err := ParseNetworks(o.MyNetworks)
	if err != nil {
		return nil, fmt.Errorf("mynetworks: %w", err)
	}
	o.Codes = o.Codes.withDefaults()
	p := &Policy{opts: o, deps: d, local: local}
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
		if *l.into, err = p.compile(l.words, l.stage); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		for i := range *l.into {
			(*l.into)[i].in = l.name
		}
	}
	return p, p.closed()
}

// closed refuses a configuration without any restriction that stops strangers
// from relaying: "reject_unauth_destination" or its like must stand in
// smtpd_relay_restrictions or smtpd_recipient_restrictions.
func (p *Policy) closed() error {
	for _, l := range []list{p.relay, p.rcpt} {
		for _, st := range l {
			switch st.name {
			case "reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit":
				return nil
			}
		}
	}
	return fmt.Errorf("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains")
}

// Trusted tells whether an address is in mynetworks.
func (p *Policy) Trusted(a netip.Addr) bool { return p.local.Contains(a) }

// yes reads a parameter whose default is yes.
func yes(v string) bool { return !strings.EqualFold(v, "no") }

func (c Codes) withDefaults() Codes {
	for _, f := range []struct {
		code *int
		def  int
	}{
		{&c.Reject, 554}, {&c.Defer, 450}, {&c.AccessReject, 554}, {&c.AccessDefer, 450},
		{&c.RelayReject, 554}, {&c.NonFQDN, 504}, {&c.InvalidHelo, 501}, {&c.UnknownHelo, 450},
		{&c.UnknownClient, 450}, {&c.UnknownAddress, 450}, {&c.Plaintext, 450}, {&c.MultiBounce, 550},
		{&c.UnknownLocal, 550}, {&c.UnknownAlias, 550}, {&c.UnknownMailbox, 550}, {&c.UnknownRelay, 550},
		{&c.MapsRBL, 554},
	} {
		if *f.code == 0 {
			*f.code = f.def
		}
	}
	return c
}
