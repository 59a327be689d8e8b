package milters

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"packetboat/test/oracle"
)

// output keeps what a daemon says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// need skips the test where a program is not installed, or who runs it is not root.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getenv("PEERS") == "" {
		t.Skip("make peers runs this: scripts/milters")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: the filters become users of their own")
	}
	for _, p := range programs {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("%s is not installed: make peers does that", p)
		}
	}
}

// folder is one that account may write to.
func folder(t *testing.T, account string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pbm") // short: sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	u, err := user.Lookup(account)
	if err != nil {
		t.Skipf("no account %s", account)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	os.Chown(dir, uid, gid)
	return dir
}

// config writes a file; DIR in its text is the folder's name.
func config(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts a daemon in the foreground until the test ends, and waits until ready
// holds; nil = until it takes connections at addr.
func run(t *testing.T, addr string, ready func() bool, program string, args ...string) *output {
	t.Helper()
	out := &output{}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-done
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // children that do not listen
		if t.Failed() {
			t.Logf("%s: %s", program, out.String())
		}
	})
	if ready == nil {
		ready = func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		}
	}
	ended, ok := false, false
	oracle.Await(func() bool {
		select {
		case <-done:
			ended = true // it could not start
		default:
			ok = ready()
		}
		return ok || ended
	})
	if !ok {
		t.Fatalf("%s does not answer: %s", program, out.String())
	}
	return out
}
