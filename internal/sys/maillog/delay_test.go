package maillog

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// pieces keeps every write by itself.
type pieces struct {
	mu   sync.Mutex
	list []string
}

func (p *pieces) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, string(b))
	return len(b), nil
}

func (p *pieces) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.list)
}

// Lines wait for each other, not for long, never past a warning, and stay in order.
func TestDelay(t *testing.T) {
	var out pieces
	l := To(&out, Options{Host: "vm", Delay: time.Hour})
	g := l.Program("qmgr")
	for i := range 5 {
		g.Info("line %d", i)
	}
	if out.count() != 0 {
		t.Fatalf("written at once: %q", out.list)
	}
	g.Warn("line 5")
	if out.count() != 1 || strings.Count(out.list[0], "\n") != 6 {
		t.Fatalf("a warning and what waits are %q", out.list)
	}
	for i := range 6 {
		if !strings.Contains(strings.Split(out.list[0], "\n")[i], fmt.Sprintf("line %d", i)) {
			t.Errorf("line %d is not in its place", i)
		}
	}
	g.Info("line 6")
	l.Flush()
	l.Flush()
	if out.count() != 2 || strings.Count(out.list[1], "\n") != 1 {
		t.Errorf("flushed: %q", out.list)
	}
	long := strings.Repeat("x", 1000)
	for range 40 {
		g.Info("%s", long)
	}
	if n := out.count(); n != 3 {
		t.Errorf("40,000 octets: %d writes, one when the room is full", n-2)
	}
}

// Without anything that follows a line is written after its delay.
func TestDelayEnds(t *testing.T) {
	var out pieces
	l := To(&out, Options{Host: "vm", Delay: time.Millisecond})
	for want := 1; want <= 3; want++ { // the timer is used again
		l.Program("qmgr").Info("alone")
		for out.count() < want {
			time.Sleep(time.Millisecond)
		}
	}
}
