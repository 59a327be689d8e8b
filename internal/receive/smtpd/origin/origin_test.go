package origin

import (
	"testing"

	"packetboat/internal/mail"
)

func TestSet(t *testing.T) {
	for _, c := range []struct {
		name, value string
		known, ok   bool
		client      string
	}{
		{"NAME", "mx.ok.test", true, true, "mx.ok.test[unknown]:unknown"},
		{"NAME", "[UNAVAILABLE]", true, true, "unknown[unknown]:unknown"},
		{"NAME", "a b", true, false, ""},
		{"ADDR", "IPV6:2001:db8::1", true, true, "unknown[2001:db8::1]:unknown"},
		{"ADDR", "mx.ok.test", true, false, ""},
		{"PORT", "77777", true, false, ""},
		{"PORT", "25", true, true, ""},
		{"SOURCE", "local", true, true, ""},
		{"SOURCE", "here", true, false, ""},
		{"IDENT", "4ABC", true, true, ""},
		{"COLOUR", "red", false, false, ""},
	} {
		var o mail.Origin
		known, ok := Set(&o, c.name, c.value)
		if known != c.known || ok != c.ok {
			t.Errorf("%s=%s: known %v, ok %v", c.name, c.value, known, ok)
		}
		if got := Client(&o, true); c.client != "" && got != c.client {
			t.Errorf("%s=%s: %s", c.name, c.value, got)
		}
	}
	if got := Client(&mail.Origin{Name: "a", Addr: "192.0.2.1", Port: "7"}, false); got != "a[192.0.2.1]" {
		t.Error(got)
	}
	if got := Client(&mail.Origin{Helo: "x"}, true); got != "" {
		t.Errorf("a client that nothing is known of is %q", got)
	}
}
