package explain

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/mail"
	"packetboat/internal/receive/gate"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// service127 is a true smtpd on a port of 127.0.0.1, wired as mtad wires it, over
// the configuration in dir.
func service127(t *rapid.T, dir string) (addr string, end func()) {
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	services, _, err := config.LoadMaster(dir)
	if err != nil {
		t.Fatal(err)
	}
	k := &wiring.Kit{Main: m, Services: services, Logs: maillog.To(io.Discard, maillog.Options{}), Missing: func(error) {},
		Resolver: offline{dns.New(dns.Options{Servers: []string{"127.0.0.1:0"}, Tries: 1}), func(string) {}}}
	if k.Router, err = k.NewRouter(); err != nil {
		t.Fatal(err)
	}
	o, po, err := wiring.SMTPDOptions(m.With(services[0].Options...))
	if err != nil {
		t.Fatal(err)
	}
	log := k.Logs.Program("smtpd")
	pol, err := k.Policy(po, log)
	if err != nil {
		t.Fatal(err)
	}
	s, err := smtpd.New(o, smtpd.Deps{Log: log, Policy: pol, Resolver: named{"localhost"}, Table: func(spec string) (gate.Table, error) { return k.OpenTable(spec) },
		Open: func() (smtpd.Message, error) { return quietMessage{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.ServeConn(c)
		}
	}()
	return l.Addr().String(), func() { l.Close() }
}

// quietMessage is a message that nobody keeps.
type quietMessage struct{}

// Start implements smtpd.Message.
func (quietMessage) Start(*mail.Envelope) error { return nil }

// ID implements smtpd.Message.
func (quietMessage) ID() string { return "EXPLAIN" }

// Write implements smtpd.Message.
func (quietMessage) Write(p []byte) (int, error) { return len(p), nil }

// Commit implements smtpd.Message.
func (quietMessage) Commit() error { return nil }

// Abort implements smtpd.Message.
func (quietMessage) Abort() {}

// dialogue127 says commands to a server and returns the last line of each reply, up
// to the first refusal.
func dialogue127(t *rapid.T, addr string, commands []string) []string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	in := bufio.NewReader(c)
	var out []string
	for _, say := range append([]string{""}, commands...) {
		if say != "" {
			fmt.Fprintf(c, "%s\r\n", say)
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%q: %v", say, err)
			}
			if len(line) > 3 && line[3] == '-' {
				continue
			}
			out = append(out, strings.TrimRight(line, "\r\n"))
			break
		}
		if out[len(out)-1][0] > '3' {
			break
		}
	}
	return out
}

// TestAgrees holds that what explain says is what a true dialogue with the same
// configuration answers, reply by reply, over random access lists.
func TestAgrees(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("master.cf", "smtp inet n - y - - smtpd\nsmtp unix - - y - - smtp\nlocal unix - n n - - local\n")
	put("names", "a.test OK\nb.test REJECT no\nann@a.test DEFER_IF_PERMIT wait\nbob@ 450 4.7.0 later\nc.test permit_mynetworks,reject\nlocalhost DUNNO\n127 WARN seen\nx@b.test DEFER\n[127.0.0.1] 554 no literal\n")
	put("patterns", "if /b/\n/^ann/ REJECT ann\nendif\n/@c\\.test$/ HOLD\n/^a/ DUNNO\n")
	words := []string{"permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination", "defer_unauth_destination", "permit", "reject",
		"reject_non_fqdn_sender", "reject_non_fqdn_recipient", "reject_non_fqdn_helo_hostname", "reject_invalid_helo_hostname", "reject_unknown_sender_domain",
		"reject_unlisted_recipient", "reject_unlisted_sender", "check_sender_access hash:DIR/names", "check_recipient_access hash:DIR/names",
		"check_client_access hash:DIR/names", "check_helo_access hash:DIR/names", "check_recipient_access pcre:DIR/patterns", "check_sender_access regexp:DIR/patterns",
		"warn_if_reject reject", "warn_if_reject check_sender_access hash:DIR/names", "defer_if_permit", "defer_if_reject", "defer", "special", "reject_plaintext_session"}
	addresses := []mail.Address{"", "ann@a.test", "bob@b.test", "x@b.test", "ann@c.test", "eve@d.test", "plain", "ann", "bob@localhost", "ann%d.test@a.test", "postmaster", "ann+x@a.test"}
	compared, accepted := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		list := func(name string) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 4).Draw(t, name), ", ")
		}
		put("main.cf", "myhostname = mx.a.test\nmyorigin = a.test\nmydestination = a.test, localhost\nrelay_domains = c.test\nalias_maps =\nlocal_recipient_maps = inline:{ann=x bob=x}\n"+
			"inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nrecipient_delimiter = +\nsmtpd_restriction_classes = special\nspecial = permit_mynetworks, reject_non_fqdn_sender\n"+
			"mynetworks = "+rapid.SampledFrom([]string{"127.0.0.0/8", "10.0.0.0/8"}).Draw(t, "nets")+"\nsmtpd_delay_reject = "+rapid.SampledFrom([]string{"yes", "no"}).Draw(t, "delay")+
			"\nsmtpd_client_restrictions = "+list("client")+"\nsmtpd_helo_restrictions = "+list("helo")+"\nsmtpd_sender_restrictions = "+list("sender")+
			"\nsmtpd_relay_restrictions = "+list("relay")+", reject_unauth_destination\nsmtpd_recipient_restrictions = "+list("rcpt")+"\nsmtpd_data_restrictions = "+list("data")+"\n")
		q := Question{Dir: dir, Sender: rapid.SampledFrom(addresses).Draw(t, "from"), Address: rapid.SampledFrom(addresses[1:]).Draw(t, "to"),
			Client: netip.MustParseAddr("127.0.0.1"), Name: "localhost", Helo: rapid.SampledFrom([]string{"a.test", "b.test", "plain", "-bad", "[127.0.0.1]"}).Draw(t, "ehlo")}
		r, err := Explain(q)
		if err != nil {
			return // a list that no service can work with
		}
		addr, end := service127(t, dir)
		defer end()
		want := dialogue127(t, addr, []string{"EHLO " + q.Helo, "MAIL FROM:<" + q.Sender.Quoted() + ">", "RCPT TO:<" + q.Address.Quoted() + ">", "DATA", "."})
		if len(want) != len(r.Dialogue) {
			t.Fatalf("explain: %+v\ndialogue: %q", r.Dialogue, want)
		}
		for i, x := range r.Dialogue {
			if x.Reply != want[i] {
				t.Errorf("%s: explain says %q, smtpd %q", x.Command, x.Reply, want[i])
			}
		}
		if r.Accepted != (len(want) == 6 && want[5][0] == '2') {
			t.Errorf("accepted %v after %q", r.Accepted, want)
		}
		for _, x := range r.Dialogue {
			explains(t, x)
		}
		if compared++; r.Accepted {
			accepted++
		}
	})
	if compared < 20 || accepted == 0 || accepted == compared {
		t.Errorf("%d dialogues compared, %d of them accepted: too few of a kind", compared, accepted)
	}
}

// explains holds that a refusal by the access lists stands in what was asked.
func explains(t *rapid.T, x Exchange) {
	if x.Reply[0] < '4' || len(x.Asked) == 0 {
		return
	}
	last := x.Asked[len(x.Asked)-1]
	if last.Reply != x.Reply && !strings.HasPrefix(x.Reply, "503 5.5.1") && !strings.HasPrefix(x.Reply, "554 5.5.1") {
		t.Errorf("%s: refused with %q, and the last restriction said %q", x.Command, x.Reply, last.Reply)
	}
}
