package explain

import (
	"bytes"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	mdns "github.com/miekg/dns"
)

// TestDNS holds that with --dns name servers are asked, for the client's name and
// by the access lists, and that without it none is.
func TestDNS(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	zone := map[string]string{
		"7.2.0.192.in-addr.arpa. PTR": "7.2.0.192.in-addr.arpa. 60 IN PTR mx.sender.test.",
		"mx.sender.test. A":           "mx.sender.test. 60 IN A 192.0.2.7",
		"sender.test. MX":             "sender.test. 60 IN MX 10 mx.sender.test.",
		"8.2.0.192.list.test. A":      "8.2.0.192.list.test. 60 IN A 127.0.0.2",
	}
	var asked atomic.Int32
	s := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		asked.Add(1)
		a := new(mdns.Msg)
		a.SetReply(q)
		key := strings.ToLower(q.Question[0].Name) + " " + mdns.TypeToString[q.Question[0].Qtype]
		if rr, err := mdns.NewRR(zone[key]); err == nil && rr != nil {
			a.Answer = append(a.Answer, rr)
		} else if !strings.Contains(key, "sender.test.") {
			a.Rcode = mdns.RcodeNameError
		}
		w.WriteMsg(a)
	})}
	go s.ActivateAndServe()
	defer s.Shutdown()
	dir, _ := layDown(t, `-- main.cf --
myhostname = mx.example.org
mydestination = example.org
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_client_restrictions = reject_rbl_client list.test
smtpd_sender_restrictions = reject_unknown_sender_domain
smtpd_relay_restrictions = reject_unauth_destination
-- master.cf --
smtp inet n - y - - smtpd
local unix - n n - - local
-- end --
`)
	for _, c := range []struct{ args, want string }{
		{"--client 192.0.2.7 --from a@sender.test", "=> taken"},
		{"--client 192.0.2.7 --from a@sender.test", "EHLO [192.0.2.7]"},
		{"--client 192.0.2.7 --from a@nowhere.test", "=> refused: 450 4.1.8 <a@nowhere.test>: Sender address rejected: Domain not found"},
		{"--client 192.0.2.8 --from a@sender.test", "=> refused: 554 5.7.1 Service unavailable; Client host [192.0.2.8] blocked using list.test"},
	} {
		var out bytes.Buffer
		Run(append(strings.Fields(c.args), "-c", dir, "--dns", "--dns-server", pc.LocalAddr().String(), "daemon@example.org"), &out, &out)
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: no %q in\n%s", c.args, c.want, &out)
		}
	}
	n := asked.Load()
	var out bytes.Buffer
	if code := Run([]string{"-c", dir, "--client", "192.0.2.8", "--from", "a@nowhere.test", "--dns-server", pc.LocalAddr().String(), "daemon@example.org"}, &out, &out); code != 0 ||
		asked.Load() != n || n == 0 || !strings.Contains(out.String(), "note: name servers are not asked without --dns") {
		t.Errorf("exit %d, asked %d times:\n%s", code, asked.Load()-n, &out)
	}
}
