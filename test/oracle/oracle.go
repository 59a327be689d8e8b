// Package oracle lays down and starts private originals (Postfix, Dovecot) for
// tests that hold them against us: own folders, ports that nobody else gets, and
// waits for conditions instead of times, so that a comparison says the same on a
// slow and loaded machine. It is imported by tests only.
package oracle

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for what must come. It bounds a test that
// would hang; it is no measure of speed, so it is long.
const Patience = 90 * time.Second

// Built returns the path of one of our programs: in PACKETBOAT_BIN, else in bin/ of the
// checkout, two folders above the test. Where it is not built the test is skipped.
func Built(t testing.TB, program string) string {
	t.Helper()
	dir := os.Getenv("PACKETBOAT_BIN")
	if dir == "" {
		dir = "../../bin"
	}
	path, err := filepath.Abs(filepath.Join(dir, program))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("bin/ is not built: run make")
	}
	return path
}

// Await asks cond until it holds, and tells whether it ever did. It gives up
// after Patience.
func Await(cond func() bool) bool {
	pause := time.Millisecond
	for end := time.Now().Add(Patience); ; time.Sleep(pause) {
		if cond() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// Address returns an address of 127.0.0.1 for a program that binds it later, or
// several times. The port stands below those that the kernel gives to others
// (ip_local_port_range), and is kept from other tests that ask here by a name in
// the abstract socket space, which is gone with the test.
func Address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		keep, err := net.Listen("unix", fmt.Sprintf("@packetboat-test-port-%d", port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			keep.Close()
			continue
		}
		l.Close()
		t.Cleanup(func() { keep.Close() })
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

// Port returns the port of Address alone.
func Port(t testing.TB) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(Address(t))
	return port
}

// Answers waits until something takes connections at each address. The original
// sees a client that says nothing, so a test that counts its clients must not ask.
func Answers(addrs ...string) bool {
	for _, addr := range addrs {
		if !Await(func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		}) {
			return false
		}
	}
	return true
}

// Folder returns a folder of the test into which other accounts may look: the
// originals become users of their own.
func Folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	Passable(dir)
	return dir
}

// Passable opens a folder of the test, and those of the test above it, to all.
func Passable(dir string) {
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
}

// run runs a program and stops the test if that fails.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}
