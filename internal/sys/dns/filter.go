package dns

import (
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// Filtered returns a Resolver that asks as r does and leaves out the records for
// which drop returns true (smtp_dns_reply_filter). drop gets a record as Postfix
// writes it: "name. ttl class type preference value", as in
// "example.com. 300 IN MX 10 mail.example.com.".
func (r *Resolver) Filtered(drop func(record string) bool) *Resolver {
	f := *r
	f.drop = drop
	return &f
}

// filter asks drop about each record.
func (r *Resolver) filter(rrs []mdns.RR) []mdns.RR {
	if r.drop == nil {
		return rrs
	}
	return slices.DeleteFunc(rrs, func(rr mdns.RR) bool {
		return r.drop(strings.ReplaceAll(rr.String(), "\t", " "))
	})
}
