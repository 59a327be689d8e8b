package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// TestSwitcher: many goroutines act as different accounts, and nobody is left as
// somebody else.
func TestSwitcher(t *testing.T) {
	s, err := NewSwitcher()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: other accounts must come in.
	dir, err := os.MkdirTemp("", "switcher")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o777)
	made := func(a Account, name string) error {
		path := filepath.Join(dir, name)
		var ferr error
		if err := s.As(a, func() { ferr = os.WriteFile(path, nil, 0o600) }); err != nil {
			return err
		}
		if ferr != nil {
			return ferr
		}
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != a.UID || int(st.Gid) != a.GID {
			return fmt.Errorf("%s belongs to %d:%d, not to %d:%d", name, st.Uid, st.Gid, a.UID, a.GID)
		}
		return nil
	}
	own := Account{UID: os.Geteuid(), GID: os.Getegid()}
	if err := made(own, "own"); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		if made(Account{UID: own.UID + 1, GID: own.GID}, "foreign") == nil {
			t.Error("an ordinary user acts as somebody else")
		}
		t.Skip("the rest needs root")
	}
	secret := filepath.Join(dir, "secret")
	os.WriteFile(secret, nil, 0o600)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			a := Account{UID: 54321 + i%10, GID: 54321 + i%7, Groups: []int{54321}}
			if err := made(a, fmt.Sprint("f", i)); err != nil {
				t.Error(err)
			}
			s.As(a, func() {
				if f, err := os.Open(secret); err == nil {
					f.Close()
					t.Error("root's file can be read as another user")
				}
			})
			// This goroutine may run on any thread that somebody used before.
			if f, err := os.OpenFile(secret, os.O_RDWR, 0); err != nil {
				t.Error("a thread was left as somebody else: ", err)
			} else {
				f.Close()
			}
		})
	}
	wg.Wait()
	func() {
		defer func() { recover() }()
		s.As(Account{UID: 54321, GID: 54321}, func() { panic("x") })
	}()
	if err := made(own, "after"); err != nil {
		t.Error("after a panic: ", err)
	}
}
