package proc

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStdinWaits: a command whose input comes late, through the end of a pipe that
// another process made, waits for it.
func TestStdinWaits(t *testing.T) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "received"), os.NewFile(uintptr(fds[1]), "w")
	defer r.Close()
	defer w.Close()
	var out strings.Builder
	p, err := Start(Role{Path: "/bin/cat", Args: []string{"cat"}, Stdin: r, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	w.WriteString("late\n")
	w.Close()
	if code := p.Wait(); code != 0 || out.String() != "late\n" {
		t.Errorf("exit %d, %q", code, out.String())
	}
}
