// Package sandbox starts a private mail system for a test and stops it again:
// what scripts/sandbox does, with ports that nobody uses.
package sandbox

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// Domain is the domain of alice and bob; Password is everybody's.
const (
	Domain   = "sandbox.test"
	Password = "packetboat"
)

// Sandbox is a running private mail system.
type Sandbox struct {
	Dir  string // below it: etc, spool, mail, mail.log
	Base int    // Base+25 is SMTP, Base+143 IMAP ...
	Root string // of the project
	t    testing.TB
}

// ports are the offsets that must be free.
var ports = [...]int{25, 587, 465, 143, 993, 110, 995, 24, 4190}

// Start starts a system that stops with the test. It builds nothing: bin/ must
// be there, as make test leaves it.
func Start(t testing.TB) *Sandbox {
	t.Helper()
	root := projectRoot(t)
	if _, err := os.Stat(filepath.Join(root, "bin/mtad")); err != nil {
		t.Skip("bin/ is not built: run make")
	}
	dir, err := os.MkdirTemp("", "pb") // short: unix socket paths hold 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	s := &Sandbox{Dir: dir, Base: freeBase(t), Root: root, t: t}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("the log:\n%s", tail(s.Log(), 60))
		}
		os.RemoveAll(dir)
	})
	s.Start()
	return s
}

// Start starts the daemons again after Stop.
func (s *Sandbox) Start() {
	s.t.Helper()
	if out, err := s.script("start"); err != nil {
		s.t.Fatalf("sandbox start: %v\n%s", err, out)
	}
}

// Stop stops the daemons.
func (s *Sandbox) Stop() {
	if out, err := s.script("stop"); err != nil {
		s.t.Errorf("sandbox stop: %v\n%s", err, out)
	}
}

func (s *Sandbox) script(verb string) (string, error) {
	cmd := exec.Command(filepath.Join(s.Root, "scripts/sandbox"), verb, s.Dir, fmt.Sprint(s.Base))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Addr returns the loopback address of a service by its usual port.
func (s *Sandbox) Addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", s.Base+port) }

// Log returns the whole log.
func (s *Sandbox) Log() string {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "mail.log"))
	return string(b)
}

// Command returns a command of bin/ for this system.
func (s *Sandbox) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.Root, "bin", name), args...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+filepath.Join(s.Dir, "etc/postfix"))
	return cmd
}

// PID returns the process number in a pid file below Dir.
func (s *Sandbox) PID(file string) int {
	b, _ := os.ReadFile(filepath.Join(s.Dir, file))
	var n int
	fmt.Sscan(string(b), &n)
	return n
}

// Children returns the numbers of the processes that pid has started, by name.
// Any of its threads may have done so, so all processes are looked at.
func Children(pid int) map[int]string {
	found := map[int]string{}
	list, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range list {
		b, _ := os.ReadFile(path)
		// "PID (NAME) STATE PPID ...": a name may hold anything, so the last ")" counts.
		head, tail, _ := strings.Cut(string(b), "(")
		i := strings.LastIndex(tail, ")")
		if i < 0 {
			continue
		}
		var state string
		var child, parent int
		fmt.Sscan(head, &child)
		fmt.Sscan(tail[i+1:], &state, &parent)
		if parent == pid {
			found[child] = tail[:i]
		}
	}
	return found
}

// Wait waits until cond holds, and says what was missing. It takes d on a quiet
// machine at the most; a slow or loaded one gets oracle.Patience.
func (s *Sandbox) Wait(d time.Duration, what string, cond func() bool) {
	s.t.Helper()
	d = max(d, oracle.Patience)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
	}
	s.t.Fatalf("after %v: still no %s\nthe log:\n%s", d, what, tail(s.Log(), 40))
}

// Drained waits until no mail is on its way.
func (s *Sandbox) Drained(d time.Duration) {
	s.t.Helper()
	s.Wait(d, "empty queue", s.Empty)
}

// Empty tells whether no mail is on its way, nor waits.
func (s *Sandbox) Empty() bool {
	for _, q := range []string{"maildrop", "incoming", "active", "deferred"} {
		n := 0
		filepath.Walk(filepath.Join(s.Dir, "spool", q), func(_ string, fi os.FileInfo, err error) error {
			if err == nil && fi.Mode().IsRegular() {
				n++
			}
			return nil
		})
		if n > 0 {
			return false
		}
	}
	return true
}

// freeBase looks for a base port whose services are all free.
func freeBase(t testing.TB) int {
	t.Helper()
	start := 21000 + os.Getpid()%37*1000
next:
	for i := range 30 {
		base := 21000 + (start-21000+i*1000)%37000
		for _, p := range ports {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+p))
			if err != nil {
				continue next
			}
			l.Close()
		}
		return base
	}
	t.Fatal("no free ports for a sandbox")
	return 0
}

// projectRoot finds the folder of go.mod above the test.
func projectRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
