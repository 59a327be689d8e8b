package dns

import (
	"context"
	"strings"

	mdns "github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// NS returns the name servers of a zone, without trailing dots.
func (r *Resolver) NS(ctx context.Context, zone string) ([]string, error) {
	rrs, _, err := r.ask(ctx, zone, mdns.TypeNS)
	var out []string
	for _, rr := range rrs {
		if n, ok := rr.(*mdns.NS); ok {
			out = append(out, strings.TrimSuffix(n.Ns, "."))
		}
	}
	return out, err
}

// ASCII returns a domain in the form that DNS knows (RFC 5890): its
// internationalised labels as A-labels. A domain that has no such form is
// returned as it is.
func ASCII(domain string) string {
	for i := range len(domain) {
		if domain[i] >= 0x80 {
			if a, err := idna.Lookup.ToASCII(domain); err == nil {
				return a
			}
			break
		}
	}
	return domain
}
