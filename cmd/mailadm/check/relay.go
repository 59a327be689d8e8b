package check

import (
	"context"
	"net/netip"
	"strings"

	"packetboat/cmd/mailadm/explain"
	"packetboat/cmd/mailadm/where"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
)

// domains finds names that stand in two lists of domains, of which only one can
// count: trivial-rewrite(8) warns of them at every message.
func (c *checker) domains() {
	for _, pair := range [][2]string{{"mydestination", "virtual_alias_domains"}, {"mydestination", "virtual_mailbox_domains"},
		{"virtual_alias_domains", "virtual_mailbox_domains"},
		{"virtual_alias_domains", "relay_domains"}, {"virtual_mailbox_domains", "relay_domains"}} {
		if where.Of(c.main, pair[0]).File == "" || where.Of(c.main, pair[1]).File == "" {
			continue // the default of one is made of the other
		}
		other, err := table.OpenList(c.items(pair[1]), table.Exact, c.kit.Tables(c.main))
		if err != nil {
			continue // told by tables, or by the router
		}
		list := where.Words(c.main, pair[0])
		for i, name := range list.Words {
			if strings.ContainsAny(name, "!/:") {
				continue
			}
			if in, err := other.Match(context.Background(), name); err == nil && in {
				c.place(list.At(i), config.SeverityWarning, "take it out of one: "+pair[0]+" counts as long as it stands in both",
					"do not list domain %s in BOTH %s and %s", name, pair[0], pair[1])
			}
		}
	}
}

// items splits a list of patterns, with what stands in files.
func (c *checker) items(name string) []string {
	if list, err := config.Patterns(c.main.Get(name)); err == nil {
		return list
	}
	return nil
}

// The largest networks that somebody may own: a network that is wider is a slip
// of the hand, as in 0.0.0.0/0 for "this network".
const (
	widestV4 = 8
	widestV6 = 16
)

// relaying looks for what makes an open relay: networks that trust everybody,
// and access lists that let a stranger send to strangers.
func (c *checker) relaying() {
	for _, m := range c.mains() {
		c.networks(m)
		if s := m.Get("mynetworks_style"); s == "class" && where.Of(m, "mynetworks").File == "" {
			c.at(m, "mynetworks_style", config.SeverityWarning, "write mynetworks_style = host", "mynetworks_style = class trusts the provider's whole network")
		}
	}
	if c.kit.Router == nil {
		return
	}
	c.smtpds(func(svc *config.Service, m *config.Main) {
		c.stranger(svc, m)
		c.early(m)
	})
}

// networks looks at mynetworks.
func (c *checker) networks(m *config.Main) {
	list := where.Words(m, "mynetworks")
	for i, w := range list.Words {
		p, err := netip.ParsePrefix(strings.NewReplacer("[", "", "]", "").Replace(w))
		if err != nil || p.Addr().IsLoopback() {
			continue
		}
		at := list.At(i)
		switch {
		case p.Bits() == 0:
			c.place(at, config.SeverityError, "write the networks of your own machines: mynetworks = 127.0.0.0/8 [::1]/128",
				"%s trusts the whole internet: this is an open relay", w)
		case p.Addr().Is4() && p.Bits() < widestV4 || p.Addr().Is6() && p.Bits() < widestV6:
			c.place(at, config.SeverityWarning, "write the networks of your own machines", "%s trusts more machines than anybody owns", w)
		}
	}
}

// stranger tries to relay: what the service itself answers is what counts.
func (c *checker) stranger(svc *config.Service, m *config.Main) {
	q := explain.Question{Dir: c.o.Dir, Service: svc.Name, Client: netip.MustParseAddr("192.0.2.1"), Helo: "stranger.example", Name: "stranger.example",
		Sender: "stranger@stranger.example", Address: "somebody@elsewhere.example", TLS: m.Get("smtpd_tls_security_level") == "encrypt"}
	r, err := explain.Explain(q)
	if err != nil {
		c.refused(svc, err)
		return
	}
	if !r.Accepted {
		return
	}
	at := where.Place{Parameter: svc.ID(), File: svc.File, Line: svc.Line}
	hint := "write smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination"
	for _, x := range r.Dialogue {
		for _, a := range x.Asked {
			if a.Result == "permit" && a.Place.File != "" && strings.HasPrefix(x.Command, "RCPT") {
				at, hint = a.Place, "let "+a.Name+" stand behind reject_unauth_destination, and "+hint
				break
			}
		}
	}
	c.place(at, config.SeverityError, hint, "service %s takes mail from strangers for strangers: this is an open relay", svc.Name)
}

// refused tells why a service cannot work, unless config.Check has.
func (c *checker) refused(svc *config.Service, err error) {
	if c.stopped() {
		return
	}
	name := "service " + svc.Name + ": "
	c.place(where.Place{Parameter: svc.ID(), File: svc.File, Line: svc.Line}, config.SeverityError,
		"the service turns every client away until this is corrected", "%s%s", name, strings.TrimPrefix(err.Error(), name))
}

// stopped tells whether an error is known already that a service could not work
// with.
func (c *checker) stopped() bool {
	for _, p := range c.list {
		if p.Severity == config.SeverityError {
			return true
		}
	}
	return false
}

// early warns of tables that are asked about a sender or client before
// reject_unauth_destination, where nothing else keeps strangers from relaying: an
// OK in one of them lets everybody in who claims to be that sender.
func (c *checker) early(m *config.Main) {
	if strings.TrimSpace(m.Get("smtpd_relay_restrictions")) != "" {
		return
	}
	list := where.Words(m, "smtpd_recipient_restrictions")
	for i, w := range list.Words {
		switch strings.ToLower(w) {
		case "reject_unauth_destination", "defer_unauth_destination", "reject", "defer":
			return
		case "permit":
			c.place(list.At(i), config.SeverityError, "put reject_unauth_destination before it",
				"permit stands before reject_unauth_destination: this is an open relay")
			return
		case "check_sender_access", "check_helo_access", "check_recipient_access", "check_reverse_client_hostname_access":
			c.place(list.At(i), config.SeverityWarning, "put reject_unauth_destination before it, or write smtpd_relay_restrictions",
				"%s stands before reject_unauth_destination: with an OK in its table everybody can relay who says so", w)
		}
	}
}
