package auth

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"packetboat/internal/auth/wire"

	"packetboat/internal/auth/scheme"
)

// TestWindow holds widths against what doveconf's own expansion gives: a path
// such as /srv/%1n/%n is in many configurations.
func TestWindow(t *testing.T) {
	q := &Query{User: "Bob@Ex.Org"}
	for in, want := range map[string]string{"%1n/%n": "B/Bob", "%1Ln": "b", "%1.1n": "o", "%-2.1n": "o", "%2.2d": ".O", "%9n": "Bob",
		"%-1n": "B", "%1Rn": "b", "%2Un": "BO", "%0.2n": "Bo", "%1.-1n": "o", "%7.1n": ""} {
		if got := Expand(in, q); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
		if err := CheckPattern(in); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range []string{"/srv/%Hu/%n", "%{nope}", "%Hn", "%Xu", "%02n", "%1.02n", "100%", "%{if;%u;eq;a;b;c}"} {
		if CheckPattern(in) == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

// TestLiteralNames: what a stranger calls himself is data (security.md 25).
func TestLiteralNames(t *testing.T) {
	for _, name := range []string{"%{home}", "%u", "%%", "'", "*)(", "$(id)", "%1n"} {
		q := &Query{User: name, Home: "/home/secret"}
		if got := Expand("x%ux", q); got != "x"+name+"x" {
			t.Errorf("%q became %q", name, got)
		}
	}
	for _, name := range []string{"..", "../a", "/etc/passwd", "a/b", "a\x00b", ".", ""} {
		if got, err := ExpandPath("/srv/%u", &Query{User: name}); err == nil {
			t.Errorf("%q became the path %q", name, got)
		}
	}
}

// TestHashesAtOnce: a crowd that guesses passwords computes a few hashes at a
// time, and whoever leaves the queue is no failure of ours.
func TestHashesAtOnce(t *testing.T) {
	a, log, _ := fixture(t, users, nil)
	for range cap(a.hashing) {
		a.hashing <- struct{}{}
	}
	ctx, stop := context.WithCancel(t.Context())
	var answered atomic.Bool
	done := make(chan wire.Answer, 1)
	go func() {
		ans := a.Begin(wire.Request{Service: "imap", Mech: "PLAIN"}).Step(ctx, []byte("\x00ann\x00x"))
		answered.Store(true)
		done <- ans
	}()
	time.Sleep(30 * time.Millisecond)
	if answered.Load() {
		t.Fatal("a compare did not wait for its place")
	}
	stop()
	if ans := <-done; ans.State == wire.OK {
		t.Error(ans)
	}
	if strings.Contains(log.all(), "error ") {
		t.Error(log.all())
	}
}

// TestUnknownTakesAsLong compares the time that a wrong password takes with
// that of an unknown name, without the delay that hides it (security.md 27).
func TestUnknownTakesAsLong(t *testing.T) {
	hash, err := scheme.Make("SHA512-CRYPT", "ann", "right", 0)
	if err != nil {
		t.Fatal(err)
	}
	a, _, _ := fixture(t, "ann:"+hash+":1:1::/::\n", func(o *Options) { o.Delay = -1; o.NoPenalty = true })
	once := func(user string, i int) time.Duration {
		start := time.Now()
		try(a, "PLAIN", fmt.Sprintf("\x00%s\x00wrong%d", user, i))
		return time.Since(start)
	}
	// The least of several is what the work itself takes. Both are asked by turns,
	// and for longer where the machine is busy with other things.
	known, unknown := time.Hour, time.Hour
	differ := func() bool { return known > 2*unknown || unknown > 2*known }
	for i := 0; i < 15 || differ() && i < 150; i++ {
		known, unknown = min(known, once("ann", i)), min(unknown, once("nobody", i))
	}
	if differ() {
		t.Errorf("a wrong password takes %v, an unknown name %v", known, unknown)
	}
}
