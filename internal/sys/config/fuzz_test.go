package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// FuzzMain feeds the reader of main.cf and the expansion of every value.
func FuzzMain(f *testing.F) {
	for _, s := range []string{"", "a=b\n", "a = b,\n#\n  c\n", "  a\n", "a\n", "a = $a ${b?{c}:{d}} ${{1}<={2}?x:y}\n", "relayhost = ${$(}\n",
		"mydomain = $myhostname\nmyhostname = $mydomain\n", "inet_interfaces=$mynetworks\nmynetworks = $inet_interfaces\n", "a=\x00\r\n", "x = ${{\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, _, err := ParseMain("/d", "/d/main.cf", text)
		if err != nil {
			return
		}
		for _, s := range m.Settings() {
			if s.Name != "myorigin" { // may name a file
				m.Lookup(s.Name)
			}
			References(s.Value, func(string) {})
			if strings.IndexByte(s.Value, '/') < 0 {
				m.CheckValue(s.Name)
			}
			Fields(s.Value)
		}
		var o options
		if !strings.Contains(text, "/") {
			m.Decode(&o)
		}
	})
}

// FuzzMaster feeds the reader of master.cf.
func FuzzMaster(f *testing.F) {
	for _, s := range []string{"smtp inet n - y - - smtpd\n -o {a = b}\n -vo c=d\n", "x unix - - - 60? 1 pipe argv={a b} {", "a b c", "[::1]:25 inet n - - - - smtpd -o", "a pass - - - - - b --\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, _, _ := ParseMaster("/d/master.cf", text)
		for i := range list {
			list[i].HostPort()
		}
	})
}

// FuzzPatterns feeds the splitter of lists, but never lets it open files.
func FuzzPatterns(f *testing.F) {
	f.Add("a, !b {c d} hash:x")
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.Contains(text, "/") {
			Patterns(text)
		}
	})
}

// TestMainRoundTrip holds that what is written as name = value is read back.
func TestMainRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z][a-z0-9_]{0,20}`).Draw(t, "name")
		words := rapid.SliceOfN(rapid.StringMatching(`[!-~]{1,12}`), 0, 6).Draw(t, "words")
		var text strings.Builder
		text.WriteString("# before\n" + name + " =")
		for _, w := range words {
			text.WriteString(rapid.SampledFrom([]string{" ", "\n ", "\n# inside\n\t", "\n\n  "}).Draw(t, "space"))
			if w[0] == '#' {
				w = "x" + w
			}
			text.WriteString(w)
		}
		text.WriteString("\nother = 1\n")
		m, warns, err := ParseMain("/d", "/d/main.cf", text.String())
		if err != nil {
			t.Fatal(err, warns)
		}
		value, ok := m.Raw(name)
		want := len(words)
		if name == "other" {
			value, want = "1", 1
		}
		if got := strings.Fields(value); !ok || len(got) != want {
			t.Fatalf("%q: got %q", text.String(), value)
		}
	})
}

// TestTable holds that the table is sorted, so that every name is found, and
// that every default can be expanded and read.
func TestTable(t *testing.T) {
	m := parse(t, "")
	last := ""
	for row := range strings.Lines(table) {
		p := parseRow(row)
		if p.Name <= last {
			t.Errorf("%s stands after %s", p.Name, last)
		}
		last = p.Name
		if q, ok := LookupParam(p.Name); !ok || q.Default != p.Default {
			t.Errorf("%s is not found", p.Name)
		}
		if strings.HasPrefix(p.Name, "*") || p.Type == TypeMatch {
			continue
		}
		if err := m.CheckValue(p.Name); err != nil && p.Name != "debugger_command" {
			t.Errorf("default of %s: %v", p.Name, err)
		}
	}
}

func TestSuggest(t *testing.T) {
	for name, want := range map[string]string{"smtpd_bannr": "smtpd_banner", "smtdp_banner": "smtpd_banner", "smtpd_sasl_application_name": "smtpd_sasl_path", "my_destination": "mydestination", "zzzzzzzzzzzz": ""} {
		if got := Suggest(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// FuzzCheck feeds the checker of both files, which must end, name places that
// are in the files, and not open anything but what lists name.
func FuzzCheck(f *testing.F) {
	f.Add("a\nb = ${\n", "smtp inet n - - - - smtpd -o { a = \n")
	f.Add("smtpd_client_restrictions = check_client_access\n hash:x oops, { check_policy_service\n", "x y\n")
	f.Add("smtpd_restriction_classes = a\na = a b ${c?{d}:{e}}\nc = $a\n", "a unix - - - - - b -vo smtpd_helo_restrictions=x,{y z}\n")
	f.Add("virtual_alias_maps = pipemap:{ldap:a,{b:c}}} proxy:proxy:\nmyhostname = \xff\x00\r\n \t= x\n", "\n#\n \n")
	f.Add("milter_protocol = x\nqueue_run_delay = 99999999999999999999\nmydestination = !!, !\n", "smtp inet n - - - - smtpd -o milter_protocol=7 -o smtpd_milters=x\n")
	f.Fuzz(func(t *testing.T, main, master string) {
		if strings.Contains(main+master, "/") { // may name a file
			return
		}
		for _, p := range CheckText("d", main, master) {
			text := main
			if p.File == "d/master.cf" {
				text = master
			}
			if lines := strings.Count(text, "\n") + 1; p.Line > lines || p.Line < 0 || p.Col < 0 {
				t.Errorf("%+v: there are %d lines", p, lines)
			}
			_ = p.String()
		}
	})
}

// TestCheckEnds holds that the time of a check grows with the file only.
func TestCheckEnds(t *testing.T) {
	var b strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&b, "name%d = $name%d ${name%d?{x}:{y}}\nmilter_x%d =\n  a\n", i, i+1, i+2, i)
	}
	long := "smtpd_recipient_restrictions = " + strings.Repeat("permit_mynetworks,\n oops", 4000) + "\nmynetworks = " + strings.Repeat("10.0.0.1, ", 100_000) + "\n"
	began := time.Now()
	list := CheckText("d", b.String()+long, strings.Repeat("smtp inet n - - - - smtpd -o smtpd_milters=x -o milter_protocol=9\n", 500))
	if d := time.Since(began); d > 10*time.Second || len(list) < 4000 {
		t.Errorf("%v for %d problems", d, len(list))
	}
}
