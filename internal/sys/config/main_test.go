package config

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func parse(t *testing.T, text string) *Main {
	t.Helper()
	m, _, err := ParseMain("/etc/postfix", "/etc/postfix/main.cf", text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMainValues(t *testing.T) {
	cases := []struct{ name, text, param, want string }{
		{"continuation", "mydestination = a,\n b\n\tc\n", "mydestination", "a, b\tc"},
		{"comment inside", "mydestination = a,\n# no\n b\n   # no\n\n c\n", "mydestination", "a, b c"},
		{"last wins", "relayhost = a\nrelayhost = b\n", "relayhost", "b"},
		{"hash is text", "relayhost = a # b", "relayhost", "a # b"},
		{"equals in value", "relayhost = a = b", "relayhost", "a = b"},
		{"crlf", "relayhost = a\r\n\r\nmyhostname = b.c\r\n", "relayhost", "a"},
		{"default", "", "mail_owner", "postfix"},
		{"default refers", "data_directory = /d\n", "address_verify_map", "btree:/d/verify_cache"},
		{"three forms", "foo=x\nrelayhost = $foo ${foo} $(foo) $$foo ${nosuch} z\n", "relayhost", "x x x $foo  z"},
		{"conditions", "foo=x\nrelayhost = ${foo?yes} ${foo:no} ${bar?yes} ${bar:no}\n", "relayhost", "yes   no"},
		{"ternary", "foo=x\nrelayhost = ${foo?{A}:{B}} ${{$foo}=={x}?{eq}:{ne}} ${{1} < {2}?{lt}:{ge}}\n", "relayhost", "A eq lt"},
		{"numbers", "relayhost = ${{10} > {9}?{yes}:{no}} ${{b} > {ab}?yes:no}\n", "relayhost", "yes yes:no"},
		{"level", "compatibility_level = 3.6\nrelayhost = ${{$compatibility_level} >=level {3.5}?{new}:{old}}\n", "relayhost", "new"},
		{"stress", "stress=yes\n", "smtpd_timeout", "10s"},
		{"stress empty", "stress=\n", "smtpd_timeout", "300s"},
		{"service", "", "dovecot_destination_recipient_limit", "50"},
		{"raw", "mailbox_command = /x -a \"$EXTENSION\"\n", "mailbox_command", "/x -a \"$EXTENSION\""},
		{"mydomain", "myhostname = a.b.c\n", "mydomain", "b.c"},
		{"circle", "myhostname = mail.$mydomain\n", "myhostname", "mail."},
		{"circle of networks", "inet_interfaces = $mynetworks\n", "mynetworks", ""},
		{"myorigin", "myhostname = a.b.c\n", "myorigin", "a.b.c"},
		{"config directory", "", "config_directory", "/etc/postfix"},
		{"nul", "relayhost = a\x00b\n", "relayhost", "a"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := parse(t, c.text)
			if got, err := m.Lookup(c.param); got != c.want || err != nil {
				t.Errorf("%s = %q, %v; want %q", c.param, got, err, c.want)
			}
		})
	}
}

func TestMainErrors(t *testing.T) {
	_, _, err := ParseMain("/d", "/d/main.cf", "# x\n\nmydestination a\n")
	if err == nil || err.Error() != "/d/main.cf:3:15: missing '=' after attribute name: \"mydestination a\"" {
		t.Errorf("got %v", err)
	}
	if r := Report(err); !strings.Contains(r, "error: /d/main.cf:3:15:") || !strings.Contains(r, "\nhint: write \"name = value\"") {
		t.Errorf("report: %s", r)
	}
	for text, want := range map[string]string{
		"relayhost = $relayhost\n":  "/etc/postfix/main.cf:1: parameter relayhost: unreasonable macro call nesting: \"relayhost\"",
		"a=1\nrelayhost = ${x\n":    "/etc/postfix/main.cf:2: parameter relayhost: truncated macro reference: \"${x\"",
		"relayhost = ${a b}\n":      "/etc/postfix/main.cf:1: parameter relayhost: attribute name syntax error at: \"...a>>> b\"",
		"relayhost = a$\n":          "/etc/postfix/main.cf:1: parameter relayhost: empty macro name: \"a$\"",
		"relayhost = ${{a}~{b}?x}":  "/etc/postfix/main.cf:1: parameter relayhost: \"==\" or \"!=\"\" or \"<\"\" or \"<=\"\" or \">=\"\" or \">\" expected at: \"...a}>>>~{b}?x\"",
		"relayhost = ${a?{b}c:{d}}": "/etc/postfix/main.cf:1: parameter relayhost: \":\" expected at: \"...b}>>>c:{d}\"",
	} {
		if _, err := parse(t, text).Lookup("relayhost"); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestMainWarnings(t *testing.T) {
	_, w, err := ParseMain("/d", "/d/main.cf", "  x = a\nb = 1\nb = 1\nb = 2\n")
	if err != nil || len(w) != 2 {
		t.Fatal(w, err)
	}
	if w[0].Postfix != "/d/main.cf: logical line must not start with whitespace: \"  x = a\"" || w[0].Line != 1 {
		t.Errorf("%+v", w[0])
	}
	if w[1].Postfix != "/d/main.cf, line 4: overriding earlier entry: b=1" {
		t.Errorf("%+v", w[1])
	}
}

type options struct {
	Banner   string        `main:"smtpd_banner"`
	Helo     bool          `main:"smtpd_helo_required"`
	Limit    int64         `main:"message_size_limit"`
	Errors   int           `main:"smtpd_hard_error_limit"`
	Timeout  time.Duration `main:"smtpd_timeout"`
	Queue    time.Duration `main:"maximal_queue_lifetime"`
	Dest     []string      `main:"mydestination"`
	Checks   []string      `main:"smtpd_recipient_restrictions"`
	Untagged string
	Inner    struct {
		Owner string `main:"mail_owner"`
	}
}

func TestDecode(t *testing.T) {
	var o options
	m := parse(t, "myhostname = m.x.y\nmydestination = $myhostname, localhost\nsmtpd_helo_required = YES\nmaximal_queue_lifetime = 2\n"+
		"smtpd_recipient_restrictions = permit_mynetworks, { check_policy_service unix:x, timeout=1 }\n")
	if err := m.Decode(&o); err != nil {
		t.Fatal(err)
	}
	if o.Banner != "m.x.y ESMTP Postfix (Debian/GNU)" && o.Banner != "m.x.y ESMTP Postfix" || !o.Helo || o.Limit != 10240000 || o.Errors != 20 ||
		o.Timeout != 300*time.Second || o.Queue != 48*time.Hour || len(o.Dest) != 2 || len(o.Checks) != 2 || o.Inner.Owner != "postfix" {
		t.Errorf("%+v", o)
	}
	if err := m.With(Setting{Name: "smtpd_helo_required", Value: "no"}, Setting{Name: "myhostname", Value: "o"}).Decode(&o); err != nil || o.Helo || o.Dest[0] != "o" {
		t.Errorf("%v %+v", err, o)
	}
	if m.Get("myhostname") != "m.x.y" {
		t.Error("With changed its receiver")
	}
}

func TestDecodeErrors(t *testing.T) {
	var o options
	err := parse(t, "smtpd_helo_required = maybe\nmessage_size_limit = 10M\nsmtpd_timeout = 3x\nmail_owner =\nsmtpd_hard_error_limit = 0\n").Decode(&o)
	for _, want := range []string{":1: parameter smtpd_helo_required: \"maybe\" is neither yes nor no", ":2: parameter message_size_limit: bad numerical",
		":3: parameter smtpd_timeout: bad time", ":4: parameter mail_owner: bad string length 0 < 1", ":5: parameter smtpd_hard_error_limit: 0 is below"} {
		if err == nil || !strings.Contains(err.Error(), "/etc/postfix/main.cf"+want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if parse(t, "").Decode(&struct {
		X string `main:"no_such"`
	}{}) == nil {
		t.Error("a tag without a parameter decodes")
	}
}

func BenchmarkFiveNames(b *testing.B) {
	text := strings.Repeat("# a comment that is in the file\nsome_name = value\n", 100) + "myhostname = a.b.c\nqueue_directory = /q\n"
	b.ReportAllocs()
	for b.Loop() {
		m, _, err := ParseMain("/d", "/d/main.cf", text)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range [...]string{"queue_directory", "myhostname", "mail_owner", "syslog_name", "myorigin"} {
			m.Get(n)
		}
	}
}

// TestExpandChain holds that lines which double each other's values cost what
// they say and no more: 2^40 references end at the limit of length, at once, and
// what stays below it is expanded like any other value.
func TestExpandChain(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0 = x\n")
	for i := 1; i <= 40; i++ {
		fmt.Fprintf(&b, "a%d = $a%d${a%d?{$a%d}}\n", i, i-1, i-1, i-1)
	}
	m, _, err := ParseMain("/etc/postfix", "main.cf", b.String())
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 { // readers of one Main do not disturb each other
		group.Go(func() {
			if v := m.Get("a16"); v != strings.Repeat("x", 1<<16) {
				t.Errorf("a16 has %d bytes", len(v))
			}
			for i := 21; i <= 40; i++ {
				_, err := m.Lookup(fmt.Sprintf("a%d", i))
				if err == nil || !strings.Contains(err.Error(), "value grows past") {
					t.Errorf("a%d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
}

// TestExpandSteps holds that a long expansion counts its work by values and not
// by references: each value is expanded once.
func TestExpandSteps(t *testing.T) {
	asked := 0
	lookup := func(name string, _ bool) (string, bool) {
		asked++
		n, err := strconv.Atoi(name[1:])
		if err != nil || n == 0 {
			return "", err == nil
		}
		return strings.Repeat(fmt.Sprintf("$a%d", n-1), 4), true
	}
	if _, err := ExpandWith("$a90", lookup); err != nil {
		t.Fatal(err)
	}
	if asked > 100*manySteps {
		t.Errorf("%d names were asked for", asked)
	}
	_, err := ExpandWith("$a101", lookup)
	if err == nil || !strings.Contains(err.Error(), "unreasonable macro call nesting") {
		t.Errorf("a101: %v", err)
	}
	// A value that is known from a shallow place is too deep in a deep one.
	deep := func(name string, test bool) (string, bool) {
		if name == "both" {
			return strings.Repeat("$a50", 30) + "$b60", true
		}
		if name[0] == 'b' {
			n, _ := strconv.Atoi(name[1:])
			if n == 0 {
				return "$a50", true
			}
			return fmt.Sprintf("$b%d", n-1), true
		}
		return lookup(name, test)
	}
	if _, err = ExpandWith("$both", deep); err == nil || !strings.Contains(err.Error(), "unreasonable macro call nesting") {
		t.Errorf("both: %v", err)
	}
}
