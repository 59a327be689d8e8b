package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// asks fails the test when the watch does not answer want.
func asks(t *testing.T, w *Watch, what string, want bool) {
	t.Helper()
	got, err := w.Stirred()
	if err != nil || got != want {
		t.Errorf("%s: stirred %v, %v; want %v", what, got, err, want)
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	if !local(dir) {
		t.Skip("the folder for temporary files is on a file system that is not watched")
	}
	w, err := NewWatch()
	if err != nil {
		t.Skip("no inotify here: ", err)
	}
	defer w.Close()
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	add := func() {
		t.Helper()
		if err := w.Add(home, os.Getuid(), os.Getgid()); err != nil {
			t.Fatal(err)
		}
		asks(t, w, "at rest", false)
	}
	file, link := filepath.Join(home, ".forward"), filepath.Join(home, "link")
	changes := []struct {
		what string
		do   func() error
	}{
		{"a file", func() error { return os.WriteFile(file, nil, 0o600) }},
		{"a link to it", func() error { return os.Symlink(file, link) }},
		{"another name", func() error { return os.Link(file, filepath.Join(home, "hard")) }},
		{"a rename", func() error { return os.Rename(file, filepath.Join(home, "new")) }},
		{"the folder's mode", func() error { return os.Chmod(home, 0o711) }},
		{"the folder's name", func() error { return os.Rename(home, home+"2") }},
	}
	for _, c := range changes {
		add()
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		asks(t, w, c.what, true)
		asks(t, w, c.what+" again", false)
	}
	home += "2"
	add()
	if err := os.RemoveAll(home); err != nil {
		t.Fatal(err)
	}
	asks(t, w, "the folder's end", true)
	if w.Add(home, os.Getuid(), os.Getgid()) == nil || w.Add(file, os.Getuid(), os.Getgid()) == nil {
		t.Error("what is not there is watched")
	}
}

// Nobody sees into a folder that he may not read.
func TestWatchRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has others' rights")
	}
	w, err := NewWatch()
	if err != nil {
		t.Skip("no inotify here: ", err)
	}
	defer w.Close()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if w.Add(dir, 65534, 65534) == nil {
		t.Error("nobody watches root's folder")
	}
}
