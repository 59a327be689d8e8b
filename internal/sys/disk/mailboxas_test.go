package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestOpenMailbox(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "alice")
	for _, what := range []string{"new", "there"} {
		f, err := OpenMailboxAs(path, os.Getuid(), os.Getgid(), os.Getuid())
		if err != nil {
			t.Fatal(what, err)
		}
		if st, err := StatFile(f); err != nil || st.Mode != 0o600 || !Names(path, f) {
			t.Errorf("%s: mode %o, %v", what, st.Mode, err)
		}
		f.Close()
	}
	if _, err := OpenMailbox(path, os.Getuid()+1); err == nil {
		t.Error("another user's mailbox was opened")
	}
	link, hard := filepath.Join(dir, "link"), filepath.Join(dir, "hard")
	if err := errors.Join(os.Symlink(path, link), os.Link(path, hard)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{link, hard, path, dir} {
		if f, err := OpenMailbox(p, -1); err == nil {
			t.Errorf("%s was opened", p)
			f.Close()
		}
	}
}

// Root opens with the rights of the user, and what it makes is his.
func TestOpenMailboxRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has others' rights")
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "nobody")
	if _, err := OpenMailboxAs(path, 65534, 65534, -1); !Denied(err) {
		t.Errorf("nobody makes a file in root's folder: %v", err)
	}
	if err := errors.Join(os.Chown(dir, 0, 8), os.Chmod(dir, 0o2775)); err != nil {
		t.Fatal(err)
	}
	if !SharedFolder(dir, 65534, 8) || SharedFolder(dir, 65534, 9) || SharedFolder(path, 65534, 8) {
		t.Error("a folder of group 8 is not seen as one")
	}
	f, err := OpenMailboxAs(path, 65534, 8, 65534)
	if err != nil {
		t.Fatal(err)
	}
	st, err := StatFile(f)
	f.Close()
	if err != nil || st.UID != 65534 || st.GID != 8 {
		t.Errorf("made for %d:%d, %v", st.UID, st.GID, err)
	}
	for _, mode := range []os.FileMode{0o755, 0o765, os.ModeSticky | 0o777} {
		if os.Chmod(dir, mode); SharedFolder(dir, 65534, 8) {
			t.Errorf("mode %v: group 8 may not remove all names", mode)
		}
	}
	os.Chmod(dir, 0o2775)
	if os.Chmod(filepath.Dir(dir), 0o700); SharedFolder(dir, 65534, 8) {
		t.Error("a folder that cannot be reached is shared")
	}
	os.Chmod(filepath.Dir(dir), 0o755)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMailboxAs(path, 65534, 8, -1); !Denied(err) {
		t.Errorf("a mailbox that its user may not write: %v", err)
	}
}

func TestNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Named(f, "/var/mail/alice")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.WriteString("x"); err != nil || g.Name() != "/var/mail/alice" {
		t.Errorf("%s: %v", g.Name(), err)
	}
	if _, err := f.WriteString("x"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the first handle is open: %v", err)
	}
	os.Rename(path, path+"2")
	if Names(path, g) || !Names(path+"2", g) {
		t.Error("a name that is gone")
	}
}

// A dead process's dotlock is left to whom its mailbox is left.
func TestSpare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".lock", fmt.Appendf(nil, "%d\n", dead.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	spare := true
	o := LockOptions{Wait: 50 * time.Millisecond, Spare: func() bool { return spare }}
	if _, err := LockMailbox(context.Background(), path, f, o); !errors.Is(err, ErrLocked) {
		t.Fatalf("a lock that is spared: %v", err)
	}
	spare = false
	l, err := LockMailbox(context.Background(), path, f, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}
