package mbox

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/sys/disk"
)

// locked tells whether another handle of the file can get a read lock.
func locked(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	unlock, err := disk.ReadLock(ctx, f)
	if err == nil {
		unlock()
	}
	return err != nil
}

func openOne(t *testing.T, wait time.Duration) (*mailbox, string) {
	t.Helper()
	path := t.TempDir() + "/spool"
	Deliver(path, DeliverOptions{}, []Delivery{{Body: strings.NewReader("S: 1\n\none\n")}, {Body: strings.NewReader("S: 2\n\ntwo\n")}})
	s, _ := Open(Options{Inbox: path, LockTimeout: wait})
	m, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	return m.(*mailbox), path
}

// TestReadKeepsWriteLock: a session that reads must not give up the lock of
// another session of the process that writes.
func TestReadKeepsWriteLock(t *testing.T) {
	m, path := openOne(t, 0)
	defer m.Close()
	lock, err := m.lock()
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, m, 1); got != "S: 1\r\n\r\none\r\n" {
		t.Errorf("%q", got)
	}
	if !locked(t, path) {
		t.Error("reading dropped the write lock")
	}
	lock.Unlock()
	if locked(t, path) {
		t.Error("still locked")
	}
}

// TestLockTimeout: who gave up waiting for a lock tries again later, loses
// nothing, and what is left of the first wait does not drop the second lock.
func TestLockTimeout(t *testing.T) {
	m, path := openOne(t, 50*time.Millisecond)
	defer m.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, err := disk.LockMailbox(context.Background(), path, f, disk.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.SetFlags([]uint32{2}, store.Add, store.Flagged, nil)
	if err := m.Flush(); !errors.Is(err, disk.ErrLocked) {
		t.Fatalf("Flush: %v", err)
	}
	if _, err := m.Expunge([]uint32{1}); !errors.Is(err, disk.ErrLocked) {
		t.Fatalf("Expunge: %v", err)
	}
	other.Unlock()
	if got := readAll(t, m, 2); got != "S: 2\r\n\r\ntwo\r\n" {
		t.Errorf("%q", got)
	}
	lock, err := m.lock()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if !locked(t, path) {
		t.Error("an old wait dropped the lock")
	}
	lock.Unlock()
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); !strings.Contains(string(b), "X-Status: F") {
		t.Errorf("the flag is lost:\n%s", b)
	}
}

// TestSelectWhileFlushed: while the session before is being written, the next one
// can be shown the mailbox.
func TestSelectWhileFlushed(t *testing.T) {
	dir := t.TempDir()
	Deliver(dir+"/spool", DeliverOptions{}, []Delivery{{Body: strings.NewReader("S: 1\n\none\n")}})
	s, err := Open(Options{Inbox: dir + "/spool", Folders: dir + "/mail"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	m := b.(*mailbox)
	if err := m.ClaimRecent(); err != nil {
		t.Fatal(err)
	}
	id, err := m.GUID()
	if err != nil || id == "" {
		t.Fatal(id, err)
	}
	m.mu.Lock() // as Flush does
	m.own.Store(true)
	defer m.mu.Unlock()
	done := make(chan error)
	go func() {
		_, err := m.Sync()
		again, gerr := m.GUID()
		if again != id {
			err = errors.New("another id")
		}
		done <- errors.Join(err, gerr, m.ClaimRecent(), m.store.check(m))
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("SELECT waits for the flush")
	}
}
