package remote

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

// TestVerifyTarget is smtp_address_verify_target: a probe may go as far as DATA.
func TestVerifyTarget(t *testing.T) {
	probe := mail.Envelope{VerifyOnly: true}
	head := []string{"s 220 x", "c EHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 2.1.5 known", "c RCPT", "s 550 5.1.1 unknown"}
	s := play(t, "127.0.0.1:0", append(head, "c QUIT")...)
	r := send(t, Options{VerifyTarget: "rcpt"}, at(s), "x\n", probe, "a@b.test", "c@d.test")
	want(t, r[0], mail.Sent, "2.1.5", "known")
	s = play(t, "127.0.0.1:0", append(head, "c DATA", "s 554 5.7.1 none of them")...)
	r = send(t, Options{VerifyTarget: "data"}, at(s), "x\n", probe, "a@b.test", "c@d.test")
	want(t, r[0], mail.Bounced, "5.7.1", "none of them (in reply to DATA command)")
	want(t, r[1], mail.Bounced, "5.1.1", "unknown (in reply to RCPT TO command)")
	s = play(t, "127.0.0.1:0", append(head, "c DATA", "s 354 go")...)
	r = send(t, Options{VerifyTarget: "data"}, at(s), "x\n", probe, "a@b.test", "c@d.test")
	want(t, r[0], mail.Sent, "2.1.5", "known")
}

func TestDummyAuth(t *testing.T) {
	for dummy, line := range map[bool]string{true: "c MAIL FROM:<sender@example.org> AUTH=<>", false: "c MAIL FROM:<sender@example.org>\r\n"} {
		s := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250-x|250 AUTH PLAIN", line, "s 550 5.7.1 enough")
		want(t, send(t, Options{DummyAuth: dummy}, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Bounced, "5.7.1", "enough")
	}
}

// TestAuthCache is smtp_sasl_auth_cache_name: a password that was refused is not offered
// again until it changes, or the time is over.
func TestAuthCache(t *testing.T) {
	s := scripted(t, nil, "s 220 x", "c EHLO", "s 250-x|250 AUTH PLAIN", "c ", "s 535 5.7.8 bad password", "c QUIT")
	_, port, _ := net.SplitHostPort(s.addr)
	for name, c := range map[string]struct {
		remember bool
		keep     time.Duration
		second   string // password at the second mail
		tries    int
		text     string
	}{
		"remembered":  {true, time.Hour, "pass", 1, "SASL [CACHED] authentication failed; server smart.test[127.0.0.1] said: 535 5.7.8 bad password"},
		"another one": {true, time.Hour, "word", 2, "SASL authentication failed; server"},
		"too old":     {true, time.Nanosecond, "pass", 2, "SASL authentication failed; server"},
		"off":         {false, time.Hour, "pass", 2, "SASL authentication failed; server"},
	} {
		table := list{"smart.test": "user:pass"}
		sasl := &SASL{Passwords: table, SoftBounce: true, RememberRefused: c.remember, CacheTime: c.keep}
		tr := New(Options{SASL: sasl, Hostname: "me.test", Log: maillog.To(io.Discard, maillog.Options{}), Resolver: zone(t, "smart.test. 60 IN A 127.0.0.1")})
		before := 0
		_, said := s.seen()
		before = count(said, "AUTH")
		var last mail.Result
		for _, password := range []string{"pass", c.second} {
			table["smart.test"] = "user:" + password
			tr.Deliver(t.Context(), &mail.Job{Env: &mail.Envelope{Sender: "a@b.test"}, Nexthop: "[smart.test]:" + port,
				Rcpts: []mail.Rcpt{{Addr: "x@y.test"}}, Report: func(_ int, r mail.Result) { last = r }})
		}
		_, said = s.seen()
		if got := count(said, "AUTH") - before; got != c.tries || !strings.Contains(last.Status.Text, c.text) || last.Status.Code != "4.7.8" {
			t.Errorf("%s: %d logins; %s %s", name, got, last.Status.Code, last.Status.Text)
		}
	}
}

func count(list []string, prefix string) (n int) {
	for _, s := range list {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// TestTokens: OAuth 2.0 with a token of the table, or of a file that is read each time.
func TestTokens(t *testing.T) {
	files := map[string]string{"/plain": "tok.en\n", "/json": `{"access_token": "tok.en", "expiry": "33000000000"}`, "/old": `{"access_token": "tok.en", "expiry": 1000000000}`, "/empty": "\n"}
	read := func(path string) ([]byte, error) {
		if s, ok := files[path]; ok {
			return []byte(s), nil
		}
		return nil, os.ErrNotExist
	}
	all := func(names ...string) func(context.Context, string) (bool, error) {
		return func(_ context.Context, m string) (bool, error) {
			for _, n := range names {
				if strings.EqualFold(n, m) {
					return true, nil
				}
			}
			return false, nil
		}
	}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const x = "user=u@x.test\x01auth=Bearer tok.en\x01\x01"
	for name, c := range map[string]struct {
		offer, secret string
		allowed       func(context.Context, string) (bool, error)
		line, text    string
	}{
		"of the table":       {"PLAIN XOAUTH2", "tok.en", all("xoauth2"), "AUTH XOAUTH2 " + b64(x), ""},
		"of a file":          {"XOAUTH2", "/plain", nil, "AUTH XOAUTH2 " + b64(x), ""},
		"of a JSON file":     {"XOAUTH2", "/json", nil, "AUTH XOAUTH2 " + b64(x), ""},
		"OAUTHBEARER":        {"XOAUTH2 OAUTHBEARER", "/plain", nil, "AUTH OAUTHBEARER " + b64("n,a=u@x.test,\x01auth=Bearer tok.en\x01\x01"), ""},
		"too old":            {"XOAUTH2", "/old", nil, "", "Temporary authentication failure"},
		"empty":              {"XOAUTH2", "/empty", nil, "", "Temporary authentication failure"},
		"no file":            {"XOAUTH2", "/none", nil, "", "Temporary authentication failure"},
		"a password is none": {"XOAUTH2", "pass", nil, "", "no mechanism available"},
		"passwords first":    {"XOAUTH2 PLAIN", "pass", nil, "AUTH PLAIN " + b64("\x00u@x.test\x00pass"), ""},
	} {
		lines := []string{"s 220 x", "c EHLO", "s 250-x|250 AUTH " + c.offer}
		if c.line != "" {
			lines = append(lines, "c "+c.line, "s 235 ok", "c MAIL", "s 450 4.1.1 later")
		}
		s := scripted(t, nil, lines...)
		r, log := deliver(t, Options{SASL: &SASL{Passwords: list{"smart.test": "u@x.test:" + c.secret}, Allowed: c.allowed, ReadToken: read}}, s, "smart.test")
		if want := "later"; c.text == "" && !strings.Contains(r.Status.Text, want) || !strings.Contains(r.Status.Text, c.text) {
			t.Errorf("%s: %+v", name, r.Status)
		}
		if strings.Contains(log+r.Status.Text, "tok.en") {
			t.Errorf("%s: the token is told: %s", name, log)
		}
	}
	// The reason of a refusal comes as a challenge.
	s := scripted(t, nil, "s 220 x", "c EHLO", "s 250-x|250 AUTH XOAUTH2", "c AUTH XOAUTH2", "s 334 "+b64(`{"status":"401"}`), "c ", "s 535 5.7.8 no", "c QUIT")
	r, _ := deliver(t, Options{SASL: &SASL{Passwords: list{"smart.test": "u:/plain"}, ReadToken: read, SoftBounce: true}}, s, "smart.test")
	if r.Status.Code != "4.7.8" || !strings.Contains(r.Status.Text, "535 5.7.8 no") {
		t.Errorf("%+v", r.Status)
	}
}

func TestAuthzID(t *testing.T) {
	for yes, first := range map[bool]string{true: "u\x00u\x00p", false: "\x00u\x00p"} {
		s := scripted(t, nil, script2("s 220 x", "c EHLO", "s 250-x|250 AUTH PLAIN", "c AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte(first)), "s 235 ok")...)
		r, _ := deliver(t, Options{SASL: &SASL{Passwords: list{"smart.test": "u:p"}, AuthzID: yes}}, s, "smart.test")
		if !strings.Contains(r.Status.Text, "later") {
			t.Errorf("%v: %+v", yes, r.Status)
		}
	}
}

// TestCNAMEOverrides: with it the password is that of the host behind the alias.
func TestCNAMEOverrides(t *testing.T) {
	for yes, line := range map[bool]string{true: "c AUTH PLAIN", false: "c MAIL"} {
		s := scripted(t, nil, "s 220 x", "c EHLO", "s 250-x|250 AUTH PLAIN", line, "s 450 4.1.1 later", "c QUIT")
		_, port, _ := net.SplitHostPort(s.addr)
		o := Options{CNAMEOverrides: yes, SASL: &SASL{Passwords: list{"real.test": "u:p"}, SoftBounce: true}, Protocols: []string{"ipv4"},
			Resolver: zone(t, "alias.test. 60 IN CNAME real.test.", "alias.test. 60 IN A 127.0.0.1", "real.test. 60 IN A 127.0.0.1")}
		send(t, o, "[alias.test]:"+port, "x\n", mail.Envelope{}, "a@b.test")
		if n, said := s.seen(); n != 1 || len(said) < 2 || !strings.HasPrefix(said[1], line[2:]) {
			t.Errorf("%v: %q", yes, said)
		}
	}
}

// TestCacheOptions: which connections are kept.
func TestCacheOptions(t *testing.T) {
	never := func(string) (bool, error) { return false, errors.New("the table is away") }
	some := func(name string) (bool, error) { return name == "127.0.0.1", nil }
	for name, c := range map[string]struct {
		o     CacheOptions
		conns int
	}{
		"on demand":     {CacheOptions{}, 2}, // the first is alone
		"not on demand": {CacheOptions{NotOnDemand: true}, 4},
		"always":        {CacheOptions{NotOnDemand: true, Always: some}, 1},
		"broken table":  {CacheOptions{NotOnDemand: true, Always: never}, 4},
		"worn by uses":  {CacheOptions{NotOnDemand: true, Always: some, Uses: 2}, 2},
		"worn by age":   {CacheOptions{NotOnDemand: true, Always: some, Age: time.Nanosecond}, 4},
	} {
		lines := []string{"s 220 x", "c EHLO", "s 250 x"}
		for range 4 {
			lines = append(lines, "c MAIL", "s 550 5.0.0 no", "c ", "s 250 x") // RSET or QUIT
		}
		s := scripted(t, nil, lines...)
		tr := New(Options{Cache: c.o, Hostname: "me.test", Log: maillog.To(io.Discard, maillog.Options{})})
		for range 4 {
			tr.Deliver(t.Context(), &mail.Job{Env: &mail.Envelope{Sender: "a@b.test"}, Nexthop: "[127.0.0.1]:" + s.addr[len("127.0.0.1:"):],
				Rcpts: []mail.Rcpt{{Addr: "x@y.test"}}, Report: func(int, mail.Result) {}})
		}
		if n, _ := s.seen(); n != c.conns {
			t.Errorf("%s: %d connections, not %d", name, n, c.conns)
		}
	}
}

// TestPatience is smtp_per_request_deadline with smtp_min_data_rate.
func TestPatience(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	s := &session{t: &Transport{opts: Options{DataXferTimeout: time.Minute, MinRate: 500, Deadline: true}}, conn: &deadlines{Conn: a}}
	renew := s.patience(30_000) // a minute at 500 a second
	now := time.Now()
	renew()
	renew()
	first := s.conn.(*deadlines).write
	if d := first.Sub(now); d < 119*time.Second || d > 121*time.Second {
		t.Errorf("%v", d)
	}
	if renew(); s.conn.(*deadlines).write != first {
		t.Error("the deadline moves")
	}
	s.t.opts.Deadline = false
	if renew(); s.conn.(*deadlines).write == first {
		t.Error("the time limit of a part is not renewed")
	}
}

// deadlines notes the write deadline.
type deadlines struct {
	net.Conn
	write time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }

// TestAssumeFinal: a host without DSN is the end of the way, with lmtp_assume_final.
func TestAssumeFinal(t *testing.T) {
	for yes, action := range map[bool]string{true: "", false: mail.Relayed} {
		s := play(t, "127.0.0.1:0", "s 220 x", "c LHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 354 x", "d", "s 250 2.0.0 one")
		r := send(t, Options{LMTP: true, AssumeFinal: yes}, "inet:127.0.0.1:"+port(s), "x\n", mail.Envelope{}, "one@b.test")[0]
		if r.Status.Action != action || r.Status.Outcome != mail.Sent {
			t.Errorf("%v: %+v", yes, r.Status)
		}
	}
}

// TestLMTPFallback is lmtp_fallback_relay.
func TestLMTPFallback(t *testing.T) {
	s := play(t, "127.0.0.1:0", "s 220 x", "c LHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 354 x", "d", "s 250 2.0.0 one")
	o := Options{LMTP: true, Fallback: []string{"inet:127.0.0.1:" + port(s)}}
	want(t, send(t, o, "inet:127.0.0.1:1", "x\n", mail.Envelope{}, "one@b.test")[0], mail.Sent, "2.0.0", "one")
}

// TestInsecureMX is smtp_tls_dane_insecure_mx_policy.
func TestInsecureMX(t *testing.T) {
	tlsa := "3 1 1 " + strings.Repeat("00", 32)
	for policy, want := range map[string]level{"dane": levelDane, "may": levelMay, "encrypt": levelEncrypt, "": levelDane} {
		o := Options{DNSSupport: "dnssec", InsecureMX: policy, TLSLevel: "dane", Hostname: "me", Log: maillog.To(io.Discard, maillog.Options{}),
			Resolver: zone(t, "+mx.test. 60 IN A 127.0.0.1", "+_25._tcp.mx.test. 60 IN TLSA "+tlsa)}
		tr := New(o)
		h := host{name: "mx.test", addr: netip.MustParseAddr("127.0.0.1"), port: "25", insecureMX: true}
		if p, err := tr.daneState(t.Context(), policyAt(levelDane), h); err != nil || p.level != want {
			t.Errorf("%s: %v %v", policy, p.level, err)
		}
		h.insecureMX = false
		if p, err := tr.daneState(t.Context(), policyAt(levelDane), h); err != nil || p.level != levelDane {
			t.Errorf("%s, secure: %v %v", policy, p.level, err)
		}
	}
}

func policyAt(l level) policy { return policy{level: l} }

// TestNoteOffer is smtp_tls_note_starttls_offer.
func TestNoteOffer(t *testing.T) {
	for yes, n := range map[bool]int{true: 1, false: 0} {
		s := scripted(t, nil, script2("s 220 x", "c EHLO", "s 250-x|250 STARTTLS")...)
		if _, log := deliver(t, Options{NoteOffer: yes}, s, "smart.test"); strings.Count(log, "Host offered STARTTLS: [smart.test]") != n {
			t.Errorf("%v: %s", yes, log)
		}
	}
}

// TestRequireTLS: a message that asks for it goes over verified TLS to hosts that promise
// as much, and to others not at all: it comes back (RFC 8689 section 4.2.1).
func TestRequireTLS(t *testing.T) {
	ca := newAuthority(t)
	good, bad := ca.leaf(t, nil, "mx.d.test"), ca.leaf(t, nil, "other.test")
	roots := ca.pool()
	for name, c := range map[string]struct {
		offer   string
		forged  bool
		clear   bool
		mx      string // "+" protected by DNSSEC
		outcome mail.Outcome
		text    string
	}{
		"kept":          {offer: "REQUIRETLS", mx: "+", outcome: mail.Deferred, text: "later"},
		"not offered":   {offer: "SIZE", mx: "+", outcome: mail.Bounced, text: "REQUIRETLS is required, but was not offered by host mx.d.test"},
		"no STARTTLS":   {offer: "REQUIRETLS", clear: true, mx: "+", outcome: mail.Deferred, text: "TLS is required, but was not offered"},
		"forged":        {offer: "REQUIRETLS", forged: true, mx: "+", outcome: mail.Deferred, text: "Server certificate not verified"},
		"forged answer": {offer: "REQUIRETLS", outcome: mail.Bounced, text: "neither DNSSEC nor MTA-STS"},
	} {
		cert := good
		if c.forged {
			cert = bad
		}
		lines := []string{"s 220 x", "c EHLO", "s 250-x|250 STARTTLS", "c STARTTLS", "s 220 go", "t", "c ", "s 250-x|250 " + c.offer, "c MAIL FROM:<sender@example.org> REQUIRETLS", "s 450 4.1.1 later"}
		if c.clear {
			lines = []string{"s 220 x", "c EHLO", "s 250-x|250 " + c.offer, "c QUIT"}
		} else if c.outcome == mail.Bounced {
			lines = append(lines[:8:8], "c QUIT")
		}
		s := scripted(t, cert, lines...)
		_, port, _ := net.SplitHostPort(s.addr)
		o := Options{TLSLevel: "may", Roots: roots, Protocols: []string{"ipv4"}, Resolver: zone(t, c.mx+"d.test. 60 IN MX 1 mx.d.test.", "+mx.d.test. 60 IN A 127.0.0.1")}
		r := send(t, o, "d.test:"+port, "x\n", mail.Envelope{RequireTLS: true}, "a@d.test")[0]
		if r.Status.Outcome != c.outcome || !strings.Contains(r.Status.Text, c.text) || c.outcome == mail.Bounced && r.Status.Code != "5.7.30" {
			_, said := s.seen()
			t.Errorf("%s: %+v; said %q", name, r.Status, said)
		}
	}
	// The mailbox server on this machine is the end of the way.
	s := play(t, "127.0.0.1:0", "s 220 x", "c LHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 354 x", "d", "s 250 2.0.0 one")
	want(t, send(t, Options{LMTP: true}, "inet:127.0.0.1:"+port(s), "x\n", mail.Envelope{RequireTLS: true}, "one@b.test")[0], mail.Sent, "2.0.0", "one")
}

// TestNoMXAddress is smtp_defer_if_no_mx_address_found.
func TestNoMXAddress(t *testing.T) {
	for yes, code := range map[bool]string{true: "4.4.4", false: "5.4.4"} {
		r := send(t, Options{DeferIfNoMXFound: yes, Resolver: zone(t, "d.test. 60 IN MX 1 gone.test.")}, "d.test", "x\n", mail.Envelope{}, "a@d.test")[0]
		if r.Status.Code != code || r.Status.Temporary() != yes {
			t.Errorf("%v: %+v", yes, r.Status)
		}
	}
}
