package grants

import (
	"os"
	"path/filepath"
	"testing"

	"packetboat/internal/route/alias"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// What an engine remembers ends with the first name that comes into a home.
func TestAbsent(t *testing.T) {
	home := t.TempDir()
	u := &proc.User{Name: "alice", UID: os.Getuid(), GID: os.Getgid(), Home: home}
	q := alias.ForwardQuery{User: "alice", Local: "alice", Addr: "alice@example.org"}
	r := &Rules{Path: "$home/.forward${recipient_delimiter}${extension}, $home/.forward", PathChars: safeChars}
	w, err := disk.NewWatch()
	if err != nil {
		t.Skip("no inotify here: ", err)
	}
	defer w.Close()
	if !r.WatchForward(w, q, u) {
		t.Skip("the folder for temporary files is on a file system that is not watched")
	}
	f := Forward{"local", q}
	var a Absent
	_, epoch := a.Has(f)
	a.Note(f, epoch)
	if yes, _ := a.Has(f); yes {
		t.Error("it remembers without a watch")
	}
	a.Watch(w)
	_, epoch = a.Has(f)
	a.Note(f, epoch)
	if yes, _ := a.Has(f); !yes {
		t.Error("it does not remember")
	}
	if yes, _ := a.Has(Forward{"other", q}); yes {
		t.Error("services are mixed up")
	}
	if err := os.WriteFile(filepath.Join(home, ".forward"), []byte("bob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if yes, _ := a.Has(f); yes {
		t.Error("a new .forward is not seen")
	}
	// Something happens while the parent looks: its answer may be from before.
	r.WatchForward(w, q, u)
	_, epoch = a.Has(f)
	if err := os.Remove(filepath.Join(home, ".forward")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".forward+x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Note(f, epoch)
	if yes, _ := a.Has(f); yes {
		t.Error("an answer from before the change is believed")
	}
	if r.WatchForward(w, q, &proc.User{Home: filepath.Join(home, "gone")}) || r.WatchForward(nil, q, u) {
		t.Error("what cannot be watched is")
	}
}
