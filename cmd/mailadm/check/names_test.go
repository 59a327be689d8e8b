package check

import (
	"net"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

// serveZone answers from lines of a zone file on a port of 127.0.0.1; names that
// are in no line, nor above one, do not exist.
func serveZone(t *testing.T, zone string) (addr string) {
	t.Helper()
	var all []mdns.RR
	for line := range strings.Lines(zone) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		rr, err := mdns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		a := new(mdns.Msg)
		a.SetReply(q)
		a.Rcode = mdns.RcodeNameError
		for _, rr := range all {
			name, asked := strings.ToLower(rr.Header().Name), strings.ToLower(q.Question[0].Name)
			if name == asked || strings.HasSuffix(name, "."+asked) {
				a.Rcode = mdns.RcodeSuccess
			}
			if name == asked && rr.Header().Rrtype == q.Question[0].Qtype {
				a.Answer = append(a.Answer, rr)
			}
		}
		w.WriteMsg(a)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
	return pc.LocalAddr().String()
}

const goodZone = `
mx.example.org. 60 IN A 198.51.100.5
5.100.51.198.in-addr.arpa. 60 IN PTR mx.example.org.
example.org. 60 IN MX 10 mx.example.org.
example.org. 60 IN TXT "v=spf1 mx -all"
_dmarc.example.org. 60 IN TXT "v=DMARC1; p=reject"
s1._domainkey.example.org. 60 IN TXT "v=DKIM1; p=abc"
`

// TestNames holds what is said of the machine's names, fault by fault.
func TestNames(t *testing.T) {
	without := func(word string) string {
		var b strings.Builder
		for line := range strings.Lines(goodZone) {
			if !strings.Contains(line, word) {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	for _, c := range []struct{ name, zone, want string }{
		{"good", goodZone, ""},
		{"no address", without(" A "), "DIR/main.cf:1: error: mx.example.org (myhostname) has no address"},
		{"no PTR", without("PTR"), "DIR/main.cf:1: error: 198.51.100.5 has no reverse name"},
		{"PTR of another", without("PTR") + "5.100.51.198.in-addr.arpa. 60 IN PTR dsl.provider.test.\n", "DIR/main.cf:1: error: the reverse name of 198.51.100.5 is dsl.provider.test, which does not lead back"},
		{"PTR of another that leads back", without("PTR") + "5.100.51.198.in-addr.arpa. 60 IN PTR dsl.provider.test.\ndsl.provider.test. 60 IN A 198.51.100.5\n",
			"DIR/main.cf:1: warning: the reverse name of 198.51.100.5 is dsl.provider.test and not mx.example.org (myhostname)"},
		{"no MX", without("MX"), "DIR/main.cf:2: error: example.org has no MX record"},
		{"MX elsewhere", without("MX") + "example.org. 60 IN MX 5 mx.elsewhere.test.\n", "DIR/main.cf:2: warning: mail for example.org goes to mx.elsewhere.test, not to mx.example.org"},
		{"MX under another name", without("MX") + "example.org. 60 IN MX 5 mail.example.org.\nmail.example.org. 60 IN A 198.51.100.5\n", ""},
		{"no SPF", without("spf1"), "DIR/main.cf:2: warning: example.org has no SPF record"},
		{"two SPF", goodZone + "example.org. 60 IN TXT \"v=spf1 -all\"\n", "DIR/main.cf:2: error: example.org has 2 SPF records"},
		{"no DKIM", without("DKIM1"), "DIR/main.cf:2: warning: example.org has no DKIM keys"},
		{"no DMARC", without("DMARC1"), "DIR/main.cf:2: warning: example.org has no DMARC record"},
		{"nothing", "", "DIR/main.cf:2: error: example.org does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := report(t, Options{Dir: lay(t, "", nil), DNS: true, Servers: []string{serveZone(t, c.zone)}})
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			if c.want != "" && !strings.Contains(got, "hint: ") {
				t.Error("no hint: " + got)
			}
		})
	}
	if got := report(t, Options{Dir: lay(t, "", nil), Servers: []string{"127.0.0.1:1"}}); got != "" {
		t.Errorf("name servers are asked without --dns: %s", got)
	}
}
