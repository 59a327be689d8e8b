package intake

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
)

// clients are those whose headers are completed and rewritten as a local user's
// (local_header_rewrite_clients of postconf(5)).
type clients struct {
	rules      []clientRule
	interfaces map[netip.Addr]bool     // of this machine
	networks   func(a netip.Addr) bool // mynetworks
}

// clientRule is a word, or a table of addresses.
type clientRule struct {
	word  string
	table table.Table
}

// open reads the list. "check_address_map" stands in front of a table, and may be
// left out.
func (c *clients) open(o *Options) error {
	words := o.RewriteClients
	if words == nil {
		words = []string{"permit_inet_interfaces"}
	}
	c.interfaces, c.networks = localAddresses(), o.Networks
	for _, w := range words {
		r := clientRule{word: strings.ToLower(w)}
		switch {
		case r.word == "check_address_map":
			continue
		case strings.Contains(w, ":"):
			t, err := table.Open(w, o.Tables)
			if err != nil {
				return err
			}
			r = clientRule{w, t}
		case !strings.HasPrefix(r.word, "permit_"):
			return fmt.Errorf("%q is no list of clients", w)
		}
		c.rules = append(c.rules, r)
	}
	return nil
}

// localAddresses returns the addresses of this machine, for permit_inet_interfaces.
func localAddresses() map[netip.Addr]bool {
	set := map[netip.Addr]bool{}
	addrs, _ := net.InterfaceAddrs() // none: then nobody is local
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			set[p.Addr().Unmap()] = true
		}
	}
	return set
}

// hold tells whether p is one of the clients. An error is one of a table.
func (c *clients) hold(p mail.Peer) (bool, error) {
	addr := p.Addr.Unmap()
	for _, r := range c.rules {
		ok := false
		switch {
		case r.table != nil:
			_, found, err := r.table.Lookup(context.Background(), addr.String())
			if err != nil {
				return false, fmt.Errorf("%s: %w", r.word, err)
			}
			ok = found
		case r.word == "permit_inet_interfaces":
			ok = c.interfaces[addr]
		case r.word == "permit_mynetworks":
			ok = c.networks != nil && c.networks(addr)
		case r.word == "permit_sasl_authenticated":
			ok = p.SASL != ""
		case r.word == "permit_tls_clientcerts":
			ok = p.CertListed
		case r.word == "permit_tls_all_clientcerts":
			ok = p.CertListed || p.CertVerified
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

// local tells whether the headers of what p sends are completed and rewritten
// as a local user's. Mail that came over no network always is. Without an answer
// of a table the message must wait: its headers could not be put right later.
func (in *Intake) local(p mail.Peer) (bool, error) {
	if !p.Addr.IsValid() {
		return true, nil
	}
	return in.users.hold(p)
}
