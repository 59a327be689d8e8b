package maillog

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	var out bytes.Buffer
	l := To(&out, Options{Host: "mail"})
	l.Program("smtpd").Info("connect from %s", "localhost[127.0.0.1]")
	want := fmt.Sprintf(`^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d mail postfix/smtpd\[%d\]: connect from localhost\[127\.0\.0\.1\]\n$`, os.Getpid())
	if !regexp.MustCompile(want).MatchString(out.String()) {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	To(&out, Options{Host: "mail", Name: "dovecot", Bare: true}).Program("imap-login: ").Warn("x")
	if !strings.HasSuffix(out.String(), " mail dovecot: imap-login: warning: x\n") {
		t.Errorf("%q", out.String())
	}
}

// TestForgery holds that no text of a stranger makes a second line or a
// terminal sequence, and that a line has an end.
func TestForgery(t *testing.T) {
	var out bytes.Buffer
	To(&out, Options{Host: "mail"}).Program("smtpd").Info("helo=<%s>", "x\nNov 23 14:06:06 mail postfix/smtpd[1]: \x1b[2Jconnect\x00\x7f"+strings.Repeat("y", 1<<20))
	s := out.String()
	if strings.Count(s, "\n") != 1 || strings.ContainsAny(s, "\x1b\x00\x7f") || len(s) > maxLine+100 {
		t.Errorf("%d bytes, %d lines", len(s), strings.Count(s, "\n"))
	}
}

// TestPrintable: what a terminal obeys goes, what people read stays.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "Grüße 世界 🚤": "Grüße 世界 🚤", "a\tb\rc": "a?b?c", "\x9b31m": "?31m", "\u009b31m": "??31m",
		"\xff\xfe": "??", "x\xe4\xb8": "x??", "a\u2028b": "a???b", "\ufffd": "\ufffd",
	} {
		if got := string(Printable([]byte("head\n"+in), 5, 100)); got != "head\n"+want {
			t.Errorf("%q: %q, want %q", in, got[5:], want)
		}
	}
	if got := string(Printable([]byte("世界"), 0, 4)); got != "世?" {
		t.Errorf("cut: %q", got)
	}
}

func BenchmarkLine(b *testing.B) {
	g := To(io.Discard, Options{Host: "mail"}).Program("smtpd")
	b.ReportAllocs()
	for b.Loop() {
		g.Info("%s: client=%s", "0904091", "localhost[127.0.0.1]")
	}
}

// TestFacility: the number in front of a line for syslog is the facility's.
func TestFacility(t *testing.T) {
	for name, want := range map[string]string{"": "<22>", "mail": "<22>", "LOCAL7": "<190>", "daemon": "<30>"} {
		l, err := Open(Options{Facility: name})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(l.head(nil, sevInfo, "")); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := Open(Options{Facility: "nonsense"}); err == nil {
		t.Error("a facility that nobody knows was taken")
	}
}
