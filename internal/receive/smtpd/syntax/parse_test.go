package syntax

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

func TestParsePath(t *testing.T) {
	for _, tt := range []struct {
		in, out string
		ok      bool
	}{
		{"<a@b.test>", "a@b.test", true},
		{`<"a b"@c.test>`, "a b@c.test", true},
		{`<"a@b"@c>`, "a@b@c", true},
		{`<"a\"b"@c>`, `a"b@c`, true},
		{"<@x,@y:a@b>", "a@b", true},
		{"< a @ b >", "a@b", true},
		{"<a(c)@b>", "a@b", true},
		{"a@b", "a@b", true},
		{"a@b>", "a@b", true},
		{"<postmaster>", "postmaster", true},
		{"<a@[127.0.0.1]>", "a@[127.0.0.1]", true},
		{"<a@[IPv6:::1]>", "a@[IPv6:::1]", true},
		{"<a@b.test.>", "a@b.test", true},
		{"<a@b c>", "", false},
		{"<a b@c>", "", false},
		{"<@b>", "", false},
		{`<""@b>`, "", false},
		{"<>", "", false},
		{"<a@>", "", false},
		{"<a@b,c@d>", "", false},
		{"<a@b;>", "", false},
		{"<a@-b>", "", false},
		{"<a@1.2.3.4>", "", false},
		{"<a@[x]>", "", false},
		{"<a@[IPv6:1.2.3.4]>", "", false},
		{"<-a@b>", "", false},
		{"<a@b<c>", "", false},
		{"<a@b\x01>", "", false},
		{"<a(@b>", "", false},
		{"<a@b\\>", "", false},
		{"<a@[b>", "", false},
		{"<@a:@b:c@d>", "", false},
		{"<@a:>", "", false},
	} {
		got, ok := ParsePath(tt.in, PathRules{})
		if string(got) != tt.out || ok != tt.ok {
			t.Errorf("ParsePath(%q) = %q, %v; want %q, %v", tt.in, got, ok, tt.out, tt.ok)
		}
	}
	if a, ok := ParsePath("<>", PathRules{Empty: true}); a != "" || !ok {
		t.Errorf("null sender: %q %v", a, ok)
	}
}

// TestPathProperty: what an address is written as reads as that address.
func TestPathProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.StringMatching(`[a-z"\\ @.%!(),:;<>\[\]ä]{1,12}`).Draw(t, "local")
		a := mail.Address(local + "@ok.test")
		got, ok := ParsePath("<"+a.Quoted()+">", PathRules{})
		if !ok || got != a {
			t.Fatalf("%q written as %q reads %q, %v", a, a.Quoted(), got, ok)
		}
	})
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{"a+2Bb": "a+b", "a+3Db": "a=b", "abc": "abc", "+C3+A4": "ä"} {
		if got, ok := Unxtext(in); got != want || !ok {
			t.Errorf("Unxtext(%q) = %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{"+", "+2", "a+zz", "a+0A", "a+0D+0AMAIL", "a+00", "+7F", "a\x01", "+FF"} {
		if got, ok := Unxtext(in); ok {
			t.Errorf("Unxtext(%q) = %q", in, got)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<a@b>", `<"a b"@c>`, "<@a,@b:c@d>", "<a(b)@c>", `<a\b@c>`, "<a@[1.2.3.4]>", "<<>>", `"`, "<a@b", "[\x1b]", "<[a@b]>", "<a@[\x01]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := ParsePath(s, PathRules{UTF8: true})
		if !ok {
			return
		}
		if a == "" || strings.IndexFunc(string(a), IsControl) >= 0 {
			t.Fatalf("%q became %q", s, a)
		}
		// What was read once reads the same again, in the form we pass on; an
		// address without a domain may turn out to hold one.
		if !strings.Contains(string(a), "@") {
			return
		}
		b, ok := ParsePath("<"+a.Quoted()+">", PathRules{UTF8: true})
		if !ok || b != a {
			t.Fatalf("%q became %q, written %q, which became %q %v", s, a, a.Quoted(), b, ok)
		}
	})
}

func FuzzTokenize(f *testing.F) {
	for _, s := range []string{"MAIL FROM:<a b@c> SIZE=1", `RCPT TO:<"a>b"@c>`, "EHLO x", ": : :", "<", `"\`, "a\x00b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		cmd := Tokenize(line)
		if len(cmd.Args) > maxArgs {
			t.Fatalf("%d words", len(cmd.Args))
		}
		for _, a := range cmd.Args {
			if a.Text == "" || strings.ContainsRune(a.Text, 0) || !strings.Contains(string(line), a.Text) {
				t.Fatalf("%q holds the word %q", line, a.Text)
			}
		}
	})
}
