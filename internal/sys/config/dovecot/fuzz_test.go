package dovecot

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzParse feeds the reader of dovecot.conf and every accessor.
func FuzzParse(f *testing.F) {
	for _, s := range []string{sampleDovecot, "a = \"b\\\" # c\n", "service x {\n inet_listener y {\n port = 1 \\\n 2\n}\n}\n", "auth default {\n socket listen {\n client {\n path = x\n}\n}\n passdb pam {\n}\n}\n",
		"protocols = imaps\nlisten = a:1\nprotocol imap {\n listen = x:1\n}\n", "plugin {\n a = $a $b\n}\nmail_plugins = $mail_plugins $mail_plugins\n", "!include {a,{b,c}}\n", "ssl_protocols = !SSLv2\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "!include") && strings.ContainsAny(text, "*?[") {
			return // must not read the machine
		}
		d, err := Parse(filepath.Join("/nonexistent", "dovecot.conf"), text)
		if err != nil {
			return
		}
		d.Passdbs()
		d.Userdbs()
		d.Namespaces()
		d.Services()
		d.For(Context{Protocol: "imap", LocalName: "a.b"}).Merged()
	})
}

// TestTable holds that the table is sorted and that its defaults are of their types.
func TestTable(t *testing.T) {
	last := ""
	for row := range strings.Lines(table) {
		p := parseRow(strings.TrimSuffix(row, "\n"))
		if key := rowKey(p); key <= last {
			t.Errorf("%s stands after %s", key, last)
		} else {
			last = key
		}
		if q, ok := Lookup(p.Block, p.Name); !ok || q.Default != p.Default {
			t.Errorf("%s %s is not found", p.Block, p.Name)
		}
		if value, err := p.canonical(p.Default); p.Type != "alias" && (err != nil || value != p.Default) && p.Default != "" {
			t.Errorf("%s %s: default %q is %q, %v", p.Block, p.Name, p.Default, value, err)
		}
	}
	if _, err := BuiltinServices(); err != nil {
		t.Error(err)
	}
}

// TestLimits: a file of many different names ends in an error, soon.
func TestLimits(t *testing.T) {
	for _, head := range []string{"plugin {\n", "dovecot_config_version = 2.4.0\n", ""} {
		var b strings.Builder
		b.WriteString(head)
		for i := range 200_000 {
			if head == "" {
				fmt.Fprintf(&b, "service s%d {\n}\n", i)
			} else {
				fmt.Fprintf(&b, "sieve_x%d = 1\n", i)
			}
		}
		begin := time.Now()
		if _, err := Parse("/d", b.String()); err == nil || !strings.Contains(err.Error(), "too many se") {
			t.Errorf("%q: %v", head, err)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%q takes %v", head, d)
		}
	}
}
