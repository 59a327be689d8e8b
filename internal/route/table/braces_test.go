package table

import (
	"strings"
	"testing"
)

// TestBraces: rules in main.cf itself, as Postfix 3.7 reads them; answers and
// words are those of its postmap.
func TestBraces(t *testing.T) {
	for spec, want := range map[string]string{
		"cidr:{{1.2.3.4 a}, {1.2.0.0/16 b}}":        "1.2.3.4=a",
		"cidr:{ { 1.2.3.4  a }, { 1.2.0.0/16 b } }": "1.2.3.4=a",
		"cidr:{}":                                       "1.2.3.4!",
		"regexp:{{/^[^A-Z]/ Bogus}}":                    "1.2.3.4=Bogus",
		"cidr:{{!9.9.9.9 foo}}":                         "1.2.3.4=foo",
		"regexp:{{if /1/}, {/2/ two}, {endif}}":         "1.2.3.4=two",
		"pcre:{{/(1.2)/ $(1) {x} }}":                    "1.2.3.4=1.2 {x}",
		"cidr:{{bad x}, {1.2.3.4 ok}}":                  "1.2.3.4=ok",
		"cidr:{{# c},{1.2.3.4 a}}":                      "1.2.3.4=a",
		"cidr:{{1.2.3.4 a},\n{1.2.3.5 b}}":              "1.2.3.4=a",
		"unionmap:{cidr:{{1.2.3.4 a}},pcre:{{/^1/ b}}}": "1.2.3.4=a,b",
		"proxy:cidr:{{1.2.3.4 a}}":                      "1.2.3.4=a",
	} {
		if got := ask(t, spec, Options{Dir: "/x"}, "1.2.3.4"); got != want {
			t.Errorf("%s: %s, want %s", spec, got, want)
		}
		if f := Files(spec, Options{}); len(f) != 0 {
			t.Errorf("%s names files: %q", spec, f)
		}
	}
	for spec, want := range map[string]string{
		"cidr:{1.2.3.4 a}":        `cidr map: no '{' at start of text in "1.2.3.4"`,
		"cidr:{{1.2.3.4 a}":       `cidr map: missing '}' in "{{1.2.3.4 a}"`,
		"cidr:{{1.2.3.4 a} x}":    `cidr map: no '{' at start of text in "x"`,
		"cidr:{{1.2.3.4 a}}x":     `cidr map: syntax error after '}' in "{{1.2.3.4 a}}x"`,
		`regexp:{{/1\}/ x}}`:      `regexp map: syntax error after '}' in "{{/1\}/ x}}"`,
		"pcre:{{/a/ b}{/c/ d}}":   `pcre map: syntax error after '}'`,
		"texthash:{{1.2.3.4 a}}":  "no such file",
		"cidr: {{1.2.3.4 a}}":     "no such file",
		"regexp:{{/a/ b}, {/c/ d": "missing '}'",
	} {
		_, err := Open(spec, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
	tab, err := Open("cidr:{{1.2.3.4}}", Options{Dir: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	if p := tab.(Reporter).Problems(); len(p) != 1 || p[0] != "cidr map {{1.2.3.4}}, line 1: no lookup result: skipping this rule" {
		t.Errorf("%q", p)
	}
}
