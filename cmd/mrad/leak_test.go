package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"packetboat/internal/serve/login"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
	"packetboat/test/oracle"
)

// TestSessionsLeaveNothing: a user's process may live for months, so a session
// that has ended must leave no goroutine and no descriptor.
func TestSessionsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "inbox"), nil, 0o600)
	near, far, err := proc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	log := maillog.To(io.Discard, maillog.Options{}).Program("")
	r := &mailRole{p: newPeer(near), log: log, imap: log, stop: make(chan struct{}), stores: make(map[string]*sharedStore), u: &setup{}}
	go io.Copy(io.Discard, far)
	run := func(proto login.Proto, bye string) {
		a, b, err := proc.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(bye)
		b.Close() // what it sent is still read; then comes the end
		r.active.Add(1)
		r.session(event{message{Session: &session{Proto: proto, User: "a", Mail: "mbox:" + dir + ":INBOX=" + dir + "/inbox"}}, []*os.File{a}}, nil)
	}
	count := func() (int, int) {
		fds, _ := os.ReadDir("/proc/self/fd")
		return runtime.NumGoroutine(), len(fds)
	}
	run(login.IMAP, "a LOGOUT\r\n")
	goroutines, fds := count()
	for range 50 {
		run(login.IMAP, "a SELECT INBOX\r\nb LOGOUT\r\n")
		run(login.POP3, "STAT\r\nQUIT\r\n")
		run(login.IMAP, "a SELECT INBOX\r\nb IDLE\r\n")
	}
	for end := time.Now().Add(oracle.Patience); ; time.Sleep(20 * time.Millisecond) {
		g, f := count()
		if g <= goroutines+5 && f <= fds+5 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("150 sessions left %d goroutines and %d descriptors", g-goroutines, f-fds)
		}
	}
}
