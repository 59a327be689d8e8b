package disk

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestSyncShared: every caller returns, with an answer, however many come at once.
func TestSyncShared(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := d.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, s := range []string{"old", "new"} {
		if err := WriteFile(path, []byte(s), 0o640); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(path)
		fi, _ := os.Stat(path)
		if string(b) != s || fi.Mode().Perm() != 0o640 {
			t.Errorf("%q %v", b, fi.Mode())
		}
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

func TestOpenTrusted(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	f, err := OpenTrusted(file, os.O_RDWR, os.Getuid())
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := OpenTrusted(file, os.O_RDWR, os.Getuid()+1); err == nil {
		t.Error("a foreign file was opened")
	}
	soft, hard := filepath.Join(dir, "soft"), filepath.Join(dir, "hard")
	os.Symlink(file, soft)
	os.Link(file, hard)
	for _, p := range []string{soft, hard, file, dir} {
		if f, err := OpenTrusted(p, os.O_RDONLY, -1); err == nil {
			t.Errorf("%s was opened", f.Name())
		}
	}
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	f, err := LockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockFile(path); err != ErrRunning {
		t.Errorf("locked twice: %v", err)
	}
	f.Close()
	if f, err = LockFile(path); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}

// TestSoleName: a second name is seen, and so is a name that was taken away
// while the other one stayed.
func TestSoleName(t *testing.T) {
	dir := t.TempDir()
	path, other := dir+"/box", dir+"/other"
	sole := func(f *os.File, want bool, when string) {
		t.Helper()
		if got, err := SoleName(f); err != nil || got != want {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	os.WriteFile(path, nil, 0o600)
	f := open(t, path)
	sole(f, true, "one name")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	sole(f, false, "two names")
	os.Remove(path)
	sole(f, false, "one name, of another")
	os.Link(other, path)
	os.Remove(other)
	sole(f, false, "a name that is gone does not come back")
	sole(open(t, path), true, "opened again")
}
