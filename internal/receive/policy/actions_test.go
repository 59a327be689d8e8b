package policy

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/greylist"
)

// TestActions: what tables ask for is collected for intake, in one transaction.
func TestActions(t *testing.T) {
	tables["hash:/actions"] = fakeTable{"hold@here.test": "HOLD", "filter@here.test": "FILTER smtp:x", "redir@here.test": "REDIRECT a@b",
		"bcc@here.test": "BCC c@d", "pre@here.test": "PREPEND X-A: b", "gone@here.test": "DISCARD", "bad@here.test": "PREPEND nothing"}
	p, _ := newPolicy(t, Options{Recipient: words("check_recipient_access hash:/actions")})
	s := stranger()
	for _, to := range []mail.Address{"hold@here.test", "filter@here.test", "redir@here.test", "bcc@here.test", "bcc@here.test", "pre@here.test", "bad@here.test"} {
		s.Rcpt = &to
		if v := p.Rcpt(context.Background(), s); v != nil {
			t.Fatal(v.Reply())
		}
	}
	a := s.Actions
	if !a.Hold || a.Filter != "smtp:x" || a.Redirect != "a@b" || !slices.Equal(a.BCC, []mail.Address{"c@d", "c@d"}) ||
		!slices.Equal(a.Prepend, []string{"X-A: b"}) || a.Discard {
		t.Errorf("%+v", a)
	}
	to := mail.Address("gone@here.test")
	s.Rcpt = &to
	p.Rcpt(context.Background(), s)
	nobody := mail.Address("nobody@here.test")
	s.Rcpt = &nobody
	if v := p.Rcpt(context.Background(), s); v != nil || !s.Actions.Discard {
		t.Errorf("after DISCARD: %v %+v", v, s.Actions)
	}
	s.ResetMail()
	if s.Actions.Discard || s.Actions.Hold {
		t.Error("the next message inherits them")
	}
}

// statusRouter tells of accounts that take no mail.
type statusRouter struct{ fakeRouter }

func (statusRouter) Exists(_ context.Context, a mail.Address) (bool, error) {
	switch a.Local() {
	case "full":
		return false, mail.Bounce("5.2.2", "mailbox is full").WithReply(552)
	case "nearly":
		return false, mail.Defer("4.2.2", "mailbox is full").WithReply(452)
	case "off":
		return false, mail.Bounce("5.2.1", "account is disabled")
	}
	return true, nil
}

// TestAccounts: who is over quota or disabled is refused at RCPT.
func TestAccounts(t *testing.T) {
	p, _ := newPolicy(t, Options{})
	p.deps.Router = statusRouter{}
	for who, want := range map[mail.Address]string{
		"full@here.test":   "552 5.2.2 <full@here.test>: Recipient address rejected: mailbox is full",
		"nearly@here.test": "452 4.2.2 <nearly@here.test>: Recipient address rejected: mailbox is full",
		"off@here.test":    "550 5.2.1 <off@here.test>: Recipient address rejected: account is disabled",
		"bob@here.test":    "",
	} {
		s := stranger()
		to(who)(s)
		expect(t, p.Rcpt(context.Background(), s), want)
	}
}

type fakeVerifier map[mail.Address]*mail.Status

func (f fakeVerifier) Query(_ context.Context, a mail.Address) (*mail.Status, error) {
	if a == "error@here.test" {
		return nil, errors.New("no")
	}
	return f[a], nil
}

// TestUnverified is compared with what smtpd_check(8) of Postfix 3.7 says.
func TestUnverified(t *testing.T) {
	f := fakeVerifier{"good@here.test": mail.OK("2.0.0", "fine"), "bad@here.test": mail.Bounce("5.1.1", "no such"), "slow@here.test": mail.Defer("4.0.0", "later")}
	for _, tt := range []struct {
		o    Options
		who  mail.Address
		want string
	}{
		{Options{}, "good@here.test", ""},
		{Options{}, "bad@here.test", "450 4.1.1 <bad@here.test>: Recipient address rejected: unverified address: no such"},
		{Options{Codes: Codes{RcptUnverified: 550}}, "bad@here.test", "550 5.1.1 <bad@here.test>: Recipient address rejected: undeliverable address: no such"},
		{Options{Codes: Codes{RcptUnverified: 550}, RcptReason: "go away"}, "bad@here.test", "550 5.1.1 <bad@here.test>: Recipient address rejected: undeliverable address: go away"},
		{Options{Codes: Codes{RcptUnverified: 250}}, "bad@here.test", ""},
		{Options{}, "slow@here.test", "450 4.1.1 <slow@here.test>: Recipient address rejected: unverified address: later"},
		{Options{}, "new@here.test", "450 4.1.1 <new@here.test>: Recipient address rejected: unverified address: Address verification in progress"},
		{Options{RcptTempfail: "defer"}, "error@here.test", "450 4.1.1 <error@here.test>: Recipient address rejected: address verification problem"},
		{Options{Codes: Codes{RcptProbing: 250}}, "new@here.test", ""},
	} {
		tt.o.Recipient = words("reject_unverified_recipient")
		tt.o.Polls = Polls{Count: 2, Delay: time.Millisecond}
		p, _ := newPolicy(t, tt.o)
		p.deps.Verify = f
		s := stranger()
		to(tt.who)(s)
		expect(t, p.Rcpt(context.Background(), s), tt.want)
	}
	p, _ := newPolicy(t, Options{Recipient: words("reject_unverified_sender"), Polls: Polls{Count: 1}, Codes: Codes{FromUnverified: 550}})
	p.deps.Verify = f
	s := stranger()
	from("bad@here.test")(s)
	expect(t, p.Rcpt(context.Background(), s), "550 5.1.7 <bad@here.test>: Sender address rejected: undeliverable address: no such")
}

func TestCertificates(t *testing.T) {
	tables["hash:/certs"] = fakeTable{"AA:BB": "OK", "CC:DD": "REJECT no key", "EE:FF": "x"}
	for _, tt := range []struct {
		list string
		set  func(*Session)
		want string
	}{
		{"permit_tls_clientcerts reject", func(s *Session) { s.TLS, s.Fingerprint = true, "AA:BB" }, ""},
		{"permit_tls_clientcerts reject", func(s *Session) { s.TLS, s.Fingerprint, s.PubkeyFingerprint = true, "11:22", "EE:FF" }, ""},
		{"permit_tls_clientcerts reject", func(s *Session) { s.TLS, s.Fingerprint, s.Verified = true, "11:22", true }, "554*"},
		{"permit_tls_all_clientcerts reject", func(s *Session) { s.TLS, s.Fingerprint, s.Verified = true, "11:22", true }, ""},
		{"permit_tls_all_clientcerts reject", func(s *Session) { s.TLS, s.Fingerprint = true, "11:22" }, "554*"},
		{"permit_tls_clientcerts reject", func(s *Session) { s.Fingerprint = "AA:BB" }, "554*"},
		{"check_ccert_access hash:/certs reject", func(s *Session) { s.TLS, s.Fingerprint = true, "AA:BB" }, ""},
		{"check_ccert_access hash:/certs", func(s *Session) { s.TLS, s.Fingerprint, s.PubkeyFingerprint, s.Subject = true, "1", "CC:DD", "who" },
			"554 5.7.1 <who>: Client certificate rejected: no key"},
		{"check_ccert_access hash:/certs", nil, ""},
	} {
		p, _ := newPolicy(t, Options{Recipient: words(tt.list), RelayCerts: words("hash:/certs"), AskCert: true})
		s := stranger()
		if tt.set != nil {
			tt.set(s)
		}
		expect(t, p.Rcpt(context.Background(), s), tt.want)
	}
}

// TestGreylist: a stranger waits; who is known, or is permitted by name, does not.
func TestGreylist(t *testing.T) {
	ask := func(o Options, set func(*Session)) *Verdict {
		o.Greylist = true
		o.GreyExempt = words("192.0.2.0/24 .spared.test")
		p, _ := newPolicy(t, o)
		p.deps.Grey = greylist.New(greylist.Options{Text: "Greylisted for %r"}, "", nil)
		s := stranger()
		if set != nil {
			set(s)
		}
		return p.Rcpt(context.Background(), s)
	}
	const wait = "450 4.2.0 <bob@here.test>: Recipient address rejected: Greylisted for here.test"
	expect(t, ask(Options{}, nil), wait)
	expect(t, ask(Options{Recipient: words("permit")}, nil), wait)
	expect(t, ask(Options{}, ip("10.0.0.1")), "")
	expect(t, ask(Options{}, ip("192.0.2.7")), "")
	expect(t, ask(Options{}, func(s *Session) { s.Name = "a.spared.test" }), "")
	expect(t, ask(Options{}, func(s *Session) { s.User = "alice" }), "")
	expect(t, ask(Options{}, func(s *Session) { s.Where = "VRFY" }), "")
	expect(t, ask(Options{Recipient: words("check_sender_access hash:/a")}, from("x@good.test")), "")
	expect(t, ask(Options{}, to("nobody@here.test")), "550*")
}

// TestNetworkTables: mynetworks may hold tables and names.
func TestNetworkTables(t *testing.T) {
	tables["hash:/nets"] = fakeTable{"198.51.100.1": "x", "trusted.test": "x"}
	p, _ := newPolicy(t, Options{MyNetworks: words("!10.9.0.0/16 10.0.0.0/8 hash:/nets .inside.test")})
	for _, tt := range []struct {
		name, addr string
		want       bool
	}{
		{"x", "10.1.1.1", true}, {"x", "10.9.1.1", false}, {"x", "198.51.100.1", true}, {"trusted.test", "1.2.3.4", true},
		{"a.inside.test", "1.2.3.4", true}, {"unknown", "1.2.3.4", false},
	} {
		if ok, err := p.local.Match(context.Background(), tt.name, netip.MustParseAddr(tt.addr)); ok != tt.want || err != nil {
			t.Errorf("%s[%s]: %v %v", tt.name, tt.addr, ok, err)
		}
	}
	tables["hash:/nets2"] = tables["hash:/broken"]
	p, log := newPolicy(t, Options{MyNetworks: words("hash:/nets2")})
	expect(t, p.Rcpt(context.Background(), stranger()), "451 4.3.0 <bob@here.test>: Temporary lookup failure")
	if !strings.Contains(log.String(), "mynetworks") {
		t.Errorf("log is %q", log)
	}
}

func TestOwnAddresses(t *testing.T) {
	p, _ := newPolicy(t, Options{Recipient: words("permit_inet_interfaces reject")})
	p.own = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("1.2.3.4")} }
	expect(t, p.Rcpt(context.Background(), stranger()), "")
	s := stranger()
	ip("1.2.3.5")(s)
	expect(t, p.Rcpt(context.Background(), s), "554*")
}

// TestQuestionCannotBeForged: no value of a client's begins an attribute.
func TestQuestionCannotBeForged(t *testing.T) {
	p, _ := newPolicy(t, Options{})
	s := stranger()
	s.Helo = "x\nsasl_username=root\r\n\n"
	e := p.eval(s, nil)
	q := string(e.question("ctx"))
	if strings.Count(q, "sasl_username=") != 2 || strings.Contains(q, "\nsasl_username=root") || strings.Count(q, "\n\n") != 1 || !strings.HasSuffix(q, "\n\n") {
		t.Errorf("%q", q)
	}
}
