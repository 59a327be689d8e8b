package pickup

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/queue/maildrop"
	"packetboat/internal/receive/intake"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is a log that two goroutines use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// system is a pickup at work on a queue of its own.
type system struct {
	dir    string
	q      *queue.Queue
	log    lockedBuffer
	queued chan string
	p      *Pickup
	stop   func()
}

func start(t testing.TB, o Options) *system {
	t.Helper()
	return startIn(t, t.TempDir(), o)
}

// startIn starts a pickup on a queue that may exist.
func startIn(t testing.TB, dir string, o Options) *system {
	t.Helper()
	s := &system{dir: dir, queued: make(chan string, 10000)}
	if err := os.MkdirAll(filepath.Join(s.dir, "maildrop"), 0o700); err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.q = q
	l := maillog.To(&s.log, maillog.Options{Host: "mail"})
	in, err := intake.New(intake.Options{Hostname: "mail.example.org", Origin: "example.org"}, q, l.Program("cleanup"),
		func(id string, _ *mail.Envelope, _ int64) { s.queued <- id })
	if err != nil {
		t.Fatal(err)
	}
	o.QueueDirectory = s.dir
	p := New(o, in, l.Program("pickup"))
	s.p = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		q.Close()
	})
	t.Cleanup(s.stop)
	return s
}

// drop leaves a message as postdrop does.
func (s *system) drop(t testing.TB, name, body string) {
	t.Helper()
	var b bytes.Buffer
	w := maildrop.NewWriter(&b)
	w.PutString(maildrop.FullName, "Alice")
	w.PutString(maildrop.Sender, "alice")
	w.PutString(maildrop.Recipient, "bob")
	w.PutString(maildrop.Content, "")
	for line := range strings.Lines(body) {
		w.PutLine([]byte(strings.TrimSuffix(line, "\n")))
	}
	w.PutString(maildrop.Extracted, "")
	w.PutString(maildrop.End, "")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	s.put(t, name, b.Bytes())
}

func (s *system) put(t testing.TB, name string, data []byte) {
	t.Helper()
	temp := filepath.Join(s.dir, "maildrop", "tmp."+name)
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(temp, 0o744); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, s.path(name)); err != nil {
		t.Fatal(err)
	}
}

func (s *system) path(name string) string { return filepath.Join(s.dir, "maildrop", name) }

// wait waits until cond holds.
func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(oracle.Patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout: %s", what)
		}
	}
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

func TestPickup(t *testing.T) {
	s := start(t, Options{})
	s.drop(t, "AAAAA1", "Subject: x\n\nbody\n")
	id := <-s.queued
	wait(t, "the file goes", func() bool { return gone(s.path("AAAAA1")) })
	m, err := s.q.Load(id, queue.Incoming)
	if err != nil {
		t.Fatal(err)
	}
	if m.Env.Sender != "alice@example.org" || m.Env.Rcpts[0].Addr != "bob@example.org" || m.Env.UID != os.Getuid() {
		t.Errorf("%+v", m.Env)
	}
	c, err := s.q.OpenContent(id, queue.Incoming)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, _ := io.ReadAll(c.Reader())
	head := fmt.Sprintf("Received: by mail.example.org (Postfix, from userid %d)\n\tid %s; ", os.Getuid(), id)
	if !strings.HasPrefix(string(b), head) || !strings.HasSuffix(string(b), "From: Alice <alice@example.org>\n\nbody\n") {
		t.Errorf("%s", b)
	}
	if want := fmt.Sprintf(": %s: uid=%d from=<alice>\n", id, os.Getuid()); !strings.Contains(s.log.String(), want) {
		t.Errorf("log: %s", s.log.String())
	}
}

// What was there before the start is taken, and a flood in between.
func TestMany(t *testing.T) {
	s := start(t, Options{})
	for i := range 300 {
		s.drop(t, fmt.Sprintf("%05X1", i), "Subject: x\n\nbody\n")
	}
	for range 300 {
		select {
		case <-s.queued:
		case <-time.After(oracle.Patience):
			t.Fatal("not all messages were taken")
		}
	}
	wait(t, "an empty folder", func() bool {
		e, _ := os.ReadDir(filepath.Join(s.dir, "maildrop"))
		return len(e) == 0
	})
	s.stop()
	if len(s.queued) != 0 {
		t.Errorf("%d messages were taken twice", len(s.queued))
	}
}

func TestBadFiles(t *testing.T) {
	s := start(t, Options{Rescan: 20 * time.Millisecond})
	secret := filepath.Join(s.dir, "secret")
	if err := os.WriteFile(secret, []byte("S\x01aR\x01bM\x00N\x01xX\x00E\x00"), 0o744); err != nil {
		t.Fatal(err)
	}
	s.put(t, "BAD001", []byte("garbage"))
	s.put(t, "BAD002", []byte("S\x01aM\x00X\x00E\x00")) // no recipients
	if err := os.Symlink(secret, s.path("BAD003")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(secret, s.path("BAD004")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path("BAD005"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("BAD006"), []byte("S\x01a"), 0o600); err != nil { // still being written
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("tmp.1.2"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(s.path("tmp.1.2"), old, old); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"BAD001", "BAD002", "BAD003", "BAD004", "BAD005", "tmp.1.2"} {
		wait(t, name+" goes", func() bool { return gone(s.path(name)) })
	}
	for _, name := range []string{"BAD001", "BAD002"} {
		wait(t, name+" is kept", func() bool { return !gone(filepath.Join(s.dir, "corrupt", name)) })
	}
	if gone(s.path("BAD006")) || gone(secret) {
		t.Error("an unfinished file or the target of a link is gone")
	}
	if len(s.queued) != 0 {
		t.Error("something was queued")
	}
	for _, want := range []string{"warning: BAD001: corrupt file: ", "warning: BAD003: not taken", "warning: BAD004: not taken"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("no %q in the log: %s", want, s.log.String())
		}
	}
	// Postfix's postdrop finishes a file by its mode.
	if err := os.WriteFile(s.path("BAD006"), []byte("S\x01aR\x01bM\x00N\x01xX\x00E\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.path("BAD006"), 0o744); err != nil {
		t.Fatal(err)
	}
	<-s.queued
}

// A file that its owner alone may read is not finished, and no reason to warn.
func TestUnfinished(t *testing.T) {
	s := start(t, Options{})
	s.drop(t, "AAAAA1", "Subject: x\n\nbody\n")
	<-s.queued
	temp := s.path("tmp.x")
	if err := os.WriteFile(temp, []byte("S\x01aR\x01bM\x00N\x01xX\x00E\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(temp, 0)
	if err := os.Rename(temp, s.path("AAAAA2")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	os.Chmod(s.path("AAAAA2"), 0o744)
	<-s.queued
	if strings.Contains(s.log.String(), "warning") {
		t.Errorf("%s", s.log.String())
	}
}

// A queue that cannot be written leaves the file where it is.
func TestFullQueue(t *testing.T) {
	s := start(t, Options{Rescan: 20 * time.Millisecond})
	// Root may write anywhere, but not into a folder that is gone.
	if err := os.RemoveAll(filepath.Join(s.dir, "incoming")); err != nil {
		t.Fatal(err)
	}
	s.drop(t, "AAAAA1", "Subject: x\n\nbody\n")
	wait(t, "a warning", func() bool { return strings.Contains(s.log.String(), "warning: AAAAA1: left in maildrop: ") })
	if gone(s.path("AAAAA1")) || len(s.queued) != 0 {
		t.Error("the message is gone")
	}
	s.stop()
	s = startIn(t, s.dir, Options{Rescan: 20 * time.Millisecond})
	<-s.queued
	wait(t, "the file goes", func() bool { return gone(s.path("AAAAA1")) })
}

// BenchmarkPickup takes messages from maildrop into the queue, flushes included.
func BenchmarkPickup(b *testing.B) {
	s := start(b, Options{})
	body := "Subject: x\n\n" + strings.Repeat(strings.Repeat("x", 75)+"\n", 50)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for range 32 {
			n++
			s.drop(b, fmt.Sprintf("%08X", n), body)
		}
		for range 32 {
			<-s.queued
		}
	}
}
