package rewrite

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"packetboat/internal/mail"

	"pgregory.net/rapid"
)

// tables are the files behind the router of these tests.
var tables = map[string]string{
	"dests": "more.test extra.test\n",
	"transport": `slow.test slow:
.dots.test dots:gw
hop.test :[hophost]:26
user@slow.test special:uhop
u2+x@slow.test ext:
err.test error:5.1.2 no mail for this host
err2.test error:go away
va.test viatransport:
nullt.test :
local.more.test smtp:[1.2.3.4]
`,
	"virtual": `info@va.test alice
list@va.test alice, bob@far.test carol@va.test
comma@va.test alice, bob@far.test
carol@va.test info@va.test
loopa@va.test loopb@va.test
loopb@va.test loopa@va.test
self@va.test self@va.test, other@far.test
@cat.test catchall
@dom.test @far.test
front@va.test @far.test, carol@relay.test
behind@va.test carol@relay.test, @far.test
bare alice@relay.test
quoted@va.test "a b"@far.test
cmd@va.test "|/bin/false"
`,
	"vmail":     "bob@vm.test vm.test/bob\n",
	"relocated": "moved@far.test newplace@there\nmovedlocal nowhere\n",
	"aliases":   "root: alice\n\"a b\": alice\n",
}

func options(t testing.TB) Options {
	t.Helper()
	dir := t.TempDir()
	for name, text := range tables {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o := Defaults()
	o.Hostname, o.Domain, o.Origin = "mail.example.org", "example.org", "mail.example.org"
	o.Destinations = []string{"mail.example.org", "localhost", "localhost.example.org", filepath.Join(dir, "dests")}
	o.Interfaces = []string{"127.0.0.1", "192.0.2.1"}
	o.AliasDomains, o.MailboxDomains = []string{"va.test"}, []string{"vm.test"}
	o.RelayDomains = []string{"relay.test", ".sub.test"}
	hash := func(name string) []string { return []string{"hash:" + filepath.Join(dir, name)} }
	o.VirtualAliasMaps, o.MailboxMaps, o.TransportMaps, o.RelocatedMaps = hash("virtual"), hash("vmail"), hash("transport"), hash("relocated")
	o.SenderRelayhost = []string{"inline:{big@x.test=[bighost]:2525, {@y.test=DUNNO}}"}
	o.SenderTransport = []string{"inline:{spec@x.test=special:hop, {@y.test=othert:}}"}
	o.AliasMaps = hash("aliases")
	o.LocalMaps = append([]string{"inline:{alice=x, bob=x}"}, o.AliasMaps...)
	o.AppendDot, o.Delimiter = true, "+"
	return o
}

func router(t testing.TB, change func(*Options)) *Router {
	t.Helper()
	o := options(t)
	if change != nil {
		change(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOriginal holds every answer against that of trivial-rewrite(8).
func TestOriginal(t *testing.T) {
	r := router(t, nil)
	f, err := os.Open("testdata/resolve.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		col := strings.Split(sc.Text(), "\t")
		if len(col) != 7 {
			continue
		}
		n++
		canon := r.Canonical(mail.Address(col[1]))
		got := canon.Quoted()
		if strings.HasSuffix(string(canon), "@") {
			got += "@" // Quoted leaves an empty domain out
		}
		if want := strings.TrimSuffix(col[2], `""`); got != want && got != col[2] {
			t.Errorf("rewrite %q: %q, want %q", col[1], got, col[2])
		}
		rt, err := r.ResolveFrom(mail.Address(col[0]), mail.Address(col[1]))
		if col[3] == "!" {
			if err == nil || mail.AsStatus(err).Code != "5.1.3" {
				t.Errorf("resolve %q: %v %+v, want 5.1.3", col[1], err, rt)
			}
			continue
		}
		route := []string{rt.Class.String(), rt.Transport, rt.Nexthop, string(rt.Addr)}
		if err != nil || !slices.Equal(route, col[3:]) {
			t.Errorf("resolve %q from %q: %q %v\nwant %q", col[1], col[0], route, err, col[3:])
		}
	}
	if n < 80 {
		t.Errorf("only %d rows", n)
	}
}

func TestExpand(t *testing.T) {
	r := router(t, nil)
	for from, want := range map[string]string{
		"info@va.test":     "alice@mail.example.org",
		"comma@va.test":    "alice@mail.example.org bob@far.test",
		"info+ext@va.test": "alice+ext@mail.example.org",
		"carol@va.test":    "alice@mail.example.org",
		"self@va.test":     "self@va.test other@far.test",
		"x@cat.test":       "catchall@mail.example.org",
		"x+y@dom.test":     "x+y@far.test",
		"front@va.test":    "front@far.test carol@relay.test",
		"behind@va.test":   "carol@relay.test @far.test",
		"info+@va.test":    "alice+@mail.example.org",
		"bare":             "alice@relay.test",
		"bare@localhost":   "alice@relay.test",
		"bare@far.test":    "bare@far.test",
		"QUOTED@VA.test":   "a b@far.test",
		"cmd@va.test":      "|/bin/false@mail.example.org",
		"plain@far.test":   "plain@far.test",
	} {
		got, err := r.Expand(mail.Address(from))
		if err != nil || join(got) != want {
			t.Errorf("%s: %q %v, want %q", from, join(got), err, want)
		}
	}
}

func join(list []mail.Address) string {
	var s []string
	for _, a := range list {
		s = append(s, string(a))
	}
	return strings.Join(s, " ")
}

func TestExpandLimits(t *testing.T) {
	var warnings []string
	r := router(t, func(o *Options) {
		o.Warn = func(format string, _ ...any) { warnings = append(warnings, format) }
		o.RecursionLimit = 50
	})
	if _, err := r.Expand("loopa@va.test"); err == nil || mail.AsStatus(err).Code != "4.6.0" || !mail.AsStatus(err).Temporary() {
		t.Error(err)
	}
	r = router(t, func(o *Options) { o.ExpansionLimit = 1 })
	if _, err := r.Expand("comma@va.test"); err == nil {
		t.Error("no error for an alias with too many members")
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "map nesting") {
		t.Errorf("%q", warnings)
	}
}

func TestExists(t *testing.T) {
	r := router(t, nil)
	for _, c := range []struct {
		addr  string
		ok    bool
		table string
	}{
		{"alice@localhost", true, ""}, {"alice+x@mail.example.org", true, ""}, {"Root@localhost", true, ""},
		{"a b@localhost", true, ""}, {"nosuch@localhost", false, "local recipient table"},
		{"postmaster@localhost", true, ""}, {"postmaster@[127.0.0.1]", true, ""}, {"double-bounce@localhost", true, ""},
		{"bare@localhost", true, ""}, {"info@va.test", true, ""}, {"nosuch@va.test", false, "virtual alias table"},
		{"bob@vm.test", true, ""}, {"bob+x@vm.test", true, ""}, {"nosuch@vm.test", false, "virtual mailbox table"},
		{"any@relay.test", true, ""}, {"any@far.test", true, ""},
	} {
		ok, table, err := r.Exists(mail.Address(c.addr))
		if err != nil || ok != c.ok || table != c.table {
			t.Errorf("%s: %v %q %v", c.addr, ok, table, err)
		}
	}
	for addr, want := range map[string]string{"u@err.test": "5.1.2 no mail for this host", "u@err2.test": "5.0.0 go away",
		"moved@far.test": "5.1.6 User has moved to newplace@there"} {
		_, _, err := r.Exists(mail.Address(addr))
		if st := mail.AsStatus(err); st.Code+" "+st.Text != want {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// TestFailingTables: what cannot be found out is a deferral, never "unknown".
func TestFailingTables(t *testing.T) {
	fail := []string{"fail:x"}
	for name, change := range map[string]func(*Options){
		"mydestination":   func(o *Options) { o.Destinations = fail },
		"relay_domains":   func(o *Options) { o.RelayDomains = fail },
		"alias domains":   func(o *Options) { o.AliasDomains = fail },
		"mailbox domains": func(o *Options) { o.MailboxDomains = fail },
		"transport_maps":  func(o *Options) { o.TransportMaps = fail },
		"relocated_maps":  func(o *Options) { o.RelocatedMaps = fail },
		"virtual":         func(o *Options) { o.VirtualAliasMaps = fail },
		"relayhost":       func(o *Options) { o.SenderRelayhost = fail },
	} {
		r := router(t, change)
		ok, _, err := r.Exists("x@far.test")
		if err == nil || ok || !mail.AsStatus(err).Temporary() {
			t.Errorf("%s: %v %v", name, ok, err)
		}
	}
	r := router(t, func(o *Options) { o.LocalMaps = fail })
	if _, _, err := r.Exists("x@localhost"); err == nil || !mail.AsStatus(err).Temporary() {
		t.Error(err)
	}
	r = router(t, func(o *Options) { o.Destinations = fail })
	if _, err := r.Expand("bare@far.test"); err == nil {
		t.Error("Expand hid a failing mydestination")
	}
}

func TestRoute(t *testing.T) {
	r := router(t, nil)
	rc := mail.Rcpt{Addr: "a%far.test@localhost"}
	tr, hop, err := r.Route(&mail.Envelope{}, &rc)
	if tr != "smtp" || hop != "far.test" || err != nil || rc.Addr != "a@far.test" || rc.Orig != "a%far.test@localhost" {
		t.Errorf("%s %s %v %+v", tr, hop, err, rc)
	}
	rc = mail.Rcpt{Addr: "a@far.test"}
	if tr, hop, _ = r.Route(&mail.Envelope{Filter: "amavis:[127.0.0.1]:10024"}, &rc); tr != "amavis" || hop != "[127.0.0.1]:10024" {
		t.Error(tr, hop)
	}
	for next, want := range map[string]string{"": "far.test", "[hub]": "[hub]"} {
		r := router(t, func(o *Options) { o.FilterNexthop = next })
		if tr, hop, _ = r.Route(&mail.Envelope{Filter: "amavis:"}, &rc); tr != "amavis" || hop != want {
			t.Error(tr, hop)
		}
	}
	rc = mail.Rcpt{Addr: "double-bounce@mail.example.org"}
	if tr, _, _ = r.Route(&mail.Envelope{}, &rc); tr != "discard" {
		t.Error(tr)
	}
	rc = mail.Rcpt{Addr: "-f@far.test"}
	if _, _, err = r.Route(&mail.Envelope{}, &rc); err == nil || err.Error() != "bad address syntax" {
		t.Error(err)
	}
}

func TestOwnInterfaces(t *testing.T) {
	r := router(t, func(o *Options) {
		o.Interfaces = []string{"all"}
		o.Own = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("2001:db8::5")} }
	})
	if rt, err := r.Resolve("u@[IPv6:2001:db8::5]"); err != nil || rt.Class != Local {
		t.Errorf("%+v %v", rt, err)
	}
	if rt, err := r.Resolve("u@[2001:db8::6]"); err != nil || rt.Class == Local {
		t.Errorf("%+v %v", rt, err)
	}
}

// TestForeignOrigin: on a null client a bare name is a user of $myorigin.
func TestForeignOrigin(t *testing.T) {
	r := router(t, func(o *Options) { o.Origin = "far.test" })
	if rt, err := r.Resolve("alice"); err != nil || rt.Class != Default || rt.Addr != "alice@far.test" {
		t.Errorf("%+v %v", rt, err)
	}
}

func TestUnknownType(t *testing.T) {
	o := options(t)
	o.TransportMaps = []string{"mysql:/etc/x.cf"}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "mysql") || !strings.Contains(err.Error(), "transport_maps") {
		t.Error(err)
	}
}

// TestResolveAgain: an address that was resolved resolves to itself.
func TestResolveAgain(t *testing.T) {
	r := router(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.StringMatching(`[a-c@%!.:,\[\] "]{0,12}(@(localhost|far\.test|va\.test))?`).Draw(t, "address")
		rt, err := r.Resolve(mail.Address(a))
		if err != nil || strings.HasPrefix(string(rt.Addr), "@") {
			return
		}
		again, err := r.Resolve(rt.Addr)
		if err != nil || again.Addr != rt.Addr || again.Transport != rt.Transport {
			t.Fatalf("%q: %+v, then %+v %v", a, rt, again, err)
		}
	})
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"a@b", "@a:b@c", "a%b!c@localhost", "x@[1.2.3.4]", "", "@", "\"a\"@b..", "a@localhost%localhost@localhost"} {
		f.Add(s)
	}
	r := router(f, nil)
	f.Fuzz(func(t *testing.T, s string) {
		r.Canonical(mail.Address(s))
		if rt, err := r.Resolve(mail.Address(s)); err == nil && !strings.Contains(string(rt.Addr), "@") {
			t.Errorf("%q: %+v", s, rt)
		}
		r.Expand(mail.Address(s))
		r.Exists(mail.Address(s))
	})
}

// TestExtension: what is put behind another local part keeps its delimiter, and is
// put there only where propagate_unmatched_extensions says so (mail_addr_map(3)).
func TestExtension(t *testing.T) {
	for propagate, want := range map[string]string{"virtual": "alice-x@mail.example.org user+y@far.test", "canonical": "alice@mail.example.org user@far.test"} {
		r := router(t, func(o *Options) {
			o.Delimiter, o.Propagate = "+-", []string{propagate}
			o.VirtualAliasMaps = []string{"inline:{ {info@va.test = alice} {user@va.test = @far.test} }"}
		})
		var got []string
		for _, a := range []mail.Address{"info-x@va.test", "user+y@va.test"} {
			list, err := r.Expand(a)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, join(list))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", propagate, got, want)
		}
	}
}

// TestCanonicalMaps: one kind of table after the other, each until nothing changes.
func TestCanonicalMaps(t *testing.T) {
	r := router(t, func(o *Options) {
		o.RcptCanonical = []string{"inline:{ {a@far.test = b@far.test} {b@far.test = c@far.test} {x@far.test = x@far.test} }"}
		o.CanonicalMaps = []string{"inline:{ {c@far.test = d@far.test} {a@far.test = no@far.test} {e@far.test = f@far.test} {f@far.test = e@far.test} }"}
	})
	for from, want := range map[mail.Address]mail.Address{"a@far.test": "d@far.test", "x@far.test": "x@far.test", "q@far.test": "q@far.test", "e@far.test": "e@far.test"} {
		if got, err := r.CanonicalMaps(from); got != want || err != nil {
			t.Errorf("%s: %s %v", from, got, err)
		}
	}
	r.o.RcptClasses = nil
	if got, _ := r.CanonicalMaps("a@far.test"); got != "no@far.test" {
		t.Error(got)
	}
}
