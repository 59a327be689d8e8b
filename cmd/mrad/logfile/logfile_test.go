package logfile

import (
	"os"
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

// TestDebug: lines of debugging have a file of their own.
func TestDebug(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(Options{Path: dir + "/log", Debug: dir + "/debug"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"auth: Debug: a", "auth: Error: b", "auth: c"} {
		f.For(line).Info("%s", line)
	}
	debug, _ := os.ReadFile(dir + "/debug")
	log, _ := os.ReadFile(dir + "/log")
	if strings.Count(string(debug), "\n") != 1 || !strings.Contains(string(debug), "auth: Debug: a") || strings.Count(string(log), "\n") != 2 {
		t.Errorf("debug:\n%s\nlog:\n%s", debug, log)
	}
}
