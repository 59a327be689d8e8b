package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func mailbox(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "box")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func lock(t *testing.T, path string, o LockOptions) (*MailboxLock, error) {
	t.Helper()
	return LockMailbox(context.Background(), path, open(t, path), o)
}

func TestLockHoldsBoth(t *testing.T) {
	path := mailbox(t)
	l, err := lock(t, path, LockOptions{})
	if err != nil || !l.Dotlocked() {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path + ".lock")
	if strings.TrimSpace(string(b)) != fmt.Sprint(os.Getpid()) {
		t.Errorf("dotlock holds %q", b)
	}
	if _, err := lock(t, path, LockOptions{Wait: 30 * time.Millisecond}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dotlock is still there: %v", err)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

// TestLockStale: locks whose owner cannot come back are broken at once, all
// others are respected.
func TestLockStale(t *testing.T) {
	host, _ := os.Hostname()
	old := time.Now().Add(-10 * time.Minute)
	for name, c := range map[string]struct {
		content string
		mtime   time.Time
		broken  bool
	}{
		"dead":                {"4194305\n", time.Now(), true},
		"dead, Dovecot's":     {"4194305:" + host, time.Now(), true},
		"dead, liblockfile's": {"  4194305\n", time.Now(), true},
		"other host":          {"4194305:elsewhere.example", time.Now(), false},
		"alive":               {fmt.Sprint(os.Getpid()), time.Now(), false},
		"procmail's":          {"0", time.Now(), false},
		"empty":               {"", time.Now(), false},
		"empty and old":       {"", old, true},
		"procmail's, old":     {"0", old, true},
	} {
		t.Run(name, func(t *testing.T) {
			quick(t, 80*time.Millisecond, func() time.Duration {
				path := mailbox(t)
				os.WriteFile(path+".lock", []byte(c.content), 0o444)
				os.Chtimes(path+".lock", c.mtime, c.mtime)
				start := time.Now()
				l, err := lock(t, path, LockOptions{Wait: 100 * time.Millisecond})
				if (err == nil) != c.broken {
					t.Fatalf("broken: %v, want %v", err == nil, c.broken)
				}
				if err != nil {
					return 0
				}
				l.Unlock()
				return time.Since(start)
			})
		})
	}
}

// quick demands that what is done takes no longer than limit at least once in ten
// times: a busy machine may hold up any of them, a sleep would hold up all.
func quick(t *testing.T, limit time.Duration, do func() time.Duration) {
	t.Helper()
	var took []time.Duration
	for range 10 {
		d := do()
		if d <= limit {
			return
		}
		took = append(took, d)
	}
	t.Errorf("took %v, each time more than %v", took, limit)
}

// TestLockWakes: the wait for either lock ends with a notification, not with a
// sleep.
func TestLockWakes(t *testing.T) {
	for _, kind := range []string{"dotlock", "fcntl"} {
		t.Run(kind, func(t *testing.T) {
			quick(t, 100*time.Millisecond, func() time.Duration { return woken(t, kind) })
		})
	}
}

// woken tells how long after the release of a lock it is got by somebody who
// waits.
func woken(t *testing.T, kind string) time.Duration {
	t.Helper()
	path := mailbox(t)
	release := func() { os.Remove(path + ".lock") }
	if kind == "dotlock" {
		os.WriteFile(path+".lock", []byte("0"), 0o444)
	} else {
		unlock, err := ReadLock(context.Background(), open(t, path))
		if err != nil {
			t.Fatal(err)
		}
		release = unlock
	}
	released := make(chan time.Time, 1)
	time.AfterFunc(60*time.Millisecond, func() { released <- time.Now(); release() })
	l, err := lock(t, path, LockOptions{Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	return time.Since(<-released)
}

// TestLockExcludes: many lockers, some of whom break the lock of a dead
// process at the same time, never hold it together.
func TestLockExcludes(t *testing.T) {
	path := mailbox(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Error(err)
					return
				}
				l, err := LockMailbox(context.Background(), path, f, LockOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := os.ReadFile(path)
				os.WriteFile(path, append(b, 'x'), 0o600)
				l.Unlock()
				f.Close()
				os.WriteFile(path+".dead", []byte("4194305\n"), 0o444)
				os.Link(path+".dead", path+".lock") // a process that died with the lock
			}
		})
	}
	wg.Wait()
	if b, _ := os.ReadFile(path); len(b) != 200 {
		t.Errorf("%d of 200 changes are there: two held the lock at once", len(b))
	}
}

func TestLockNoteAndDead(t *testing.T) {
	path := mailbox(t)
	os.WriteFile(path+".lock", []byte("4194305\nappend 5\n"), 0o444)
	got := ""
	l, err := lock(t, path, LockOptions{Note: func() string { return "mine\n" }, Dead: func(note string) { got = note }})
	if err != nil || got != "append 5\n" {
		t.Fatalf("%v, note %q", err, got)
	}
	if b, _ := os.ReadFile(path + ".lock"); !strings.HasSuffix(string(b), "\nmine\n") {
		t.Errorf("dotlock %q", b)
	}
	l.Unlock()
}

// TestLockReadOnlyFolder: without the right to make a dotlock fcntl has to do.
func TestLockReadOnlyFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	path := mailbox(t)
	os.Chmod(filepath.Dir(path), 0o500)
	defer os.Chmod(filepath.Dir(path), 0o700)
	l, err := lock(t, path, LockOptions{})
	if err != nil || l.Dotlocked() {
		t.Fatal(err)
	}
	if _, err := lock(t, path, LockOptions{Wait: 20 * time.Millisecond}); !errors.Is(err, ErrLocked) {
		t.Errorf("fcntl does not hold: %v", err)
	}
	l.Unlock()
}

func TestQuietKeepsAtime(t *testing.T) {
	path := mailbox(t)
	os.WriteFile(path, []byte("mail"), 0o600)
	past := time.Now().Add(-48 * time.Hour)
	os.Chtimes(path, past, time.Now())
	f, err := OpenQuiet(path, os.O_RDONLY, os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Read(make([]byte, 4))
	if st, _ := StatPath(path); st.Atime != past.UnixNano() {
		t.Errorf("reading moved atime to %v", time.Unix(0, st.Atime))
	}
	if err := Touch(path); err != nil {
		t.Fatal(err)
	}
	if st, _ := StatPath(path); st.Atime < st.Mtime {
		t.Error("Touch left atime before mtime")
	}
}

// TestLinkNamed: the dotlock is made where a file needs a name from its begin.
func TestLinkNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "box.lock")
	var l MailboxLock
	if err := l.linkNamed(path, "1\nnote\n"); err != nil {
		t.Fatal(err)
	}
	if err := l.linkNamed(path, "2\n"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second lock: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "1\nnote\n" {
		t.Errorf("%q", b)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}
