package proc

import (
	"os/exec"
	"strings"
	"testing"
)

// TestThroughShell: where a thread cannot have a umask of its own the shell sets it,
// and no argument is looked at by it.
func TestThroughShell(t *testing.T) {
	cmd := &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", "umask; echo \"$1\"", "x", "$(id) ;a  b"}, Env: []string{}}
	throughShell(cmd, 0o077)
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "0077\n$(id) ;a  b" {
		t.Errorf("%q %v", out, err)
	}
}
