package syntax

import "testing"

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%", "a", true}, {"%/%", "a/b", true}, {"a*", "a/b", true},
		{"a%", "a/b", false}, {"*b", "a/b", true}, {"a/%", "a/b", true}, {"", "", true}, {"x", "", false},
		{"%%", "ab", true}, {"*%*", "a/b/c", true}, {"a*c*e", "abcde", true}, {"a*c*e", "abcd", false},
	} {
		if glob(c.pattern, c.name, '/') != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.name, !c.want)
		}
	}
}
