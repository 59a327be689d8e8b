package mbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/sys/disk"
)

// Mail is written to the file that Open gives, which stays open; when another file has
// the name by then, Open is asked again.
func TestDeliverOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice")
	var f *os.File
	stale, calls := false, 0
	open := func() (*os.File, error) {
		calls++
		if f != nil && (stale || disk.Names(path, f)) {
			stale = false
			return f, nil
		}
		var err error
		f, err = disk.OpenMailbox(path, -1)
		return f, err
	}
	send := func(text string) {
		t.Helper()
		errs := Deliver(path, DeliverOptions{Open: open}, []Delivery{{Sender: "a@b", Body: strings.NewReader(text)}})
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	send("Subject: one\n\n1\n")
	send("Subject: two\n\n2\n")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	stale, calls = true, 0 // it is replaced behind Open's back
	send("Subject: three\n\n3\n")
	if calls != 2 {
		t.Errorf("Open was called %d times", calls)
	}
	f.Close()
	for name, want := range map[string]string{path: "three", path + ".old": "one two"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(b)) {
			if s, ok := strings.CutPrefix(line, "Subject: "); ok {
				got = append(got, strings.TrimSpace(s))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s has %q", filepath.Base(name), got)
		}
	}
}
