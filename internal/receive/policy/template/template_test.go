package template

import (
	"strings"
	"testing"
)

func values(name string) (string, bool) {
	v, ok := map[string]string{"a": "1", "empty": "", "evil": "x\r\ny\x00é"}[name]
	return v, ok
}

func TestExpand(t *testing.T) {
	for _, tt := range []struct {
		template, want string
		ok             bool
	}{
		{"plain", "plain", true}, {"$a${a}$(a)", "111", true}, {"$$a", "$a", true}, {"${a?yes}${a:no}", "yes", true},
		{"${empty?yes}${empty:no}", "no", true}, {"${a?{y}:{n}}${empty?{y}:{n}}", "yn", true}, {"${a?{${empty?{y}:{$a}}}}", "1", true},
		{"$evil", "x__y___", true}, {"$nothing.", ".", false}, {"${nothing}", "", false}, {"${a", "", false}, {"${}", "", false}, {"$", "$", true}, {"${a*x}", "", false},
	} {
		got, ok := Expand(tt.template, "", values)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%q: %q %v, want %q", tt.template, got, ok, tt.want)
		}
	}
	if got, _ := Expand("$a$evil", Unescape(`x\61`), values); got != "1x______" {
		t.Errorf("filter: %q", got)
	}
}

func TestFooter(t *testing.T) {
	same := func(s string) string { return s }
	for _, tt := range []struct{ answer, footer, want string }{
		{"550 5.1.1 no", "call us", "550-5.1.1 no\r\n550 5.1.1 call us"},
		{"550 5.1.1 no", `\c, call us`, "550 5.1.1 no, call us"},
		{"450 no", `one\ntwo\n`, "450-no\r\n450-one\r\n450 two"},
	} {
		if got := Footer(tt.answer, tt.footer, same); got != tt.want {
			t.Errorf("%q: %q", tt.footer, got)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("${a?{${b:{c}}}:{d}}$(a)", "550 5.1.1 x")
	f.Add(strings.Repeat("${a?", 100), "4")
	f.Add("0", "0\r\n00")
	f.Fuzz(func(t *testing.T, s, answer string) {
		got, ok := Expand(s, "", values)
		if ok && strings.Contains(got, "\x00") && !strings.Contains(s, "\x00") {
			t.Fatalf("%q lets a NUL through", s)
		}
		if len(answer) > 4 {
			for line := range strings.SplitSeq(Footer(answer, s, func(l string) string { return l }), "\r\n") {
				if strings.ContainsAny(line[3:], "\r\n") && !strings.ContainsAny(answer[:3], "\r\n") {
					t.Fatalf("%q is two lines", line)
				}
			}
		}
	})
}
