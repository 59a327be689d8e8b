package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"packetboat/internal/mail"
)

// What DANE makes of a host, by what its domain publishes (RFC 7672 section 2.2).
func TestDANE(t *testing.T) {
	cert := (*authority)(nil).leaf(t, nil, "elsewhere.test")
	sum := sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo)
	right, wrong := hex.EncodeToString(sum[:]), strings.Repeat("00", 32)
	for name, c := range map[string]struct {
		level, support  string
		mx, a, tlsa     string // "+" protected by DNSSEC; tlsa without a name
		clear           bool   // the host has no STARTTLS
		outcome         mail.Outcome
		text            string
		encrypted, lazy bool
	}{
		"right key":            {level: "dane", mx: "+", a: "+", tlsa: "+3 1 1 " + right, encrypted: true, text: "taken"},
		"wrong key":            {level: "dane", mx: "+", a: "+", tlsa: "+3 1 1 " + wrong, outcome: mail.Deferred, text: "Server certificate not verified"},
		"either key":           {level: "dane-only", mx: "+", a: "+", tlsa: "+3 1 1 " + wrong + "|+3 1 1 " + right, encrypted: true, text: "taken"},
		"stripped STARTTLS":    {level: "dane", mx: "+", a: "+", tlsa: "+3 1 1 " + right, clear: true, outcome: mail.Deferred, text: "TLS is required, but was not offered"},
		"nothing published":    {level: "dane", mx: "+", a: "+", clear: true, text: "taken"},
		"nothing, only":        {level: "dane-only", mx: "+", a: "+", outcome: mail.Deferred, text: "no TLSA records found"},
		"no DNSSEC":            {level: "dane", tlsa: "3 1 1 " + wrong, clear: true, text: "taken"},
		"no DNSSEC, only":      {level: "dane-only", tlsa: "3 1 1 " + right, outcome: mail.Deferred, text: "non DNSSEC destination"},
		"forged TLSA":          {level: "dane", mx: "+", a: "+", tlsa: "3 1 1 " + wrong, clear: true, text: "taken"},
		"unusable":             {level: "dane", mx: "+", a: "+", tlsa: "+1 1 1 " + wrong, encrypted: true, text: "taken"},
		"unusable, clear":      {level: "dane", mx: "+", a: "+", tlsa: "+1 1 1 " + wrong, clear: true, outcome: mail.Deferred, text: "TLS is required"},
		"unusable, only":       {level: "dane-only", mx: "+", a: "+", tlsa: "+0 0 1 " + wrong, outcome: mail.Deferred, text: "TLSA records unusable"},
		"insecure MX":          {level: "dane", a: "+", tlsa: "+3 1 1 " + wrong, outcome: mail.Deferred, text: "not verified"},
		"insecure MX, only":    {level: "dane-only", a: "+", tlsa: "+3 1 1 " + right, outcome: mail.Deferred, text: "non DNSSEC destination"},
		"lookups not enabled":  {level: "dane", support: "enabled", outcome: mail.Deferred, text: "client TLS configuration problem"},
		"nothing answers TLSA": {level: "dane", mx: "+", a: "+", lazy: true, outcome: mail.Deferred, text: "TLSA lookup error"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := []string{"s 220 x", "c EHLO", "s 250-x|250 STARTTLS", "c STARTTLS", "s 220 go", "t", "c ", "s 250 x"}
			if c.clear {
				lines = []string{"s 220 x", "c EHLO", "s 250 x"}
			}
			s := scripted(t, cert, append(lines, "c ", "x")...)
			_, port, _ := net.SplitHostPort(s.addr)
			mx := "mx.test"
			if c.lazy {
				mx = "mx.lazy.test"
			}
			records := []string{c.mx + "d.test. 60 IN MX 1 " + mx + ".", c.a + mx + ". 60 IN A 127.0.0.1"}
			for _, r := range strings.Split(c.tlsa, "|") {
				if bare, ad := strings.CutPrefix(r, "+"); r != "" {
					records = append(records, map[bool]string{true: "+"}[ad]+"_"+port+"._tcp."+mx+". 60 IN TLSA "+bare)
				}
			}
			o := Options{TLSLevel: c.level, DNSSupport: "dnssec", Protocols: []string{"ipv4"}, Resolver: zone(t, records...)}
			if c.support != "" {
				o.DNSSupport = c.support
			}
			r := send(t, o, "d.test:"+port, "x\n", mail.Envelope{VerifyOnly: true}, "a@d.test")[0]
			_, said := s.seen()
			talked := len(said) > 0 && strings.HasPrefix(said[len(said)-1], "MAIL")
			encrypted := talked && len(said) > 1 && said[1] == "STARTTLS"
			if c.text == "taken" { // the script ends behind MAIL
				if !talked || encrypted != c.encrypted {
					t.Errorf("said %q: %+v", said, r.Status)
				}
				return
			}
			if talked || r.Status.Outcome != c.outcome || !strings.Contains(r.Status.Text, c.text) {
				t.Errorf("said %q: %+v", said, r.Status)
			}
		})
	}
}
