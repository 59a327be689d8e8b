package oracle

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Main begins every main.cf: where all things are, DIR being the folder. What a
// test wants of its own comes behind it. max_use keeps processes, above all
// postlogd(8), from making room for new ones in the middle of a test.
const Main = `compatibility_level = 3.6
queue_directory = DIR/q
data_directory = DIR/data
maillog_file = DIR/mail.log
maillog_file_prefixes = DIR
inet_interfaces = 127.0.0.1
alias_maps =
max_use = 1000000
`

// Master has the services that Postfix's own processes need of each other, as
// master.cf of the distribution has them. What listens on a port is the test's.
const Master = `postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
`

// Postfix is a private Postfix in a folder: etc (configuration), q (queue), data
// and mail.log.
type Postfix struct {
	Dir   string
	Env   []string // of its commands; nil = that of the test
	t     testing.TB
	marks atomic.Int64
}

// NeedPostfix skips the test where no Postfix of a version ("3.7", "3.") can be
// started, and says why.
func NeedPostfix(t testing.TB, version string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no comparison with Postfix")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: Postfix starts only as root")
	}
	// The folder of packetboat's postconf has no postfix(1) of the original.
	b, err := exec.Command("postconf", "-d", "-h", "mail_version").Output()
	if err != nil || !strings.HasPrefix(string(b), version) {
		t.Skipf("no real Postfix %s is installed: %s %v", version, b, err)
	}
	if _, err := exec.LookPath("postfix"); err != nil {
		t.Skip("Postfix is not installed")
	}
}

// NewPostfix makes the folders of a Postfix, or skips the test where none can be
// started (see NeedPostfix). Lay and Start come next.
func NewPostfix(t testing.TB, version string) *Postfix {
	t.Helper()
	NeedPostfix(t, version)
	p := &Postfix{Dir: Folder(t), t: t}
	for _, d := range []string{"etc", "q", "data"} {
		if err := os.Mkdir(filepath.Join(p.Dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "chown", "postfix", p.Dir+"/data")
	if b, err := os.ReadFile("/etc/postfix/postfix-files"); err == nil {
		p.Write("etc/postfix-files", string(b)) // postfix-script looks for it here
	}
	return p
}

// At returns a Postfix for a folder that the test lays out by itself, as NewPostfix
// and Lay do.
func At(t testing.TB, dir string) *Postfix { return &Postfix{Dir: dir, t: t} }

// Write writes a file below the folder; DIR in its text is the folder's name.
func (p *Postfix) Write(name, text string) {
	p.t.Helper()
	text = strings.ReplaceAll(text, "DIR", p.Dir)
	if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// Lay writes main.cf and master.cf: what all have, and what the test adds.
func (p *Postfix) Lay(main, master string) {
	p.t.Helper()
	p.Write("etc/main.cf", Main+main)
	p.Write("etc/master.cf", Master+master)
}

// Service returns lines of master.cf: a service with options of its own, each
// "name = value".
func Service(line string, options ...string) string {
	for _, o := range options {
		line += "\n  -o { " + o + " }"
	}
	return line + "\n"
}

// Start starts Postfix until the test ends. When it returns, all ports are bound:
// postfix(1) waits for master(8). Where Postfix cannot run at all, the test is
// skipped.
func (p *Postfix) Start() {
	p.t.Helper()
	if out, err := p.Command("postfix", "start").CombinedOutput(); err != nil {
		p.t.Skipf("Postfix does not start here: %v: %s%s", err, out, p.Log())
	}
	p.t.Cleanup(func() {
		p.Stop()
		if p.t.Failed() {
			lines := strings.Split(p.Log(), "\n")
			p.t.Logf("the end of Postfix's log:\n%s", strings.Join(lines[max(0, len(lines)-150):], "\n"))
		}
	})
}

// Stop stops it and waits until its processes are gone, so that nothing writes
// into folders that are removed.
func (p *Postfix) Stop() {
	pid := strings.TrimSpace(read(p.Dir + "/q/pid/master.pid"))
	if pid == "" || !group(pid) {
		return
	}
	p.Command("postfix", "stop").Run()
	if !Await(func() bool { return !group(pid) }) {
		p.t.Errorf("Postfix (%s) does not stop", p.Dir)
	}
}

// group tells whether any process of a group lives: master(8) begins one, and all
// that it starts is in it.
func group(pid string) bool {
	list, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range list {
		// "PID (NAME) STATE PPID PGRP ...": a name may hold anything, so the last ")" counts.
		text := read(path)
		f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(f) > 2 && f[2] == pid && f[0] != "Z" {
			return true
		}
	}
	return false
}

// Command returns a command of Postfix for this configuration.
func (p *Postfix) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, append([]string{"-c", p.Dir + "/etc"}, args...)...)
	cmd.Env = p.Env
	return cmd
}

// Log returns what stands in the log now.
func (p *Postfix) Log() string { return read(p.Dir + "/mail.log") }

// Logged returns the log once everything is in it that Postfix's processes have
// said up to now. postlogd(8) writes what it is sent in the order in which it
// was sent, so it is sent a line of ours, and when that line has been written all
// before it has. A process says what it does before it answers; what it says at a
// client's end comes before it closes the connection.
func (p *Postfix) Logged() string {
	p.t.Helper()
	mark := fmt.Sprintf("%s oracle[0]: mark %d.", time.Now().Format(time.Stamp), p.marks.Add(1))
	c, err := net.Dial("unixgram", p.Dir+"/q/public/postlog")
	if err != nil {
		p.t.Fatalf("postlogd: %v", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(mark)); err != nil {
		p.t.Fatalf("postlogd: %v", err)
	}
	text := ""
	if !Await(func() bool { text = p.Log(); return strings.Contains(text, mark) }) {
		p.t.Fatalf("postlogd does not write its log:\n%s", text)
	}
	return text
}

// Size returns the length of the log in bytes, to begin a later look there.
func (p *Postfix) Size() int {
	fi, err := os.Stat(p.Dir + "/mail.log")
	if err != nil {
		return 0
	}
	return int(fi.Size())
}
