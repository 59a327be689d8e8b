package proc

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// A child has the slack that it was started with, and whoever starts it keeps his own.
func TestSlack(t *testing.T) {
	read := func(slack time.Duration, umask int) string {
		var out bytes.Buffer
		p, err := Start(Role{Path: "/bin/cat", Args: []string{"cat", "/proc/self/timerslack_ns"}, Stdout: &out, Slack: slack, Umask: umask})
		if err != nil {
			t.Fatal(err)
		}
		if p.Wait() != 0 {
			t.Skip("this system does not tell a process's timer slack")
		}
		return strings.TrimSpace(out.String())
	}
	before := read(0, 0)
	for _, umask := range []int{0, 0o27} {
		if got := read(3*time.Millisecond, umask); got != "3000000" {
			t.Errorf("umask %o: the child's slack is %s", umask, got)
		}
	}
	if after := read(0, 0); after != before {
		t.Errorf("the slack was %s and is %s", before, after)
	}
}
