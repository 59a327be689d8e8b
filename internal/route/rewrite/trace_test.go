package rewrite

import (
	"fmt"
	"slices"
	"testing"
)

// TestTrace holds that Options.Trace is told what made an address what it is, and
// what gave its transport.
func TestTrace(t *testing.T) {
	o := Defaults()
	o.Hostname, o.Origin, o.Domain = "mx.example.org", "example.org", "example.org"
	o.Destinations, o.RelayDomains = []string{"example.org"}, []string{"example.net"}
	o.TransportMaps = []string{"inline:{ { example.net = lmtp:[::1]:24 } }"}
	o.Relayhost = "[smart.example]"
	o.LocalMaps = nil
	var got []string
	o.Trace = func(e Event) {
		got = append(got, fmt.Sprintf("%d %s %s %s %s %s %v", e.What, e.Param, e.From, e.Key, e.Value, e.Class, e.To))
	}
	o.VirtualAliasMaps = []string{"inline:{ { sales@example.org = ann, bob@example.net } }"}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		got = nil
	}
	if _, err := r.Expand("sales"); err != nil {
		t.Fatal(err)
	}
	check("0 append_at_myorigin sales   default [sales@example.org]",
		"1 virtual_alias_maps sales@example.org sales@example.org ann, bob@example.net default []",
		"0 append_at_myorigin ann   default [ann@example.org]",
		"3 virtual_alias_maps sales@example.org   default [ann@example.org bob@example.net]",
		"2 virtual_alias_maps ann@example.org   default []",
		"2 virtual_alias_maps bob@example.net   default []")
	if _, err := r.Resolve("bob@example.net"); err != nil {
		t.Fatal(err)
	}
	check("4 relay_domains bob@example.net   relay []",
		"5 relayhost   [smart.example] default []",
		"5 relay_transport bob@example.net  relay:[smart.example] default []",
		"1 transport_maps bob@example.net example.net lmtp:[::1]:24 default []",
		"5 transport_maps bob@example.net  lmtp:[::1]:24 default []")
}
