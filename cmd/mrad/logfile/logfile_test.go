package logfile

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestAppendTime holds the conversions against date(1).
func TestAppendTime(t *testing.T) {
	for _, at := range []int64{0, 1795472907, 951782400} {
		for c := range layouts {
			format := "<%" + string(c) + "|%%|%s>"
			got := string(AppendTime(nil, format, time.Unix(at, 0).UTC()))
			cmd := exec.Command("date", "-u", "-d", "@"+string(AppendTime(nil, "%s", time.Unix(at, 0))), "+"+format)
			cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
			want, err := cmd.Output()
			if err != nil {
				t.Skip("no GNU date here: ", err)
			}
			if got != strings.TrimSpace(string(want)) {
				t.Errorf("%%%c: %s, want %s", c, got, want)
			}
		}
	}
}

func TestFor(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(Options{Path: dir + "/log", Info: dir + "/info"})
	if err != nil {
		t.Fatal(err)
	}
	if f.Debug != f.Info || f.Info == f.Errors {
		t.Error("debugging does not go where info goes")
	}
	for line, want := range map[string]bool{"auth: Error: x": true, "imap(a)<1><b>: Warning: x": true, "imap-login: Login: x: Error: y": false, "": false} {
		if got := f.For(line) == f.Errors; got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
