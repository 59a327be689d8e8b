package where

import (
	"os"
	"path/filepath"
	"testing"

	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
)

// TestWord holds that words of a list are found on the line where they stand,
// over comments and lines that go on, and repeated ones one after the other.
func TestWord(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "main.cf")
	text := "# first\nmyhostname = a.test\nsmtpd_client_restrictions =\n  permit_mynetworks,\n# permit\n\n\treject permit\n  reject\nmydestination = $myhostname b.test\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range []int{4, 7, 7, 8} {
		if p := Word(m, "smtpd_client_restrictions", n); p.Line != line || p.File != path {
			t.Errorf("word %d: %+v, want line %d", n, p, line)
		}
	}
	if p := Word(m, "mydestination", 0); p.Line != 9 {
		t.Errorf("what a name stands for: %+v", p)
	}
	if p := Word(m, "mydestination", 7); p.Line != 9 {
		t.Errorf("no such word: %+v", p)
	}
	if p := Of(m, "relayhost"); p.File != "" || p.Short() != "relayhost (default)" {
		t.Errorf("a default: %+v", p)
	}
}

// TestEntry holds that the line is found that a table answers from, in each kind
// of source.
func TestEntry(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		kind, text, key, value string
		line                   int
		o                      table.Options
	}{
		{"hash", "# a\n\na 1\nb 2\n 3\nb 4\n", "b", "2 3", 4, table.Options{}},
		{"hash", "a 1\nb 2\n", "c", "3", 0, table.Options{}},
		{"hash", "a 1\nb 2\n", "b", "other", 0, table.Options{}},
		{"hash", "x: y\nroot: ann,\n bob\n", "root", "ann, bob", 2, table.Options{Alias: true}},
		{"regexp", "/^a/ 1\nif /b/\n/c/ 2\nendif\n/./ 3\n", "bc", "2", 3, table.Options{}},
		{"pcre", "/^(a+)$/ got $1\n/./ 3\n", "aa", "got aa", 1, table.Options{}},
		{"pcre", "/^(a+)$/ got $1\n\n/./ 3\n", "q", "3", 3, table.Options{}},
		{"cidr", "10.0.0.0/8 1\n192.0.2.0/24 2\n0.0.0.0/0 3\n", "192.0.2.7", "2", 2, table.Options{}},
	} {
		path := filepath.Join(dir, "table")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if file, line := Entry("proxy:"+c.kind+":"+path, c.key, c.value, c.o); line != c.line || file != path {
			t.Errorf("%s %q %q: %s:%d, want line %d", c.kind, c.text, c.key, file, line, c.line)
		}
	}
	if file, line := Entry("static:x", "a", "x", table.Options{}); file != "" || line != 0 {
		t.Errorf("a table without a source: %s:%d", file, line)
	}
}

// TestPrintable holds that nothing gets to a terminal that it would obey.
func TestPrintable(t *testing.T) {
	if got := Printable("a\x1b[2J\u009b\xffé\n"); got != "a?[2J??é?" {
		t.Errorf("%q", got)
	}
}
