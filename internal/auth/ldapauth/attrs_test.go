package ldapauth

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

func TestFields(t *testing.T) {
	e := Entry{DN: "x", Values: map[string][]string{"homedirectory": {"/h/%u"}, "uid": {"ann", "two"}, "quota": {"7"}}}
	upper := func(s string) string { return "<" + s + ">" }
	for text, want := range map[string]map[string]string{
		"homeDirectory=home, uid=user,none=x": {"home": "/h/%u", "user": "ann"},
		"uid":                                 {"uid": "ann"},
		"quota=quota_rule=*:bytes=%$M":        {"quota_rule": "<*:bytes=>7<M>"},
		"=mail=maildir:%{ldap:homeDirectory}/M,uid=user": {"mail": "<maildir:>/h/%u</M>", "user": "ann"},
		"=x=%{ldap:none:fall}":                           {"x": "<>fall"},
		"=home=/srv/%{ldap:a,b}, uid=user":               {"home": "</srv/>", "user": "ann"},
		" , =":                                           {},
	} {
		if got := Fields(ParseAttrs(text), e, upper); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if got := Wanted(ParseAttrs("uid=user, =mail=%{ldap:Dir:x}/%{ldap:b}")); !slices.Equal(got, []string{"uid", "dir", "b"}) {
		t.Error(got)
	}
}

func FuzzAttrs(f *testing.F) {
	f.Add("homeDirectory=home, =mail=%{ldap:x:y}%$")
	f.Add("a={,=%{ldap:")
	f.Fuzz(func(t *testing.T, text string) {
		e := Entry{Values: map[string][]string{"a": {"v"}}}
		Wanted(ParseAttrs(text))
		_ = fmt.Sprint(Fields(ParseAttrs(text), e, func(s string) string { return s }))
	})
}
