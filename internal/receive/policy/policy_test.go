package policy

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
)

type fakeRouter struct{}

func (fakeRouter) Class(_ context.Context, a mail.Address) (Class, error) {
	switch strings.ToLower(a.Domain()) {
	case "", "here.test":
		return Local, nil
	case "relay.test", "bad.test":
		return Relay, nil
	case "va.test":
		return VirtualAlias, nil
	case "syntax.test":
		return Remote, mail.Bounce("5.1.3", "bad address syntax")
	case "broken.test":
		return Remote, errors.New("table is broken")
	}
	return Remote, nil
}

func (fakeRouter) Exists(_ context.Context, a mail.Address) (bool, error) {
	if a.Domain() == "closed.test" {
		return false, mail.Bounce("5.1.2", "no")
	}
	return !strings.HasPrefix(string(a), "no"), nil
}

type fakeDNS struct{}

func (fakeDNS) MX(_ context.Context, d string) ([]dns.MX, bool, error) {
	switch d {
	case "ok.test":
		return []dns.MX{{Host: "mx.ok.test", Pref: 1}}, false, nil
	case "null.test":
		return []dns.MX{{}}, false, nil
	case "slow.test":
		return nil, false, &dns.Error{Kind: dns.TryAgain}
	case "onlya.test":
		return nil, false, &dns.Error{Kind: dns.NoData}
	}
	return nil, false, &dns.Error{Kind: dns.NoHost}
}

func (fakeDNS) Addrs(_ context.Context, h, _ string) ([]netip.Addr, error) {
	switch h {
	case "onlya.test", "4.3.2.1.bl.test", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test":
		return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
	}
	return nil, &dns.Error{Kind: dns.NoHost}
}

func (fakeDNS) TXT(context.Context, string) ([]string, error) { return []string{"listed"}, nil }

type fakeTable map[string]string

func (f fakeTable) Lookup(_ context.Context, key string) (string, bool, error) {
	if v, ok := f["error"]; ok {
		return "", false, errors.New(v)
	}
	v, ok := f[key]
	return v, ok, nil
}

func (fakeTable) Name() string  { return "hash:/a" }
func (fakeTable) Pattern() bool { return false }

var tables = map[string]fakeTable{
	"hash:/broken": {"error": "no such file"},
	"hash:/a": {"good.test": "OK", "bad.test": "REJECT go away", "net.test": "REJECT 5.7.9 special", "soft.test": "DEFER", "warn.test": "WARN look",
		"code.test": "451 4.2.1 later", "1.2.3": "REJECT", "user@ok.test": "REJECT user", "<>": "REJECT null", "local@": "OK",
		"list.test": "reject_unauth_destination, permit", "odd.test": "FROBNICATE", "ifp.test": "DEFER_IF_PERMIT", "ifr.test": "DEFER_IF_REJECT x", "skip.test": "DUNNO", "num.test": "12345"},
}

func newPolicy(t testing.TB, o Options) (*Policy, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	if o.Relay == nil {
		o.Relay = []string{"permit_mynetworks", "reject_unauth_destination"}
	}
	o.ParentMatches = []string{"smtpd_access_maps"}
	if o.MyNetworks == nil {
		o.MyNetworks = []string{"10.0.0.0/8"}
	}
	p, err := New(o, Deps{Log: maillog.To(&log, maillog.Options{}).Program("smtpd"), Router: fakeRouter{}, Resolver: fakeDNS{},
		Open: func(spec string) (Table, error) {
			if tb, ok := tables[spec]; ok {
				return tb, nil
			}
			return nil, os.ErrNotExist
		}})
	if err != nil {
		t.Fatal(err)
	}
	return p, &log
}

func stranger() *Session {
	s := &Session{Name: "unknown", Reverse: "unknown", NameState: NameNone, RevState: NameNone,
		Addr: netip.MustParseAddr("1.2.3.4"), Helo: "c.ok.test", Proto: "ESMTP", Where: "RCPT"}
	from, to := mail.Address("user@ok.test"), mail.Address("bob@here.test")
	s.Sender, s.Rcpt = &from, &to
	return s
}

func words(s string) []string { return strings.Fields(s) }

// TestRestrictions asks each restriction alone.
func TestRestrictions(t *testing.T) {
	for _, tt := range []struct {
		list string // smtpd_recipient_restrictions
		set  func(s *Session)
		want string // empty = let in
	}{
		{"permit", nil, ""},
		{"reject", nil, "554 5.7.1 <bob@here.test>: Recipient address rejected: Access denied"},
		{"defer", nil, "450 4.3.2 <bob@here.test>: Recipient address rejected: Try again later"},
		{"defer_if_permit permit", nil, "450 4.7.0 <bob@here.test>: Recipient address rejected: defer_if_permit requested"},
		{"defer_if_permit reject", nil, "554 5.7.1 <bob@here.test>: Recipient address rejected: Access denied"},
		{"defer_if_reject reject", nil, "450 4.7.0 <bob@here.test>: Recipient address rejected: defer_if_reject requested"},
		{"defer_if_reject permit", nil, ""},
		{"warn_if_reject reject permit", nil, ""},
		{"permit_mynetworks reject", ip("10.1.2.3"), ""},
		{"permit_mynetworks reject", ip("::ffff:10.1.2.3"), ""},
		{"permit_mynetworks reject", ip("11.1.2.3"), "554*"},
		{"permit_sasl_authenticated reject", func(s *Session) { s.User = "alice" }, ""},
		{"permit_sasl_authenticated reject", nil, "554*"},
		{"permit_auth_destination reject", nil, ""},
		{"reject_unauth_destination", nil, ""},
		{"reject_unlisted_recipient", to("nobody@here.test"), "550 5.1.1 <nobody@here.test>: Recipient address rejected: User unknown in local recipient table"},
		{"reject_unlisted_recipient", to("nobody@va.test"), "550 5.1.1 <nobody@va.test>: Recipient address rejected: User unknown in virtual alias table"},
		{"reject_unlisted_sender", from("nobody@here.test"), "550 5.1.0 <nobody@here.test>: Sender address rejected: User unknown in local recipient table"},
		{"reject_non_fqdn_sender", from("a@b"), "504 5.5.2 <a@b>: Sender address rejected: need fully-qualified address"},
		{"reject_non_fqdn_sender", from(""), ""},
		{"reject_non_fqdn_sender", from("a@[1.2.3.4]"), ""},
		{"reject_non_fqdn_recipient", to("bob"), "504 5.5.2 <bob>: Recipient address rejected: need fully-qualified address"},
		{"reject_non_fqdn_recipient", to("postmaster"), ""},
		{"reject_non_fqdn_helo_hostname", helo("foo"), "504 5.5.2 <foo>: Helo command rejected: need fully-qualified hostname"},
		{"reject_non_fqdn_helo_hostname", helo("[1.2.3.4]"), ""},
		{"reject_non_fqdn_hostname", helo("foo"), "504*"},
		{"reject_invalid_helo_hostname", helo("f!oo"), "501 5.5.2 <f!oo>: Helo command rejected: Invalid name"},
		{"reject_unknown_helo_hostname", helo("nx.test"), "450 4.7.1 <nx.test>: Helo command rejected: Host not found"},
		{"reject_unknown_helo_hostname", helo("onlya.test"), ""},
		{"reject_unknown_sender_domain", from("x@nx.test"), "450 4.1.8 <x@nx.test>: Sender address rejected: Domain not found"},
		{"reject_unknown_sender_domain", from("x@slow.test"), "450 4.1.8 <x@slow.test>: Sender address rejected: Domain not found"},
		{"reject_unknown_sender_domain", from("x@null.test"), "550 5.7.27 <x@null.test>: Sender address rejected: Domain null.test does not accept mail (nullMX)"},
		{"reject_unknown_sender_domain", from("x@onlya.test"), ""},
		{"reject_unknown_sender_domain", from(""), ""},
		{"reject_unknown_client_hostname", nil, "450 4.7.25 Client host rejected: cannot find your hostname, [1.2.3.4]"},
		{"reject_unknown_reverse_client_hostname", nil, "450 4.7.1 Client host rejected: cannot find your reverse hostname, [1.2.3.4]"},
		{"reject_plaintext_session", nil, "450 4.7.1 Session encryption is required"},
		{"reject_plaintext_session", func(s *Session) { s.TLS = true }, ""},
		{"reject_unauth_pipelining", func(s *Session) { s.Pipelining = true }, "503 5.5.0 <bob@here.test>: Recipient address rejected: Improper use of SMTP command pipelining"},
		{"reject_multi_recipient_bounce", func(s *Session) { from("")(s); s.RcptCount = 1 }, "550 5.5.3 <bob@here.test>: Recipient address rejected: Multi-recipient bounce"},
		{"reject_rbl_client bl.test", nil, "554 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using bl.test; listed"},
		{"reject_rbl_client bl.test=127.0.0.3", nil, ""},
		{"reject_rbl_client bl.test", ip("2001:db8::1"), "554*"},
		{"reject_rbl_client bl.test", ip("1.2.3.5"), ""},
	} {
		t.Run(tt.list+" "+tt.want, func(t *testing.T) {
			p, log := newPolicy(t, Options{Recipient: words(tt.list), Relay: words("permit_auth_destination reject")})
			s := stranger()
			if tt.set != nil {
				tt.set(s)
			}
			expect(t, p.Rcpt(context.Background(), s), tt.want)
			if tt.want != "" && !strings.Contains(log.String(), "NOQUEUE: reject: RCPT from unknown[") {
				t.Errorf("log is %q", log)
			}
		})
	}
}

func expect(t *testing.T, v *Verdict, want string) {
	t.Helper()
	got := ""
	if v != nil {
		got = v.Reply()
	}
	pre, star := strings.CutSuffix(want, "*")
	if got != want && !(star && strings.HasPrefix(got, pre)) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func ip(a string) func(*Session)   { return func(s *Session) { s.Addr = netip.MustParseAddr(a) } }
func helo(h string) func(*Session) { return func(s *Session) { s.Helo = h } }
func to(a mail.Address) func(*Session) {
	return func(s *Session) { s.Rcpt = &a }
}
func from(a mail.Address) func(*Session) {
	return func(s *Session) { s.Sender = &a }
}

func TestAccessTables(t *testing.T) {
	for _, tt := range []struct {
		list string
		set  func(*Session)
		want string
	}{
		{"check_sender_access hash:/a", from("x@good.test"), ""},
		{"check_sender_access hash:/a reject", from("x@good.test"), ""},
		{"check_sender_access hash:/a", from("x@bad.test"), "554 5.7.1 <x@bad.test>: Sender address rejected: go away"},
		{"check_sender_access hash:/a", from("x@sub.bad.test"), "554 5.7.1 <x@sub.bad.test>: Sender address rejected: go away"},
		{"check_sender_access hash:/a", from("x@net.test"), "554 5.7.9 <x@net.test>: Sender address rejected: special"},
		{"check_sender_access hash:/a", from("x@soft.test"), "450 4.7.1 <x@soft.test>: Sender address rejected: Access denied"},
		{"check_sender_access hash:/a", from("x@code.test"), "451 4.2.1 <x@code.test>: Sender address rejected: later"},
		{"check_sender_access hash:/a", from("user+ext@ok.test"), "554*"},
		{"check_sender_access hash:/a", from(""), "554 5.7.1 <>: Sender address rejected: null"},
		{"check_sender_access hash:/a reject", from("local@x.test"), ""},
		{"check_sender_access hash:/a", from("x@warn.test"), ""},
		{"check_sender_access hash:/a reject", from("x@skip.test"), "554*"},
		{"check_sender_access hash:/a reject", from("x@num.test"), ""},
		{"check_sender_access hash:/a", from("x@ifp.test"), "450 4.7.1 <x@ifp.test>: Sender address rejected: Service unavailable"},
		{"check_sender_access hash:/a reject", from("x@ifr.test"), "450 4.7.1 <x@ifr.test>: Sender address rejected: x"},
		{"check_sender_access hash:/a", from("x@list.test"), ""},
		{"check_sender_access hash:/a", from("x@odd.test"), "451 4.3.5 Server configuration error"},
		{"check_sender_access hash:/broken", nil, "451 4.3.5 <user@ok.test>: Sender address rejected: Server configuration error"},
		{"check_client_access hash:/a", nil, "554 5.7.1 <unknown[1.2.3.4]>: Client host rejected: Access denied"},
		{"check_helo_access hash:/a", helo("a.bad.test"), "554 5.7.1 <a.bad.test>: Helo command rejected: go away"},
		{"hash:/a", to("bob@bad.test"), "554*"},
	} {
		t.Run(tt.list+" "+tt.want, func(t *testing.T) {
			p, _ := newPolicy(t, Options{Recipient: words(tt.list), Relay: words("permit_auth_destination defer"), Delimiter: "+"})
			s := stranger()
			if tt.set != nil {
				tt.set(s)
			}
			expect(t, p.Rcpt(context.Background(), s), tt.want)
		})
	}
}

func TestBadConfiguration(t *testing.T) {
	for list, want := range map[string]string{
		"permit_mynetwork":                       `smtpd_recipient_restrictions: unknown smtpd restriction: "permit_mynetwork"`,
		"permit reject_rbl_client":               `needs an argument`,
		"check_sender_access hash:/nothing":      "file does not exist",
		"permit_mynetworks no:such reject_foo x": "file does not exist",
	} {
		_, err := New(Options{Recipient: words(list), Relay: words("reject")}, Deps{Router: fakeRouter{},
			Open: func(string) (Table, error) { return nil, os.ErrNotExist }})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", list, err, want)
		}
	}
	if _, err := New(Options{Relay: words("permit_mynetworks")}, Deps{}); err == nil || !strings.Contains(err.Error(), "reject_unauth_destination") {
		t.Errorf("an open relay starts: %v", err)
	}
	if _, err := New(Options{MyNetworks: words("10.1.2.3/8"), Relay: words("reject")}, Deps{}); err == nil {
		t.Error("10.1.2.3/8 was taken")
	}
}

func TestRelayTable(t *testing.T) {
	p, _ := newPolicy(t, Options{})
	for _, tt := range []struct {
		to   string
		open bool
	}{
		{"bob@here.test", true}, {"bob", true}, {"x@relay.test", true}, {"x@va.test", true},
		{"x@else.test", false}, {"x@else.test@here.test", false}, {"x%else.test@here.test", false}, {"else.test!x@here.test", false},
		{"x%else.test", false}, {"else.test!x", false}, {"x%else.test@relay.test", false}, {"x@else.test@relay.test", false},
		{"else.test!x@relay.test", false}, {"x%else.test@va.test", false}, {"bob%here.test@here.test", true},
		{"x%else.test%here.test@here.test", false}, {"a!b!x@here.test", false}, {"x%here.test@else.test", false},
	} {
		s := stranger()
		to(mail.Address(tt.to))(s)
		v := p.Rcpt(context.Background(), s)
		if (v == nil) != tt.open {
			t.Errorf("%s: %v", tt.to, v)
		}
		s.Addr = netip.MustParseAddr("10.0.0.1")
		if v := p.Rcpt(context.Background(), s); v != nil {
			t.Errorf("%s from mynetworks: %v", tt.to, v.Reply())
		}
	}
	s := stranger()
	to("x@broken.test")(s)
	expect(t, p.Rcpt(context.Background(), s), "451 4.3.0 <x@broken.test>: Temporary lookup failure")
	s = stranger()
	to("a@evil.test!x@syntax.test")(s)
	expect(t, p.Rcpt(context.Background(), s), "501 5.1.3 <a@evil.test!x@syntax.test>: Bad recipient address syntax")
	s = stranger()
	s.Addr = netip.MustParseAddr("10.0.0.1")
	to("x@closed.test")(s)
	expect(t, p.Rcpt(context.Background(), s), "550 5.1.2 <x@closed.test>: Recipient address rejected: no")
}

func TestNetworks(t *testing.T) {
	file := t.TempDir() + "/nets"
	if err := os.WriteFile(file, []byte("# ours\n172.16.0.0/12, 192.0.2.7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := ParseNetworks([]string{"!10.9.0.0/16", "10.0.0.0/8", "[::1]/128", "[2001:db8::]/32", "[::ffff:127.0.0.0]/104", file})
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]bool{
		"10.1.2.3": true, "10.9.1.1": false, "11.0.0.1": false, "::1": true, "::2": false, "2001:db8:1::2": true, "2001:db9::": false,
		"127.0.0.1": true, "::ffff:127.0.0.1": true, "::ffff:10.1.2.3": true, "::ffff:10.9.1.1": false, "172.31.0.1": true, "192.0.2.7": true, "192.0.2.8": false,
		"fe80::1%eth0": false, "::7f00:1": false,
	} {
		if got := n.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	for _, bad := range []string{"10.0.0.0/33", "10.0.0.1/8", "x", "1.2.3", "[::1", "hash:/x", "/no/such/file", "10.0.0.0/"} {
		if _, err := ParseNetworks([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestNetworksProperty: a network holds exactly the addresses that share its
// first bits.
func TestNetworksProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr"))
		other := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "other"))
		bits := rapid.IntRange(0, 32).Draw(t, "bits")
		p := netip.PrefixFrom(netip.AddrFrom4(raw), bits).Masked()
		n, err := ParseNetworks([]string{p.String()})
		if err != nil {
			t.Fatal(err)
		}
		a := netip.AddrFrom4(other)
		if n.Contains(a) != p.Contains(a) || n.Contains(netip.AddrFrom16(a.As16())) != p.Contains(a) {
			t.Fatalf("%s in %s", a, p)
		}
	})
}

// FuzzAccessKeys: no name makes policy ask for more than a bounded number of
// keys, and none of them is empty.
func FuzzAccessKeys(f *testing.F) {
	f.Add("a+b@c.d.e")
	f.Add(strings.Repeat("a.", 500) + "@" + strings.Repeat(".", 300))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		e := &eval{p: &Policy{opts: Options{Delimiter: "+-", MyOrigin: "o.test"}}}
		keys := e.hostKeys(s)
		if len(keys) > maxKeys {
			t.Fatalf("%d keys", len(keys))
		}
		for _, k := range keys {
			if k.Text == "" {
				t.Fatalf("an empty key of %q", s)
			}
		}
	})
}

func TestReplyCannotBeForged(t *testing.T) {
	p, log := newPolicy(t, Options{})
	s := stranger()
	s.Helo = "x\r\n250 ok"
	to("a\r\n250 2.0.0 Ok@else.test")(s)
	v := p.Rcpt(context.Background(), s)
	if v == nil || strings.ContainsAny(v.Reply(), "\r\n") {
		t.Errorf("reply is %q", v.Reply())
	}
	if strings.Count(log.String(), "\n") != 1 {
		t.Errorf("log is %q", log)
	}
}
