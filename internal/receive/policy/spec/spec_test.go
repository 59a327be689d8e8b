package spec

import (
	"slices"
	"testing"
)

func TestCertSearch(t *testing.T) {
	both := []CertKey{Fingerprint, KeyFingerprint}
	for arg, want := range map[string][]CertKey{
		"hash:/x": both, "{ hash:/x }": both, "{hash:/x, {search_order = pubkey_fingerprint}}": {KeyFingerprint},
		"{ inline:{ a=b, c=d } { search_order=cert_fingerprint, pubkey_fingerprint } }": both,
		"{hash:/x {search_order=}}": nil, "{hash:/x {search_order=subject_cn}}": nil, "{hash:/x {other=1}}": nil,
	} {
		_, got, err := CertSearch(arg)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%s: %v %v", arg, got, err)
		}
	}
	if spec, _, _ := CertSearch("{ inline:{ a=b, c=d } { search_order=cert_fingerprint } }"); spec != "inline:{ a=b, c=d }" {
		t.Errorf("table is %q", spec)
	}
}

func TestIsField(t *testing.T) {
	for s, want := range map[string]bool{"X-A: b": true, "X:": true, "X : y": true, "x": false, ": y": false, "a b: c": false, "é: x": false, "": false} {
		if IsField(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func FuzzCertSearch(f *testing.F) {
	f.Add("{ hash:/x, { search_order = cert_fingerprint } }")
	f.Add("{{{{")
	f.Fuzz(func(t *testing.T, s string) { CertSearch(s) })
}
