package hosts

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"packetboat/internal/sys/dns"
)

func TestLiteral(t *testing.T) {
	for s, want := range map[string]bool{"[1.2.3.4]": true, "[IPv6:::1]": true, "[ipv6:2001:db8::1]": true, "[::1]": false, "[IPv6:1.2.3.4]": false,
		"1.2.3.4": false, "[1.2.3.4": false, "1.2.3.4]": false, "[]": false, "": false, "[1.2.3.4]x": false} {
		if _, ok := Literal(s); ok != want {
			t.Errorf("%q: %v", s, ok)
		}
	}
}

func TestListDomain(t *testing.T) {
	for s, want := range map[string]string{"a@b.test": "b.test", "b.test": "b.test", "a@[1.2.3.4]": "", "1.2.3.4": "", "x.4": "", "": "", "a@": "",
		"a@b@c.test": "c.test", "-x.test": "", "bücher.test": "xn--bcher-kva.test"} {
		if got := ListDomain(s); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
}

type fake map[string][]string

func (f fake) MX(_ context.Context, d string) (out []dns.MX, _ bool, err error) {
	for _, h := range f["MX "+d] {
		out = append(out, dns.MX{Host: h})
	}
	return out, false, f.err(d, len(out))
}

func (f fake) NS(_ context.Context, d string) ([]string, error) {
	return f["NS "+d], f.err(d, len(f["NS "+d]))
}

func (f fake) Addrs(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }

func (f fake) TXT(context.Context, string) ([]string, error) { return nil, nil }

func (f fake) err(d string, n int) error {
	switch {
	case d == "slow.test":
		return &dns.Error{Kind: dns.TryAgain}
	case n == 0:
		return &dns.Error{Kind: dns.NoData}
	}
	return nil
}

func TestOf(t *testing.T) {
	f := fake{"MX b.test": {"mx1", "mx2"}, "MX null.test": {""}, "NS b.test": {"ns1"}}
	d := Finder{Resolver: f, Servers: f}
	for _, tt := range []struct {
		rec    Record
		domain string
		want   []string
		asked  string
		fails  bool
	}{
		{MX, "b.test.", []string{"mx1", "mx2"}, "b.test", false},
		{MX, "none.test", []string{"none.test"}, "none.test", false},
		{MX, "null.test", nil, "null.test", false},
		{MX, "slow.test", nil, "slow.test", true},
		{A, "none.test", []string{"none.test"}, "none.test", false},
		{NS, "x.y.b.test", []string{"ns1"}, "b.test", false},
		{NS, "x.slow.test", nil, "slow.test", true},
		{NS, "none.example", nil, "", true},
	} {
		got, asked, err := d.Of(context.Background(), tt.rec, tt.domain)
		if !slices.Equal(got, tt.want) || asked != tt.asked || (err != nil) != tt.fails {
			t.Errorf("%v %s: %q %q %v", tt.rec, tt.domain, got, asked, err)
		}
	}
	if _, _, err := (Finder{}).Of(context.Background(), MX, "x"); err == nil {
		t.Error("nobody was asked, and answered")
	}
}
