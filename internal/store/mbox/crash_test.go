package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/journal"
)

// noPID is a process number that no process has (above any pid_max).
const noPID = "4194305\n"

// errCrash ends the world: every later call fails with it, too.
var errCrash = errors.New("crash")

// crashFS stops before its n-th change of the disk; a write is torn behind its first sector.
type crashFS struct {
	journal.Disk
	left int
	dead bool
	lock string // path of the dotlock
	note []byte // what stood in it
}

func (c *crashFS) step() error {
	if c.dead || c.left == 0 {
		c.dead = true
		return errCrash
	}
	c.left--
	return nil
}

func (c *crashFS) WriteAt(f *os.File, b []byte, off int64) error {
	was := c.dead
	if b, err := os.ReadFile(c.lock); err == nil {
		c.note = b
	}
	if err := c.step(); err != nil {
		if !was {
			// A disk writes whole sectors.
			if n := (off/journal.Sector+1)*journal.Sector - off; n < int64(len(b)) {
				f.WriteAt(b[:n], off)
			}
		}
		return err
	}
	return c.Disk.WriteAt(f, b, off)
}
func (c *crashFS) Truncate(f *os.File, n int64) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Disk.Truncate(f, n)
}
func (c *crashFS) Sync(f *os.File) error {
	if err := c.step(); err != nil {
		return err
	}
	return nil
}
func (c *crashFS) Create(p string) (*os.File, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	return c.Disk.Create(p)
}
func (c *crashFS) Rename(a, b string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Disk.Rename(a, b)
}
func (c *crashFS) Remove(p string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Disk.Remove(p)
}
func (c *crashFS) SyncDir(string) error { return c.step() }
func (c *crashFS) Collapse(f *os.File, off, n int64) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Disk.Collapse(f, off, n)
}

// view is all that a client can tell of a mailbox.
func view(t *testing.T, dir string) string {
	t.Helper()
	s, err := Open(Options{Inbox: filepath.Join(dir, "spool"), Folders: filepath.Join(dir, "mail")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	snap, err := m.Sync()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range snap.Msgs {
		msg := &snap.Msgs[i]
		fmt.Fprintf(&b, "%d %d %v %.60q %d\n", msg.UID, msg.Flags, snap.Words(msg.Keywords), readAll(t, m, msg.UID), len(readAll(t, m, msg.UID)))
	}
	return b.String()
}

func readAll(t testing.TB, m store.Mailbox, uid uint32) string {
	t.Helper()
	r, err := m.Read(uid, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCrash stops each kind of change at every step, and holds that the next
// to open the mailbox finds it as it was or as it was to be: message bytes,
// UIDs and number of messages. Flags count one by one: every message has its
// old or its new ones.
func TestCrash(t *testing.T) {
	changes := map[string]func(m store.Mailbox, uids []uint32) error{
		"expunge first":  func(m store.Mailbox, u []uint32) error { _, err := m.Expunge(u[:1]); return err },
		"expunge middle": func(m store.Mailbox, u []uint32) error { _, err := m.Expunge(u[2:4]); return err },
		"expunge last":   func(m store.Mailbox, u []uint32) error { _, err := m.Expunge(u[4:]); return err },
		"expunge all":    func(m store.Mailbox, u []uint32) error { _, err := m.Expunge(u); return err },
		"flags": func(m store.Mailbox, u []uint32) error {
			m.SetFlags(u, store.Add, store.Seen|store.Flagged, []string{"Important"})
			return m.Flush()
		},
		"append": func(m store.Mailbox, _ []uint32) error {
			_, err := m.Append([]store.New{{Body: strings.NewReader("S: 1\r\n\r\none\r\n")}, {Body: strings.NewReader("S: 2\r\n\r\ntwo\r\n")}})
			return err
		},
	}
	for name, change := range changes {
		for _, fresh := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/fresh=%v", name, fresh), func(t *testing.T) { crashAll(t, fresh, change) })
		}
	}
}

func crashAll(t *testing.T, fresh bool, change func(store.Mailbox, []uint32) error) {
	was, _ := crashOnce(t, fresh, 0, change)
	want, done := crashOnce(t, fresh, 1<<20, change)
	if !done {
		t.Fatal("the change fails without a crash")
	}
	for step := range 200 {
		got, done := crashOnce(t, fresh, step, change)
		if got != was && got != want && !mixedFlags(was, want, got) {
			t.Fatalf("crash at step %d:\n%s\nneither\n%s\nnor\n%s", step, got, was, want)
		}
		if done {
			return
		}
	}
	t.Fatal("the change never ends")
}

// mixedFlags tells whether every line of got is a line of was or of want.
func mixedFlags(was, want, got string) bool {
	a, b, c := strings.Split(was, "\n"), strings.Split(want, "\n"), strings.Split(got, "\n")
	if len(a) != len(b) || len(a) != len(c) {
		return false
	}
	for i := range c {
		if c[i] != a[i] && c[i] != b[i] {
			return false
		}
	}
	return true
}

// crashOnce makes a mailbox, lets a change stop after some steps, and returns
// what the next one sees.
func crashOnce(t *testing.T, fresh bool, steps int, change func(store.Mailbox, []uint32) error) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "spool")
	var msgs []Delivery
	for i := range 6 {
		msgs = append(msgs, Delivery{Sender: "a@b", Body: strings.NewReader(fmt.Sprintf("Subject: %d\n\nbody %d\n%s", i, i, strings.Repeat(strings.Repeat("x", 70)+"\n", i)))})
	}
	if errs := Deliver(path, DeliverOptions{}, msgs); slices.ContainsFunc(errs, func(e error) bool { return e != nil }) {
		t.Fatal(errs)
	}
	s, err := Open(Options{Inbox: path, Folders: filepath.Join(dir, "mail")})
	if err != nil {
		t.Fatal(err)
	}
	mb, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	m := mb.(*mailbox)
	snap, _ := m.Sync()
	var uids []uint32
	for _, msg := range snap.Msgs {
		uids = append(uids, msg.UID)
	}
	if !fresh {
		m.ClaimRecent()
		m.SetFlags(uids[:2], store.Add, store.Answered, []string{"Word"})
	}
	if err := m.Flush(); err != nil { // the cache, at least
		t.Fatal(err)
	}
	c := &crashFS{left: steps, lock: path + ".lock"}
	m.sys = c
	err = change(m, uids)
	if err == nil && c.dead {
		t.Fatal("a failure was not reported")
	}
	// The process is gone: nothing is flushed, the dotlock stays.
	m.timerStop()
	m.closeFile()
	if _, note, ok := bytes.Cut(c.note, []byte("\n")); ok && c.dead {
		os.WriteFile(c.lock, append([]byte(noPID), note...), 0o600)
	}
	return view(t, dir), !c.dead
}

func (m *mailbox) timerStop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
	}
}

// TestForeignOwner: root writes to a mailbox of somebody else's.
func TestForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root opens other people's mailboxes")
	}
	path := filepath.Join(t.TempDir(), "box")
	deliverOne(path, DeliverOptions{}, Delivery{})
	os.Chown(path, 65534, -1)
	s, _ := Open(Options{Inbox: path})
	m, _ := s.Open("INBOX")
	m.SetFlags([]uint32{1}, store.Add, store.Seen, nil)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); !bytes.Contains(b, []byte("Status: R")) {
		t.Errorf("%s", b)
	}
}

// texts returns the messages' texts without what crash tests do not change.
func texts(t *testing.T, dir string) []string {
	t.Helper()
	s, _ := Open(Options{Inbox: filepath.Join(dir, "spool"), Folders: filepath.Join(dir, "mail")})
	defer s.Close()
	m, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var out []string
	for _, msg := range m.Snapshot().Msgs {
		out = append(out, readAll(t, m, msg.UID))
	}
	return out
}

// twoCrashes lets a session and then a delivery die at given steps, in a mailbox
// with UIDs or without. It tells whether each came to its end.
func twoCrashes(t *testing.T, dir string, change func(*mailbox), numbered bool, first, second int) (one, two bool) {
	t.Helper()
	path := filepath.Join(dir, "spool")
	var msgs []Delivery
	for i := range 6 {
		msgs = append(msgs, Delivery{Date: time.Unix(1000000000, 0), Body: strings.NewReader(fmt.Sprintf("S: %d\n\nbody %d\n", i, i))})
	}
	if err := errors.Join(Deliver(path, DeliverOptions{}, msgs)...); err != nil {
		t.Fatal(err)
	}
	s, _ := Open(Options{Inbox: path, Folders: filepath.Join(dir, "mail")})
	b, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	m := b.(*mailbox)
	if numbered {
		m.ClaimRecent()
		if err := m.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	c := &crashFS{left: first, lock: path + ".lock"}
	m.sys = c
	change(m)
	m.timerStop()
	m.closeFile()
	leaveLock(c)
	d := &crashFS{left: second, lock: path + ".lock"}
	deliver(d, path, DeliverOptions{}, []Delivery{{Date: time.Unix(1000000001, 0), Body: strings.NewReader("S: new\n\n" + strings.Repeat("x\n", 300))}})
	leaveLock(d)
	return !c.dead, !d.dead
}

// leaveLock puts back the dotlock of a process that died.
func leaveLock(c *crashFS) {
	if _, note, ok := bytes.Cut(c.note, []byte("\n")); ok && c.dead {
		os.WriteFile(c.lock, append([]byte(noPID), note...), 0o600)
	}
}

// TestTwoCrashes: a delivery that finds the half-done work of a dead session
// dies, too, at every step of either.
func TestTwoCrashes(t *testing.T) {
	changes := map[string]func(m *mailbox){
		"grow": func(m *mailbox) {
			m.SetFlags([]uint32{1, 2, 3, 4, 5, 6}, store.Add, store.Seen, []string{"Important"})
			m.Flush()
		},
		"shrink": func(m *mailbox) { m.Expunge([]uint32{2, 3}) },
	}
	for name, change := range changes {
		for first := 0; ; first++ {
			one, two := false, false
			for second := 0; !two; second++ {
				dir := t.TempDir()
				one, two = twoCrashes(t, dir, change, name == "shrink", first, second)
				got := texts(t, dir)
				if len(got) > 0 && strings.HasPrefix(got[len(got)-1], "S: new") {
					if n := len(got) - 1; len(got[n]) == len("S: new\r\n\r\n")+900 {
						got = got[:n]
					}
				} else if two {
					t.Fatalf("%s, crashes at %d and %d: the new message is lost", name, first, second)
				}
				want := []string{"S: 0\r\n\r\nbody 0\r\n", "S: 1\r\n\r\nbody 1\r\n", "S: 2\r\n\r\nbody 2\r\n", "S: 3\r\n\r\nbody 3\r\n", "S: 4\r\n\r\nbody 4\r\n", "S: 5\r\n\r\nbody 5\r\n"}
				less := slices.Delete(slices.Clone(want), 1, 3)
				if !slices.Equal(got, want) && (name == "grow" || !slices.Equal(got, less)) {
					t.Fatalf("%s, crashes at %d and %d: %q", name, first, second, got)
				}
			}
			if one {
				break
			}
		}
	}
}

// TestAppendedAfterCut: a program that knows no journals appends between a
// crash and the recovery. Its mail stays.
func TestAppendedAfterCut(t *testing.T) {
	for step := range 50 {
		dir := t.TempDir()
		path := filepath.Join(dir, "spool")
		one, _ := twoCrashes(t, dir, func(m *mailbox) { m.Expunge([]uint32{2, 3}) }, true, step, 0)
		os.Remove(path + ".lock")
		f, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		f.WriteString("\nFrom x@y  Mon Nov 23 14:03:58 2026\nS: later\n\nlater\n\n")
		f.Close()
		got := texts(t, dir)
		if n := len(got); n == 0 || got[n-1] != "S: later\r\n\r\nlater\r\n" {
			t.Fatalf("crash at step %d: %q", step, got)
		}
		if one {
			return
		}
	}
}
