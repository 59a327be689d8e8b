package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestHelp holds that help names every command, once, and nothing else.
func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if code := dispatch([]string{"mailadm", "help"}, nil, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit %d, %s", code, &errs)
	}
	left := commands()
	for _, s := range summaries() {
		if left[s[0]] == nil {
			t.Errorf("%s is no command, or stands there twice", s[0])
		}
		delete(left, s[0])
		if !strings.Contains(out.String(), "\n  "+s[0]+" ") || s[1] == "" {
			t.Errorf("help does not tell of %s", s[0])
		}
	}
	for name := range left {
		t.Errorf("help leaves out %s", name)
	}
}

// TestDispatchRoots holds that the commands of this house are found by their
// first argument and that what is unknown is an error of usage.
func TestDispatchRoots(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"mailadm", "check", "--help"}, 0, "usage: mailadm check"},
		{[]string{"mailadm", "explain", "--help"}, 0, "usage: mailadm explain"},
		{[]string{"mailadm", "explain"}, 64, "one address is wanted"},
		{[]string{"mailadm", "check", "x"}, 64, "not expected"},
		{[]string{"mailadm", "nonsense"}, 64, "no command"},
		{[]string{"mailadm", "-h"}, 0, "postconf"},
	} {
		var out bytes.Buffer
		if code := dispatch(c.args, nil, &out, &out); code != c.code || !strings.Contains(out.String(), c.say) {
			t.Errorf("%q: exit %d, %s", c.args, code, &out)
		}
	}
}
