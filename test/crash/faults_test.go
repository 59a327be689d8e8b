package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"packetboat/test/sandbox"
)

// faults are what a disk can say, at the system calls with which the engine keeps its
// queue: one of so many calls fails.
var faults = []struct{ call, fault string }{
	{"fsync", "EIO"}, {"write", "ENOSPC"}, {"write", "EDQUOT"}, {"openat", "ENOSPC"}, // no inode is left
	{"openat", "EDQUOT"}, {"openat", "EMFILE"}, {"renameat", "EIO"}, {"renameat", "ENOSPC"}, {"unlinkat", "EIO"},
	{"pwrite64", "EIO"}, {"pwrite64", "ENOSPC"}, {"pread64", "EIO"}, {"utimensat", "EIO"}, {"utimensat", "ENOSPC"},
}

// perFault is how many messages are sent under each fault.
const perFault = 60

// TestFaults has each kind of fault strike at random calls while mail flows: nothing
// that was answered with 250 is lost, and when the disk is well again all of it
// arrives. FAULTS=N goes round N times.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	rounds, err := strconv.Atoi(os.Getenv("FAULTS"))
	if err != nil {
		rounds = 1
	}
	s := sandbox.Start(t)
	impatient(t, s)
	l := &load{accepted: map[string]string{}, doubtful: map[string]bool{}, tokens: make(chan struct{}, senders*perFault)}
	hits := 0
	for range rounds {
		for _, f := range faults {
			hits += l.strike(t, s, f.call, f.fault)
		}
	}
	s.Drained(120 * time.Second)
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "spool", "corrupt", "*")); len(left) != 0 {
		t.Errorf("set aside: %v", left)
	}
	lost, twice := l.count(t, s)
	t.Logf("%d faults struck; %d messages accepted, %d lost, %d delivered twice, %d in doubt", hits, len(l.accepted), lost, twice, len(l.doubtful))
	// Each fault can repeat one message: the one of which it kept a record from being made.
	if hits == 0 || twice > hits {
		t.Errorf("%d faults, %d duplicates", hits, twice)
	}
}

// impatient has the system try again after a second.
func impatient(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	edit := s.Command("postconf", "-e", "minimal_backoff_time=1s", "maximal_backoff_time=2s", "queue_run_delay=1s")
	if out, err := edit.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.Stop()
	s.Start()
}

// strike has one call in so many fail while messages are sent. It returns how often.
func (l *load) strike(t *testing.T, s *sandbox.Sandbox, call, fault string) int {
	t.Helper()
	engine := child(s.PID("spool/pid/master.pid"))
	if engine == 0 {
		t.Fatal("no engine")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-o", trace, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d+%d", call, fault, 1+rand.IntN(9), 5+rand.IntN(9)), "-p", strconv.Itoa(engine))
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	for !traced(engine) {
		select {
		case <-ended:
			if strings.Contains(said.String(), "Operation not permitted") {
				t.Skip("strace may not attach here")
			}
			t.Fatalf("strace: %s", said.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	l.some(s, perFault)
	// At the signal strace lets go of the engine, which goes on.
	cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	b, _ := os.ReadFile(trace)
	return bytes.Count(b, []byte("(INJECTED)"))
}

// traced tells whether every thread of a process is being traced.
func traced(pid int) bool {
	list, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte("TracerPid:\t0\n")) {
			return false
		}
	}
	return len(list) > 0
}

// some sends n messages; each sender gives up on one that a fault keeps out for long.
func (l *load) some(s *sandbox.Sandbox, n int) {
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			user := []string{"alice", "bob"}[i%2]
			for range n / senders {
				id := fmt.Sprintf("crash-%d-%06d", i, l.next.Add(1))
				for range 20 {
					dotted, err := sendOne(s, user, id)
					l.mu.Lock()
					if err == nil {
						l.accepted[id] = user
					} else if dotted {
						l.doubtful[id] = true
					}
					l.mu.Unlock()
					if err == nil {
						break
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestFull fills the file system of the queue: first no byte is left, then no inode.
// Mail is refused with a 4xx reply meanwhile, and none that was taken is lost.
func TestFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	for name, size := range map[string]string{"bytes": "size=1m", "inodes": "size=64m,nr_inodes=90"} {
		t.Run(name, func(t *testing.T) {
			s := sandbox.Start(t)
			impatient(t, s)
			s.Stop()
			spool := filepath.Join(s.Dir, "spool")
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", size+",mode=755", "queue", spool).CombinedOutput(); err != nil {
				t.Skipf("no mounting here: %s", out)
			}
			t.Cleanup(func() {
				s.Stop()
				if out, err := exec.Command("umount", "-l", spool).CombinedOutput(); err != nil {
					t.Errorf("umount: %v %s", err, out)
				}
			})
			fillUp(t, s, spool, size)
		})
	}
}

// fillUp sends more than there is room for, makes room, and counts.
func fillUp(t *testing.T, s *sandbox.Sandbox, spool, size string) {
	t.Helper()
	s.Start()
	// Nothing leaves the queue until there is room.
	if out, err := s.Command("postconf", "-e", "defer_transports=lmtp", "queue_minfree=0", "message_size_limit=100000").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.Stop()
	s.Start()
	l := &load{accepted: map[string]string{}, doubtful: map[string]bool{}}
	refused := 0
	for i := range 400 {
		id := fmt.Sprintf("crash-0-%06d", i)
		if dotted, err := sendOne(s, "alice", id); err == nil {
			l.accepted[id] = "alice"
		} else if refused++; dotted && !strings.HasPrefix(err.Error(), "4") {
			l.doubtful[id] = true
		}
	}
	if refused == 0 || len(l.accepted) == 0 {
		t.Fatalf("%d accepted, %d refused: the queue was not full", len(l.accepted), refused)
	}
	more := strings.NewReplacer("size=1m", "size=128m", "nr_inodes=90", "nr_inodes=9000").Replace(size)
	if out, err := exec.Command("mount", "-o", "remount,"+more, spool).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := s.Command("postconf", "-e", "defer_transports=").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.Stop()
	s.Start()
	s.Drained(120 * time.Second)
	lost, twice := l.count(t, s)
	t.Logf("%d accepted, %d refused, %d lost, %d twice, %d in doubt", len(l.accepted), refused, lost, twice, len(l.doubtful))
	if twice > 0 {
		t.Errorf("%d delivered twice", twice)
	}
}
