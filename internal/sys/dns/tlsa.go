package dns

import (
	"context"
	"encoding/hex"
	"strconv"

	mdns "github.com/miekg/dns"
)

// TLSA is a TLSA record (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      string // bytes
}

// TLSA returns what a host publishes for a TCP port, and whether the answer was
// authenticated (AD bit): otherwise it means nothing.
func (r *Resolver) TLSA(ctx context.Context, host string, port int) (list []TLSA, secure bool, err error) {
	rrs, secure, err := r.ask(ctx, "_"+strconv.Itoa(port)+"._tcp."+host, mdns.TypeTLSA)
	for _, rr := range rrs {
		t, ok := rr.(*mdns.TLSA)
		if !ok {
			continue
		}
		if data, err := hex.DecodeString(t.Certificate); err == nil {
			list = append(list, TLSA{t.Usage, t.Selector, t.MatchingType, string(data)})
		}
	}
	return list, secure, err
}

// SecureAddrs tells whether the addresses of a host come from a zone that DNSSEC
// protects: one of A and AAAA was answered with the AD bit, and none without.
func (r *Resolver) SecureAddrs(ctx context.Context, host string) (bool, error) {
	found := false
	for _, t := range types("ip") {
		rrs, secure, err := r.ask(ctx, host, t)
		switch {
		case err != nil && KindOf(err) == TryAgain:
			return false, err
		case len(rrs) > 0 && !secure:
			return false, nil
		}
		found = found || len(rrs) > 0
	}
	return found, nil
}
