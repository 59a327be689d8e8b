package dns

import (
	"context"
	"strings"

	mdns "github.com/miekg/dns"
)

// Canonical returns the name that a name is an alias of in the end, or the name itself.
// A chain that does not end, and a server that does not answer, leave it as it is
// (smtp_cname_overrides_servername).
func (r *Resolver) Canonical(ctx context.Context, name string) string {
	at := name
	for range maxAliases {
		rrs, _, err := r.ask(ctx, at, mdns.TypeCNAME)
		if err != nil || len(rrs) == 0 {
			if k := KindOf(err); k == NoData || k == NoHost {
				return at
			}
			return name
		}
		c, ok := rrs[0].(*mdns.CNAME)
		if !ok {
			return at
		}
		at = strings.ToLower(strings.TrimSuffix(c.Target, "."))
	}
	return name
}
