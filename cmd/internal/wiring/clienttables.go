package wiring

import (
	"context"
	"strings"

	"packetboat/internal/route/checks"
	"packetboat/internal/route/table"
	"packetboat/internal/send/remote"
	"packetboat/internal/sys/config"
)

// outgoing are the tables of smtp(8) that change mail, replies and answers.
type outgoing struct {
	Generic     []string `main:"smtp_generic_maps"`
	Header      []string `main:"smtp_header_checks"`
	MIME        []string `main:"smtp_mime_header_checks"`
	Nested      []string `main:"smtp_nested_header_checks"`
	Body        []string `main:"smtp_body_checks"`
	Replies     []string `main:"smtp_reply_filter"`
	DNS         []string `main:"smtp_dns_reply_filter"`
	Statuses    []string `main:"smtp_delivery_status_filter"`
	DiscardMaps []string `main:"smtp_discard_ehlo_keyword_address_maps"`
	PerSite     []string `main:"smtp_tls_per_site"`
	OnDemand    bool     `main:"smtp_connection_cache_on_demand"`
	CacheDests  []string `main:"smtp_connection_cache_destinations"`
}

// outgoingTwins gives the parameters of lmtp(8) the names of smtp(8), as remote
// does for the others.
func outgoingTwins(m *config.Main) *config.Main {
	var lmtpNames = [...]string{"generic_maps", "header_checks", "mime_header_checks", "nested_header_checks", "body_checks",
		"reply_filter", "dns_reply_filter", "delivery_status_filter", "discard_lhlo_keyword_address_maps", "discard_lhlo_keywords",
		"bind_address_enforce", "balance_inet_protocols", "tcp_port", "send_xforward_command", "lhlo_name", "quote_rfc821_envelope", "dns_support_level",
		"tls_force_insecure_host_tlsa_lookup"}
	var over []config.Setting
	for _, n := range lmtpNames {
		twin := strings.Replace(n, "lhlo_keyword", "ehlo_keyword", 1)
		over = append(over, config.Setting{Name: "smtp_" + strings.Replace(twin, "lhlo", "helo", 1), Value: m.Get("lmtp_" + n)})
	}
	return m.With(over...)
}

// tables opens the tables of one client service; o has the parameters that need
// none.
func (k *Kit) tables(m *config.Main, o *remote.Options) (err error) {
	var p outgoing
	if o.LMTP {
		m = outgoingTwins(m)
		if err := m.Decode(o); err != nil {
			return err
		}
	}
	if err := m.Decode(&p); err != nil {
		return err
	}
	opts := k.Tables(m)
	o.Cache.NotOnDemand = !p.OnDemand
	if len(p.CacheDests) > 0 {
		list, err := table.OpenList(p.CacheDests, table.Exact, opts)
		if err != nil {
			return configError(m, "smtp_connection_cache_destinations", err.Error(), "name next hops and hosts")
		}
		o.Cache.Always = func(name string) (bool, error) { return list.Match(context.Background(), name) }
	}
	o.Resolver = k.Names
	if o.Convert.Generic, err = k.Router.Generic("smtp_generic_maps", p.Generic, opts); err != nil {
		return configError(m, "smtp_generic_maps", err.Error(), "correct the table")
	}
	for _, c := range []struct {
		name  string
		specs []string
		to    **checks.Maps
	}{{"smtp_header_checks", p.Header, &o.Convert.Header}, {"smtp_mime_header_checks", p.MIME, &o.Convert.MIME},
		{"smtp_nested_header_checks", p.Nested, &o.Convert.Nested}, {"smtp_body_checks", p.Body, &o.Convert.Body}} {
		if *c.to, err = checks.Open(c.name, c.specs, opts); err != nil {
			return configError(m, c.name, err.Error(), "correct the table")
		}
	}
	for _, t := range []struct {
		name  string
		specs []string
		to    *remote.Table
	}{{"smtp_reply_filter", p.Replies, &o.Replies}, {"smtp_delivery_status_filter", p.Statuses, &o.Statuses},
		{"smtp_discard_ehlo_keyword_address_maps", p.DiscardMaps, &o.DiscardMaps}, {"smtp_tls_per_site", p.PerSite, &o.PerSite}} {
		maps, err := table.OpenAll(t.specs, opts)
		if err != nil {
			return configError(m, t.name, err.Error(), "correct the table")
		}
		if len(maps) > 0 {
			*t.to = maps
		}
	}
	return k.dnsFilter(m, p.DNS, opts, o)
}

// dnsFilter is smtp_dns_reply_filter, whose only action is IGNORE.
func (k *Kit) dnsFilter(m *config.Main, specs []string, opts table.Options, o *remote.Options) error {
	maps, err := table.OpenAll(specs, opts)
	if err != nil {
		return configError(m, "smtp_dns_reply_filter", err.Error(), "correct the table")
	}
	if len(maps) == 0 {
		return nil
	}
	o.Resolver = k.Names.Filtered(func(record string) bool {
		v, found, err := maps.Lookup(context.Background(), record)
		switch {
		case err != nil:
			k.clientLog().Warn("smtp_dns_reply_filter: lookup error for %q", record)
		case found && !strings.EqualFold(strings.TrimSpace(v), "IGNORE"):
			k.clientLog().Warn("smtp_dns_reply_filter: unknown DNS filter action: %q", v)
		}
		return err == nil && found && strings.EqualFold(strings.TrimSpace(v), "IGNORE")
	})
	return nil
}
