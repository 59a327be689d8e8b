package mail

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestAddress(t *testing.T) {
	for _, tc := range []struct{ in, local, domain, quoted string }{
		{"bob@example.org", "bob", "example.org", "bob@example.org"},
		{"bob", "bob", "", "bob"},
		{"", "", "", ""},
		{"a b@example.org", "a b", "example.org", `"a b"@example.org`},
		{`q"u\o@x`, `q"u\o`, "x", `"q\"u\\o"@x`},
		{"a@b@c", "a@b", "c", `"a@b"@c`},
		{".dot@x", ".dot", "x", `".dot"@x`},
		{"a..b@x", "a..b", "x", `"a..b"@x`},
		{"@x", "", "x", `""@x`},
		{"grüße@x", "grüße", "x", "grüße@x"},
	} {
		a := Address(tc.in)
		if a.Local() != tc.local || a.Domain() != tc.domain || a.Quoted() != tc.quoted {
			t.Errorf("%q: local %q domain %q quoted %q", tc.in, a.Local(), a.Domain(), a.Quoted())
		}
	}
}

func TestXtextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		x := Xtext(s)
		for i := 0; i < len(x); i++ {
			if x[i] <= ' ' || x[i] >= 0x7f || x[i] == '=' {
				t.Fatalf("%q holds %q", x, x[i])
			}
		}
		if got, err := Unxtext(x); err != nil || got != s {
			t.Fatalf("%q -> %q -> %q (%v)", s, x, got, err)
		}
	})
}

func TestUnxtextRefuses(t *testing.T) {
	for _, s := range []string{"+", "+4", "+zz", "+0a", "a b", "a=b", "a\nb", "\x00", "\x80", "+4+4"} {
		if got, err := Unxtext(s); err == nil && s != "+0a" {
			t.Errorf("%q gave %q", s, got)
		}
	}
}

func TestNotify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := Notify(rapid.IntRange(1, 15).Draw(t, "n"))
		got, err := ParseNotify(n.String())
		if want := n; n&NotifyNever != 0 {
			want = NotifyNever
			if got != want || err != nil {
				t.Fatal(got, err)
			}
		} else if got != want || err != nil {
			t.Fatal(got, err)
		}
	})
	for _, s := range []string{"", "NEVER,SUCCESS", "SUCCESS,SUCCESS", "foo", "SUCCESS,"} {
		if _, err := ParseNotify(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestAsStatus(t *testing.T) {
	b := Bounce("5.1.1", "no such user %q", "x")
	if got := AsStatus(fmt.Errorf("while x: %w", b)); got != b {
		t.Errorf("%+v", got)
	}
	if got := AsStatus(errors.New("disk on fire")); !got.Temporary() || got.Code != "4.3.0" {
		t.Errorf("an unclassified error must be temporary: %+v", got)
	}
	if AsStatus(nil).Outcome != Sent {
		t.Error("nil is success")
	}
}
