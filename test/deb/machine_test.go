package deb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// release is the Debian release that the package is for.
const release = "bookworm"

// base are the packages that a bare machine has: no mail system yet, but those
// whose mail it is about.
var base = []string{"adduser", "cron", "debconf", "libpam-modules", "mutt", "ssl-cert"}

// beside are packages that are fetched but not installed: a mail reader that
// wants a mail system first, and the mail system whose place is taken.
var beside = []string{"bsd-mailx", "postfix", "dovecot-imapd", "dovecot-pop3d"}

// environment is what commands in a machine see.
var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=vt100", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}

// machine is a Debian system of its own: an overlay over the cached one, with its
// own processes, network and name. It is gone when the test ends.
type machine struct {
	t    testing.TB
	pid  string // of its first process, as seen from here
	mu   sync.Mutex
	logs bytes.Buffer
}

// boot starts a machine on top of the system in cache/root, with the packages of
// cache/debs below /debs.
func boot(t testing.TB, cache, name string) *machine {
	t.Helper()
	dir := t.TempDir()
	script := `set -e
mount -t tmpfs tmpfs "$2"; cd "$2"; mkdir upper work root
mount -t overlay -o "lowerdir=$1/root,upperdir=upper,workdir=work" overlay root
mount -t proc proc root/proc
mkdir -p root/dev/pts root/debs
mount -t devpts -o newinstance,ptmxmode=0666 devpts root/dev/pts
rm -f root/dev/ptmx; ln -s pts/ptmx root/dev/ptmx
mount -t tmpfs tmpfs root/run
mount --bind "$1/debs" root/debs
ip link set lo up
hostname "$3"; echo "$3" > root/etc/hostname; : > root/etc/resolv.conf
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$3" > root/etc/hosts
printf '#!/bin/sh\nexit 0\n' > root/usr/sbin/policy-rc.d; chmod 755 root/usr/sbin/policy-rc.d
rm -rf root/var/lib/apt/lists/*; : > root/etc/apt/sources.list
cd root; exec chroot . /bin/bash -c 'echo up; trap : TERM; while :; do sleep 1000 & wait; done'`
	cmd := exec.Command("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--propagation", "private", "--fork",
		"--kill-child=KILL", "bash", "-c", script, "boot", cache, dir, name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("no namespaces here:", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if n, _ := out.Read(make([]byte, 3)); n == 0 {
		t.Skipf("a system of its own cannot be made here: %s", strings.TrimSpace(stderr.String()))
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil || len(bytes.Fields(children)) == 0 {
		t.Skip("this kernel does not list children:", err)
	}
	m := &machine{t: t, pid: string(bytes.Fields(children)[0])}
	if ours, theirs := inode("/"), inode(filepath.Join("/proc", m.pid, "root")); ours == theirs {
		t.Fatal("the machine stands in this one's root")
	}
	m.syslog()
	return m
}

// inode tells a folder from others.
func inode(path string) [2]uint64 {
	var st syscall.Stat_t
	syscall.Stat(path+"/.", &st)
	return [2]uint64{uint64(st.Dev), st.Ino}
}

// syslog is the machine's /dev/log: what was logged is shown when a test fails.
func (m *machine) syslog() {
	path := filepath.Join("/proc", m.pid, "root/dev/log")
	os.Remove(path)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		m.t.Fatal(err)
	}
	os.Chmod(path, 0o666)
	m.t.Cleanup(func() {
		l.Close()
		if m.t.Failed() {
			m.t.Logf("the machine's log:\n%s", m.log())
		}
	})
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.logs.Write(append(bytes.TrimRight(b[:n], "\n"), '\n'))
			m.mu.Unlock()
		}
	}()
}

func (m *machine) log() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.logs.String()
}

// patience is how long anything in a machine may take. It keeps a test from
// hanging for ever, and measures nothing: this machine may be slow and loaded.
const patience = 5 * time.Minute

// try runs a script in the machine, for patience at most, and returns what it
// printed. Its output is a pipe: a daemon that kept it open would be noticed.
func (m *machine) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := append([]string{"-t", m.pid, "-m", "-p", "-n", "-u", "-i", "-r", "-w", "env", "-i"}, environment...)
	cmd := exec.CommandContext(ctx, "nsenter", append(args, "bash", "-c", script)...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, errors.New("it did not end, or something it started keeps its output open"))
	}
	return string(out), err
}

// run is try for scripts that must succeed.
func (m *machine) run(t testing.TB, script string) string {
	t.Helper()
	out, err := m.try(script)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

// until runs a script until it succeeds.
func (m *machine) until(t testing.TB, script string) string {
	t.Helper()
	var out string
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if out, err = m.try(script); err == nil {
			return out
		}
	}
	t.Fatalf("after %v still not: %s\n%v\n%s", patience, script, err, out)
	return ""
}

// put copies a file into the machine.
func (m *machine) put(from, to string) {
	m.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("/proc", m.pid, "root", to), b, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// want fails unless every part stands in text.
func want(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}
