package disk

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// TestOpenAs: root takes exactly the rights of the account, and has its own back
// afterwards, in every thread.
func TestOpenAs(t *testing.T) {
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	os.WriteFile(private, []byte("x"), 0o600)
	os.WriteFile(public, []byte("x"), 0o644)
	f, err := OpenAs(private, os.Geteuid(), os.Getegid())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := RealPath(f); err != nil || p != private {
		t.Errorf("%q %v", p, err)
	}
	f.Close()
	pipe := filepath.Join(dir, "pipe")
	syscall.Mkfifo(pipe, 0o600)
	for _, path := range []string{pipe, dir} {
		if _, err := OpenAs(path, os.Geteuid(), os.Getegid()); !errors.As(err, new(*UntrustedError)) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if uid, err := OwnerOf(private); err != nil || uid != os.Geteuid() {
		t.Errorf("%d %v", uid, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root: it opens as another user")
	}
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := OpenAs(private, 65534, 65534); !errors.Is(err, os.ErrPermission) {
				t.Errorf("nobody opens root's file: %v", err)
			}
			f, err := OpenAs(public, 65534, 65534)
			if err != nil {
				t.Error(err)
				return
			}
			f.Close()
			if f, err = os.Open(private); err != nil { // any thread
				t.Errorf("root's rights are lost: %v", err)
				return
			}
			f.Close()
		})
	}
	wg.Wait()
}
