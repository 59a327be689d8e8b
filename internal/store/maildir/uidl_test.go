package maildir

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPOP3 holds the two names of a message, of which Dovecot's list may keep one.
func TestPOP3(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"cur", "new", "tmp"} {
		os.MkdirAll(filepath.Join(dir, d), 0o700)
	}
	os.WriteFile(filepath.Join(dir, "cur", "1.a.host,S=3:2,S"), []byte("\nx\n"), 0o600)
	os.WriteFile(filepath.Join(dir, "cur", "2.b.host:2,"), []byte("\nx\n"), 0o600)
	os.WriteFile(filepath.Join(dir, "dovecot-uidlist"), []byte("3 V9 N9\n4 :1.a.host,S=3:2,S\n5 W5 Pold-uidl :2.b.host\n"), 0o600)
	s, err := Open(Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	box, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	m := box.(*mailbox)
	for uid, want := range map[uint32][2]string{4: {"1.a.host,S=3", ""}, 5: {"2.b.host", "old-uidl"}, 6: {}} {
		if file, saved := m.POP3(uid); file != want[0] || saved != want[1] {
			t.Errorf("UID %d: %q %q", uid, file, saved)
		}
	}
}
