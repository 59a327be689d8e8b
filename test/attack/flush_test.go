package attack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"packetboat/test/sandbox"
)

var (
	flushCall = regexp.MustCompile(`\b(fsync|fdatasync|sync_file_range|syncfs)\(`)
	flushDone = regexp.MustCompile(`\b(fsync|fdatasync|syncfs)(\(| resumed).*= 0`)
)

// TestFlushBeforeReply looks at the engine's system calls: no "250 ... queued"
// leaves before the message has been flushed to disk.
func TestFlushBeforeReply(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	s := sandbox.Start(t)
	trace := filepath.Join(t.TempDir(), "trace")
	parent := s.PID("spool/pid/master.pid")
	engine := 0
	for pid, name := range sandbox.Children(parent) {
		if name == "mtad" {
			engine = pid
		}
	}
	if engine == 0 {
		t.Fatalf("no engine below %d", parent)
	}
	cmd := exec.Command("strace", "-f", "-s", "80", "-e", "trace=write,fsync,fdatasync,syncfs,renameat,renameat2", "-o", trace, "-p", fmt.Sprint(engine))
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	ready := func() bool { b, err := os.ReadFile(trace); return err == nil && b != nil }
	s.Wait(5*time.Second, "strace", ready)
	time.Sleep(300 * time.Millisecond)
	c := dial(t, s)
	for range 3 {
		c.do("MAIL FROM:<a@client.test>")
		c.do("RCPT TO:<alice>")
		if r := c.do("DATA"); !strings.HasPrefix(r, "354") {
			t.Skipf("mail is not taken here: %s", r)
		}
		if r := c.do("Subject: flush\r\n\r\ntext\r\n."); !strings.HasPrefix(r, "250 2.0.0 Ok: queued as ") {
			t.Fatal(r)
		}
	}
	said := func() bool { b, _ := os.ReadFile(trace); return strings.Count(string(b), "Ok: queued as ") == 3 }
	s.Wait(5*time.Second, "the replies in the trace", said)
	b, _ := os.ReadFile(trace)
	if strings.Contains(string(b), "not permitted") {
		t.Skip("this process may not be traced here")
	}
	flushed := 0
	for line := range strings.Lines(string(b)) {
		switch {
		case flushCall.MatchString(line) && strings.Contains(line, "= 0") || flushDone.MatchString(line):
			flushed++
		case strings.Contains(line, "354 End data"):
			flushed = 0
		case strings.Contains(line, "Ok: queued as "):
			if flushed == 0 {
				t.Errorf("a reply left before anything was flushed: %s", line)
			}
		}
	}
}
