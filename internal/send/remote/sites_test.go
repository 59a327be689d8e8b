package remote

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

// pairs is a table.
type pairs map[string]string

func (p pairs) Lookup(_ context.Context, key string) (string, bool, error) {
	if v, ok := p[key]; ok {
		return v, v != "!", map[bool]error{true: errors.New("broken")}[v == "!"]
	}
	return "", false, nil
}

// taker is a host that takes one message.
func taker(t *testing.T, answer string) *script {
	return play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 354 x", "d", "s "+answer)
}

// Several next hops, and smtp_fallback_relay behind them, are asked in turn.
func TestNextHops(t *testing.T) {
	busy := play(t, "127.0.0.1:0", "s 421 4.3.2 busy")
	good := taker(t, "250 2.0.0 taken")
	names := zone(t, "nobody.test. 60 IN TXT x")
	r := send(t, Options{Resolver: names}, "[nowhere.test]:25, "+at(busy)+" "+at(good), "x\n", mail.Envelope{}, "a@b.test")
	want(t, r[0], mail.Sent, "2.0.0", "taken")
	r = send(t, Options{Resolver: names, Fallback: []string{at(taker(t, "250 2.0.0 fell back"))}}, "nowhere.test", "x\n", mail.Envelope{}, "a@b.test")
	want(t, r[0], mail.Sent, "2.0.0", "fell back")
	r = send(t, Options{Resolver: names, Fallback: []string{"[nowhere.test]"}}, at(busy), "x\n", mail.Envelope{}, "a@b.test")
	want(t, r[0], mail.Bounced, "5.4.4", "nowhere.test")
	refused := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 550 5.1.1 no")
	r = send(t, Options{Fallback: []string{at(taker(t, "250 never"))}}, at(refused), "x\n", mail.Envelope{}, "a@b.test")
	want(t, r[0], mail.Bounced, "5.1.1", "no")
}

// best_mx_transport takes what loops back to us.
func TestBestMX(t *testing.T) {
	names := zone(t, "loop.test. 60 IN MX 10 us.test.", "us.test. 60 IN A 127.0.0.1")
	own := func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }
	to := ""
	o := Options{Resolver: names, Own: own, BestMX: "local", Protocols: []string{"ipv4"}, Pass: func(_ context.Context, transport string, job *mail.Job) bool {
		to = transport
		job.Report(0, mail.Result{Status: mail.OK("2.0.0", "kept")})
		return true
	}}
	want(t, send(t, o, "loop.test", "x\n", mail.Envelope{}, "a@loop.test")[0], mail.Sent, "2.0.0", "kept")
	if to != "local" {
		t.Errorf("passed to %q", to)
	}
	o.BestMX = ""
	want(t, send(t, o, "loop.test", "x\n", mail.Envelope{}, "a@loop.test")[0], mail.Bounced, "5.4.6", "mail for loop.test loops back to myself")
}

// disable_dns_lookups asks for no MX.
func TestNoDNS(t *testing.T) {
	s := taker(t, "250 2.0.0 taken")
	names := zone(t, "d.test. 60 IN MX 0 .", "d.test. 60 IN A 127.0.0.1")
	o := Options{Resolver: names, Protocols: []string{"ipv4"}}
	want(t, send(t, o, "d.test:"+port(s), "x\n", mail.Envelope{}, "a@d.test")[0], mail.Bounced, "5.1.0", "nullMX")
	o.NoDNS = true
	want(t, send(t, o, "d.test:"+port(s), "x\n", mail.Envelope{}, "a@d.test")[0], mail.Sent, "2.0.0", "taken")
}

// smtp_dns_reply_filter hides records.
func TestDNSFilter(t *testing.T) {
	names := zone(t, "d.test. 60 IN MX 5 a.test.", "a.test. 60 IN A 127.0.0.9", "d.test. 60 IN MX 7 b.test.", "b.test. 60 IN A 127.0.0.1")
	var seen []string
	s := taker(t, "250 2.0.0 taken")
	o := Options{Protocols: []string{"ipv4"}, Resolver: names.Filtered(func(rr string) bool {
		seen = append(seen, rr)
		return strings.Contains(rr, "127.0.0.9")
	})}
	want(t, send(t, o, "d.test:"+port(s), "x\n", mail.Envelope{}, "a@d.test")[0], mail.Sent, "2.0.0", "taken")
	if len(seen) < 4 || seen[0] != "d.test. 60 IN MX 5 a.test." {
		t.Errorf("saw %q", seen)
	}
	o.Resolver = names.Filtered(func(string) bool { return true })
	want(t, send(t, o, "d.test", "x\n", mail.Envelope{}, "a@d.test")[0], mail.Deferred, "4.7.0", "Error looking up name=d.test type=MX: DNS reply filter drops all results")
}

// smtp_reply_filter and smtp_delivery_status_filter change what is read and told.
func TestFilters(t *testing.T) {
	o := Options{Replies: pairs{"550 5.7.1 greylisted, come back": "450 4.7.1 greylisted", "250-PIPELINING": "250-X", "x": "!"},
		Statuses: pairs{"2.0.0 250 2.0.0 fine": "2.7.7 so fine", "2.0.0 250 2.0.0 lost": "5.1.1 lost"}}
	s := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250-x|250-PIPELINING|250 y", "c MAIL", "s 250 x", "c RCPT", "s 550 5.7.1 greylisted, come back")
	want(t, send(t, o, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Deferred, "4.7.1", "450 4.7.1 greylisted")
	want(t, send(t, o, at(taker(t, "250 2.0.0 fine")), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Sent, "2.7.7", "so fine")
	want(t, send(t, o, at(taker(t, "250 2.0.0 lost")), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Sent, "2.0.0", "250 2.0.0 lost")
	st := New(Options{Log: maillog.To(&bytes.Buffer{}, maillog.Options{}), Statuses: pairs{"4.1.1 a": "5.1.2 b", "5.1.1 a": "junk"}})
	if got := st.filterStatus(mail.Defer("4.1.1", "a")); got.Outcome != mail.Bounced || got.Code != "5.1.2" || got.Text != "b" {
		t.Errorf("%+v", got)
	}
	if got := st.filterStatus(mail.Bounce("5.1.1", "a")); got.Code != "5.1.1" {
		t.Errorf("%+v", got)
	}
}

// smtp_discard_ehlo_keywords, by address too, and smtp_never_send_ehlo.
func TestDiscardKeywords(t *testing.T) {
	host := func() *script {
		return play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250-x|250-SIZE 100|250 DSN", "c MAIL FROM:<sender@example.org>\r", "s 550 5.0.0 seen")
	}
	want(t, send(t, Options{Discard: []string{"size", "dsn", "silent-discard"}}, at(host()), "x\n", mail.Envelope{Ret: "FULL"}, "a@b.test")[0], mail.Bounced, "5.0.0", "seen")
	want(t, send(t, Options{DiscardMaps: pairs{"127.0.0.1": "SIZE, dsn"}}, at(host()), "x\n", mail.Envelope{Ret: "FULL"}, "a@b.test")[0], mail.Bounced, "5.0.0", "seen")
	s := play(t, "127.0.0.1:0", "s 220 x", "c HELO", "s 250 x", "c MAIL", "s 550 5.0.0 seen")
	want(t, send(t, Options{NeverEHLO: true}, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Bounced, "5.0.0", "seen")
}

// A content filter that asks for it hears who the client was.
func TestXForward(t *testing.T) {
	env := mail.Envelope{Peer: mail.Peer{Name: "c.test", Addr: netip.MustParseAddr("192.0.2.7"), Port: 99, Proto: "ESMTP", Helo: "he lo"}}
	s := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250-x|250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE",
		"c XFORWARD NAME=c.test ADDR=192.0.2.7 PORT=99\r", "s 250 ok", "c XFORWARD PROTO=ESMTP HELO=he+20lo IDENT=0123456 SOURCE=REMOTE\r", "s 500 no",
		"c MAIL", "s 550 5.0.0 seen")
	want(t, send(t, Options{XForward: true}, at(s), "x\n", env, "a@b.test")[0], mail.Bounced, "5.0.0", "seen")
	s = play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250-x|250 XFORWARD NAME HELO", "c XFORWARD NAME=c.test\r", "s 250 ok", "c XFORWARD HELO=he+20lo\r", "s 250 ok", "c MAIL", "s 550 5.0.0 seen")
	want(t, send(t, Options{XForward: true}, at(s), "x\n", env, "a@b.test")[0], mail.Bounced, "5.0.0", "seen")
}

// A host without 8BITMIME gets quoted-printable, and mapped addresses.
func TestDowngrade(t *testing.T) {
	body := "Content-Transfer-Encoding: 8bit\nContent-Type: text/plain\n\nä\n"
	for _, c := range []struct {
		no   bool
		ext  string
		kind mail.Body
		want string
	}{
		{false, "250 x", mail.Body8Bit, "=C3=A4"}, {false, "250 x", mail.BodyUnknown, "=C3=A4"}, {false, "250-x|250 8BITMIME", mail.Body8Bit, "ä"},
		{true, "250 x", mail.Body8Bit, "ä"}, {false, "250 x", mail.Body7Bit, "ä"},
	} {
		s := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s "+c.ext, "c MAIL FROM:<out@example.net>", "s 250 x", "c RCPT TO:<a@b.test>", "s 250 x", "c DATA", "s 354 x", "d", "s 250 ok")
		o := Options{NoConversion: c.no}
		o.Convert.Generic = func(a mail.Address) (mail.Address, error) {
			if a == "sender@example.org" {
				a = "out@example.net"
			}
			return a, nil
		}
		want(t, send(t, o, at(s), body, mail.Envelope{Body: c.kind}, "a@b.test")[0], mail.Sent, "2.0.0", "ok")
		if !strings.Contains(string(s.data), "\r\n\r\n"+c.want+"\r\n") {
			t.Errorf("%+v: %q", c, s.data)
		}
	}
}

// The order of addresses, and a place for both families.
func TestOrder(t *testing.T) {
	var list []host
	for _, a := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"} {
		list = append(list, host{addr: netip.MustParseAddr(a)})
	}
	list = append(list, host{addr: netip.MustParseAddr("192.0.2.9"), pref: 9})
	show := func(o Options) string {
		s := ""
		for _, h := range New(o).order(list) {
			s += map[bool]string{true: "4", false: "6"}[h.addr.Is4()]
		}
		return s
	}
	for want, o := range map[string]Options{
		"446664": {AddressPref: "ipv4"}, "666444": {AddressPref: "ipv6"},
		"6644": {AddressPref: "ipv6", AddressLimit: 4, Balance: true},
		"4466": {AddressPref: "ipv4", AddressLimit: 4, Balance: true},
	} {
		if got := show(o); got != want {
			t.Errorf("%+v: %s, want %s", o.AddressPref, got, want)
		}
	}
	heads := map[string]bool{}
	for range 200 {
		heads[show(Options{AddressPref: "any"})[:1]] = true
	}
	if len(heads) != 2 {
		t.Error("no order by chance")
	}
}

// An own address that does not exist here.
func TestBind(t *testing.T) {
	s := taker(t, "250 2.0.0 taken")
	o := Options{BindAddress: "192.0.2.99"}
	want(t, send(t, o, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Sent, "2.0.0", "taken")
	o.BindEnforce = true
	want(t, send(t, o, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Deferred, "4.3.5", "bind 192.0.2.99: ")
	for name, want := range map[string]string{"": "25", "smtp": "25", "2525": "2525"} {
		if got := portNumber(name, false); got != want {
			t.Errorf("port %q: %s", name, got)
		}
	}
}

// smtp_tls_per_site: the stronger of two words, but NONE before MAY.
func TestPerSite(t *testing.T) {
	for _, c := range []struct {
		site pairs
		want string
	}{
		{pairs{}, "may"}, {pairs{"d.test": "MUST"}, "verify"}, {pairs{"d.test": "MAY", "mx.test": "NONE"}, "none"},
		{pairs{"d.test": "NONE", "mx.test": "MUST_NOPEERMATCH"}, "encrypt"}, {pairs{"mx.test": "may"}, "may"},
		{pairs{"d.test": "PERHAPS"}, "!"}, {pairs{"d.test": "!"}, "!"},
	} {
		tr := New(Options{TLSLevel: "may", PerSite: c.site, Log: maillog.To(&bytes.Buffer{}, maillog.Options{})})
		p, err := tr.policyOf(t.Context(), "d.test", host{name: "mx.test"})
		if got := map[bool]string{false: p.level.String(), true: "!"}[err != nil]; got != c.want {
			t.Errorf("%v: %s, want %s", c.site, got, c.want)
		}
	}
}

// smtp_quote_rfc821_envelope: addresses go with the quotes that RFC 5321 asks
// for, or as they are; what could end the command always goes quoted.
func TestQuoteEnvelope(t *testing.T) {
	for _, c := range []struct {
		quote    bool
		addr     mail.Address
		external string
	}{
		{true, "a b@d.test", "\"a b\"@d.test"},
		{true, "a.@d.test", "\"a.\"@d.test"},
		{false, "a.@d.test", "a.@d.test"},
		{false, "a..b c@d.test", "a..b c@d.test"},
		{false, "a>b@d.test", "\"a>b\"@d.test"},
	} {
		s := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250 x", "c MAIL FROM:<"+c.external+">\r", "s 250 x",
			"c RCPT TO:<"+c.external+">\r", "s 550 5.0.0 seen")
		r := send(t, Options{QuoteEnvelope: c.quote}, at(s), "x\n", mail.Envelope{Sender: c.addr}, c.addr)
		want(t, r[0], mail.Bounced, "5.0.0", "seen")
	}
}
