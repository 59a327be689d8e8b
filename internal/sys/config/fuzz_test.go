package config

import (
	"strings"
	"testing"

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
	for name, want := range map[string]string{"smtpd_bannr": "smtpd_banner", "my_destination": "mydestination", "zzzzzzzzzzzz": ""} {
		if got := Suggest(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
