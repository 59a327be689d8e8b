package mechs

import (
	"strings"
	"testing"

	"packetboat/internal/auth/wire"
)

// TestAllowed holds each word of smtpd_sasl_security_options against a mechanism that
// it leaves out and one that it lets pass.
func TestAllowed(t *testing.T) {
	for rules, c := range map[string]struct{ out, in wire.Prop }{
		"":                        {wire.Anonymous, wire.Plaintext},
		"noanonymous":             {wire.Anonymous, wire.Plaintext},
		"noplaintext":             {wire.Plaintext, wire.Anonymous},
		"nodictionary":            {wire.Dictionary, wire.Plaintext},
		"noactive":                {wire.Active, wire.Dictionary},
		"forward_secrecy":         {0, wire.ForwardSecrecy},
		"mutual_auth":             {wire.ForwardSecrecy, wire.MutualAuth},
		"noanonymous noplaintext": {wire.Plaintext | wire.Dictionary, wire.Dictionary},
	} {
		list := strings.Fields(rules)
		if Allowed(c.out, list) || !Allowed(c.in, list) {
			t.Errorf("%q: %x is %v, %x is %v", rules, c.out, Allowed(c.out, list), c.in, Allowed(c.in, list))
		}
	}
}

// TestPasses is smtpd_sasl_mechanism_filter.
func TestPasses(t *testing.T) {
	for _, c := range []struct {
		mech, filter string
		want         bool
	}{{"PLAIN", "", true}, {"EXTERNAL", "", false}, {"EXTERNAL", "static:all", true}, {"EXTERNAL", "!external static:rest", false},
		{"PLAIN", "!external static:rest", true}, {"PLAIN", "login", false}, {"LOGIN", "plain login", true}} {
		if got := Passes(c.mech, strings.Fields(c.filter)); got != c.want {
			t.Errorf("%s through %q: %v", c.mech, c.filter, got)
		}
	}
}
