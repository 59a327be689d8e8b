package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheck holds each kind of problem with its place.
func TestCheck(t *testing.T) {
	cases := []struct{ name, main, master, want string }{
		{name: "clean", main: "myhostname = a.b\nsmtpd_banner = $myhostname $extra\nextra = x\n", master: "smtp inet n - y - - smtpd\n"},
		{name: "no assignment", main: "a.b\nmyhostname x\n", want: "/d/main.cf:1:4: missing '=' after attribute name: \"a.b\"|/d/main.cf:2:12: missing '=' after attribute name: \"myhostname x\""},
		{name: "misspelt", main: "\nsmptd_banner = x\n", want: "/d/main.cf:2:1: unknown parameter smptd_banner: the line has no effect"},
		{name: "bad bool", main: "biff =\n   maybe\n", want: "/d/main.cf:2:4: parameter biff: \"maybe\" is neither yes nor no"},
		{name: "bad reference", main: "myhostname = a.b\nmydestination = $myhostname,\n# comment\n  ${x y}\n", want: "/d/main.cf:4:3: parameter mydestination: attribute name syntax error at: \"...x>>> y\""},

		{name: "circle", main: "a = $b\nb = $a\nmyhostname = x\n", want: "/d/main.cf:1:5: parameter a: unreasonable macro call nesting: \"a\"|/d/main.cf:2:5: parameter b: unreasonable macro call nesting: \"b\""},
		{name: "unknown restriction", main: "smtpd_recipient_restrictions = permit_mynetworks,\n   reject_unauth_destnation, permit\n", want: "/d/main.cf:2:4: unknown restriction \"reject_unauth_destnation\" in smtpd_recipient_restrictions"},
		{name: "restriction without its word", main: "smtpd_sender_restrictions = check_sender_access\n", want: "/d/main.cf:1:29: restriction check_sender_access in smtpd_sender_restrictions: nothing follows it"},
		{name: "class", main: "smtpd_restriction_classes = strict\nstrict = reject_unknown_sender_domain, oops\nsmtpd_sender_restrictions = strict hash:/x\n", want: "/d/main.cf:2:40: unknown restriction \"oops\" in strict"},
		{name: "option", master: "smtp inet n - y - - smtpd\n  -o smtpd_tls_wrappermode=maybe\n  -o smtpd_bnner=x\n", want: "/d/master.cf:2:28: parameter smtpd_tls_wrappermode: \"maybe\" is neither yes nor no|/d/master.cf:3:6: unknown parameter smtpd_bnner: the line has no effect"},
		{name: "columns", master: "smtp inet n - y -\nx foo - - - - - y\nsmtp inet - - n - - smtpd\n", want: "/d/master.cf:1: bad field count: 6 of 8 columns|/d/master.cf:2: invalid type field \"foo\" in \"x foo - - - - - y\"|/d/master.cf:3: inet service smtp cannot be private"},
		{name: "word", main: "inet_protocols = ipv4, ipv7\nmynetworks_style = host\n", want: "/d/main.cf:1:18: parameter inet_protocols: unknown inet_protocols value \"ipv7\" in \"ipv4, ipv7\""},
		{name: "program", master: "smtp inet n - - - - smptd -v\n", want: "/d/master.cf:1:21: service smtp: no program smptd is known: nothing answers there"},
		{name: "table of parameters", main: "virtual_alias_maps = proxy:ldap:people\npeople_search_base = x\npeople_nonsense = x\n", want: "/d/main.cf:3:1: unknown parameter people_nonsense: the line has no effect"},
		{name: "overridden", main: "biff = no\nbiff = yes\n", want: "/d/main.cf:2: overriding earlier entry: biff=no"},
		{name: "leading space", main: "  biff = no\n", want: "/d/main.cf:1: logical line must not start with whitespace: \"  biff = no\""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range CheckText("/d", c.main, c.master) {
				if p.Severity != SeverityRefused {
					got = append(got, p.String())
				}
			}
			if g := strings.Join(got, "|"); g != c.want {
				t.Errorf("\ngot  %s\nwant %s", g, c.want)
			}
		})
	}
}

// TestCheckFiles holds what is said of files that are not there.
func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	if list := Check(dir); len(list) != 1 || list[0].File != filepath.Join(dir, "main.cf") || Stop(list, true) == nil {
		t.Error(list)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("biff = no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if list := Check(dir); len(list) != 1 || list[0].File != filepath.Join(dir, "master.cf") {
		t.Error(list)
	}
}

// TestCheckRefused holds when a parameter that is not built stops a start. It
// takes the table's own rows, since they are built one after the other.
func TestCheckRefused(t *testing.T) {
	var p Param
	for _, q := range Params() {
		if q.State == StateRefused && q.Type == TypeString && q.Default == "" {
			p = q
		}
	}
	if p.Name == "" {
		t.Skip("every such parameter is built")
	}
	for _, c := range []struct {
		main string
		want int
	}{{p.Name + " = hash:/x\n", 1}, {p.Name + " =\n", 0}, {"foo = $" + p.Name + "\n" + p.Name + " = $bar\nbar =\n", 0}} {
		list := CheckText("/d", c.main, "postscreen inet n - y - - postscreen\nx unix - - - - - tlsproxy\ny inet n - y - - qmqpd\nsmtp inet n - - - - smtpd -o smtpd_milters=x -o smtpd_proxy_filter=x -o masquerade_domains=x\n")
		n := 0
		for _, q := range list {
			if q.Severity == SeverityRefused && q.Name == p.Name {
				n++
			}
		}
		if n != c.want {
			t.Errorf("%q: %v", c.main, list)
		}
		if n > 0 && (Stop(list, false) == nil || !strings.Contains(Stop(list, false).Error(), p.Name+" is not built")) {
			t.Errorf("%q does not stop", c.main)
		}
	}
	for main, want := range map[string]Severity{"mailbox_delivery_lock = dotlock, fcntl": "", "mailbox_delivery_lock = flock": SeverityRefused,
		"postscreen_dnsbl_threshold = x": SeverityWarning, "daemon_timeout = x": SeverityWarning, "queue_run_delay = x": SeverityError, "queue_run_delay = 5m": "",
		"nobodys = ${": SeverityWarning} {
		var got Severity
		for _, q := range CheckText("/d", main, "") {
			got = q.Severity
		}
		if got != want {
			t.Errorf("%s: %q, not %q", main, got, want)
		}
	}
}

// TestSuggestRestriction holds what is meant by words that are near a restriction.
func TestSuggestRestriction(t *testing.T) {
	for word, want := range map[string]string{"reject_unath_destination": "reject_unauth_destination", "permit_mynetwork": "permit_mynetworks",
		"REJECT_UNKNOWN_SENDER": "reject_unknown_sender_domain", "strct": "strict", "qqqq": "", "reject_": "reject"} {
		if got := suggestRestriction(word, map[string]bool{"strict": true}); got != want {
			t.Errorf("%s: %q, not %q", word, got, want)
		}
	}
}

// TestCheckMissing: a file that is not there, or cannot be read, is told once and by name.
func TestCheckMissing(t *testing.T) {
	dir := t.TempDir()
	problems := func() (texts []string) {
		for _, p := range Check(dir) {
			texts = append(texts, p.String())
		}
		return texts
	}
	if got := problems(); len(got) != 1 || !strings.Contains(got[0], dir+"/main.cf: ") {
		t.Errorf("without files: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := problems(); len(got) != 1 || got[0] != dir+"/master.cf: cannot be read: no such file or directory" {
		t.Errorf("without master.cf: %q", got)
	}
}
