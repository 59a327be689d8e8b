// Package crash kills the mail transfer daemon at random moments under load, and
// holds that nothing that was answered with 250 is lost.
package crash

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
	"packetboat/test/sandbox"
)

// senders is the number of clients that send all the time; perKill is how many
// messages they have for one kill, so that the queue stays short and the test
// with it: its subject is the moment, not the mass.
const (
	senders = 6
	perKill = 60
)

// load is what the senders did.
type load struct {
	mu       sync.Mutex
	accepted map[string]string // id -> user: 250 was seen
	doubtful map[string]bool   // the connection died after the dot
	next     atomic.Int64
	tokens   chan struct{} // one a message
}

// TestCrash kills N times (default 50; make torture says 1000).
func TestCrash(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("N"))
	if err != nil {
		n = 50
	}
	if testing.Short() {
		n = 5
	}
	s := sandbox.Start(t)
	l := &load{accepted: map[string]string{}, doubtful: map[string]bool{},
		tokens: make(chan struct{}, 2*perKill)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() { l.send(s, i, stop) })
	}
	kills := map[string]int{}
	for range n {
		l.refill()
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		kills[kill(t, s)]++
	}
	close(stop)
	wg.Wait()
	s.Drained(60 * time.Second)
	l.judge(t, s, kills)
}

// refill gives the senders messages for the next kill.
func (l *load) refill() {
	for range perKill {
		select {
		case l.tokens <- struct{}{}:
		default:
			return
		}
	}
}

// send sends numbered messages until stop; what fails is tried again under the
// same number, as a real client would.
func (l *load) send(s *sandbox.Sandbox, worker int, stop chan struct{}) {
	user := []string{"alice", "bob"}[worker%2]
	for {
		select {
		case <-stop:
			return
		case <-l.tokens:
		}
		id := fmt.Sprintf("crash-%d-%06d", worker, l.next.Add(1))
		for {
			select {
			case <-stop:
				return
			default:
			}
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
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// sendOne sends one message; dotted tells whether the end was sent, after which
// an error leaves open what became of it.
func sendOne(s *sandbox.Sandbox, user, id string) (dotted bool, err error) {
	conn, err := net.DialTimeout("tcp", s.Addr(25), time.Second)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(oracle.Patience))
	c := textproto.NewConn(conn)
	if _, _, err := c.ReadResponse(220); err != nil {
		return false, err
	}
	for _, line := range []string{"EHLO crash.test", "MAIL FROM:<>", "RCPT TO:<" + user + "@sandbox.test>"} {
		c.PrintfLine("%s", line)
		if _, _, err := c.ReadResponse(250); err != nil {
			return false, err
		}
	}
	c.PrintfLine("DATA")
	if _, _, err := c.ReadResponse(354); err != nil {
		return false, err
	}
	c.PrintfLine("Subject: %s\r\n\r\n%s\r\n.", id, strings.Repeat(id+" ", 40))
	_, _, err = c.ReadResponse(250)
	return true, err
}

// kill ends the engine, the parent, or both without mercy, and sees to it that
// the system runs again. It returns what it killed.
func kill(t *testing.T, s *sandbox.Sandbox) string {
	t.Helper()
	parent := s.PID("spool/pid/master.pid")
	engine := child(parent)
	what := []string{"engine", "parent", "both"}[rand.IntN(3)]
	if what != "parent" && engine > 0 {
		syscall.Kill(engine, syscall.SIGKILL)
	}
	if what == "engine" || parent <= 0 {
		return what
	}
	syscall.Kill(parent, syscall.SIGKILL)
	for end := time.Now().Add(oracle.Patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := s.Command("mtad").CombinedOutput()
		if err == nil {
			return what
		}
		if time.Now().After(end) {
			t.Fatalf("mtad does not start again: %v\n%s", err, out)
		}
	}
}

// child returns the engine among a parent's children.
func child(parent int) int {
	for pid := range sandbox.Children(parent) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(cmdline, []byte("--engine")) {
			return pid
		}
	}
	return 0
}

// judge counts what arrived.
func (l *load) judge(t *testing.T, s *sandbox.Sandbox, kills map[string]int) {
	t.Helper()
	lost, twice := l.count(t, s)
	t.Logf("killed %v; %d messages accepted, %d lost, %d delivered twice, %d in doubt", kills, len(l.accepted), lost, twice, len(l.doubtful))
	if len(l.accepted) == 0 {
		t.Error("no message was accepted")
	}
	// A duplicate needs a kill between a delivery and its record: never more than
	// the senders' messages in flight at each kill.
	if bound := senders * (kills["engine"] + kills["parent"] + kills["both"]); twice > bound {
		t.Errorf("%d duplicates, more than %d in flight at the kills", twice, bound)
	}
}

// count compares the mailboxes with what was accepted; each message that is missing is
// an error.
func (l *load) count(t *testing.T, s *sandbox.Sandbox) (lost, twice int) {
	t.Helper()
	count := map[string]int{}
	for _, user := range []string{"alice", "bob"} {
		b, err := os.ReadFile(filepath.Join(s.Dir, "mail", user))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			if id, ok := bytes.CutPrefix(line, []byte("Subject: crash-")); ok {
				count[user+" crash-"+string(bytes.TrimSpace(id))]++
			}
		}
	}
	for id, user := range l.accepted {
		switch n := count[user+" "+id]; {
		case n == 0:
			lost++
			t.Errorf("lost: %s", id)
		case n > 1 && !l.doubtful[id]:
			twice++
		}
	}
	return lost, twice
}
