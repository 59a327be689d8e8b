package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestDovecot holds dovecot(1)'s questions, and that what it cannot do fails.
func TestDovecot(t *testing.T) {
	conf := t.TempDir() + "/none.conf"
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"--version", "2.3.19.1 (packetboat)\n", 0},
		{"--help", "Usage: dovecot", 0},
		{"--build-options", "Build options: ", 0},
		{"-x", "Usage: dovecot", 64},
		{"nope", "Fatal: Unknown argument: nope\n", 64},
		{"-p", "error: dovecot -p is not built\nhint: ", 75},
		{"-c " + conf + " reload", "Fatal: ", 78},
	} {
		var out bytes.Buffer
		code := runDovecot(strings.Fields(c.args), strings.NewReader(""), &out, &out)
		if code != c.code || !strings.HasPrefix(out.String(), c.want) {
			t.Errorf("%s: %d %q, want %d %q", c.args, code, out.String(), c.code, c.want)
		}
	}
}
