package maildir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Options{Root: t.TempDir() + "/Maildir"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func appendTo(t *testing.T, m store.Mailbox, n int) []uint32 {
	t.Helper()
	var msgs []store.New
	for i := range n {
		msgs = append(msgs, store.New{Body: strings.NewReader(fmt.Sprintf("S: %d\r\n\r\nbody\r\n", i)), Date: time.Unix(1e9+int64(i), 0)})
	}
	uids, err := m.Append(msgs)
	if err != nil {
		t.Fatal(err)
	}
	return uids
}

func text(t *testing.T, m store.Mailbox, uid uint32) string {
	t.Helper()
	r, err := m.Read(uid, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCopy: copies keep text, flags, keywords and date, also of files that
// somebody renames at that moment, and share the file.
func TestCopy(t *testing.T) {
	s := openStore(t)
	src := box(t, s, "INBOX")
	uids := appendTo(t, src, 3)
	src.SetFlags(uids[1:2], store.Add, store.Flagged, []string{"Word", "$Other"})
	s.Create("Copy")
	dst := box(t, s, "Copy")
	dst.Append([]store.New{{Body: strings.NewReader("a: b\n\nc\n"), Keywords: []string{"$other"}}})

	files, _ := filepath.Glob(s.o.Root + "/new/*")
	for _, f := range files { // mutt has read them
		os.Rename(f, strings.Replace(f, "/new/", "/cur/", 1)+":2,")
	}
	got, ok, err := src.(store.Copier).CopyTo(dst, uids)
	if err != nil || !ok || !slices.Equal(got, []uint32{2, 3, 4}) {
		t.Fatal(got, ok, err)
	}
	n := dst.Snapshot()
	if m := n.Msgs[2]; m.Flags != store.Flagged || len(n.Words(m.Keywords)) != 2 || m.Date != 1e9+1 || m.Size != 14 {
		t.Errorf("%+v %v", m, n.Words(m.Keywords))
	}
	if got := text(t, dst, 4); got != "S: 2\r\n\r\nbody\r\n" {
		t.Errorf("%q", got)
	}
	if _, err := src.Expunge(uids); err != nil {
		t.Fatal(err)
	}
	if got := text(t, dst, 2); got != "S: 0\r\n\r\nbody\r\n" {
		t.Errorf("%q", got)
	}
	if _, _, err := src.(store.Copier).CopyTo(dst, uids[:1]); err != store.ErrNoMessage {
		t.Errorf("a message that is gone: %v", err)
	}
}

// TestLies: names that lie about sizes cost one failed answer at most.
func TestLies(t *testing.T) {
	s := openStore(t)
	m := box(t, s, "INBOX")
	const body = "S: x\n\nbody\n"
	for _, name := range []string{"1.M1P1.h,S=12,W=999", "2.M1P1.h,S=5,W=7", "3.M1P1.h,S=,W=-3", "4.M1P1.h"} {
		os.WriteFile(filepath.Join(s.o.Root, "new", name), []byte(body), 0o600)
	}
	m.Sync()
	for uid := uint32(1); uid <= 4; uid++ {
		for range 2 {
			r, err := m.Read(uid, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err == nil && string(b) == strings.ReplaceAll(body, "\n", "\r\n") {
				break
			}
			t.Logf("message %d: %v, %q", uid, err, b)
		}
	}
	n, _ := m.Look(nil)
	for _, msg := range n.Msgs {
		if msg.Size != int64(len(body)+3) {
			t.Errorf("message %d: %d octets", msg.UID, msg.Size)
		}
	}
}

// TestRenameInboxUnknown: messages that nobody has looked at keep their dates
// when the inbox is renamed, by link and where a link cannot be.
func TestRenameInboxUnknown(t *testing.T) {
	for _, linked := range []bool{true, false} {
		s := openStore(t)
		if err := makeMaildir(s.o.Root, false); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			path := filepath.Join(s.o.Root, "cur", fmt.Sprintf("%d.M1P1.h:2,S", i))
			at := time.Unix(1e9+int64(i), 0)
			if err := errors.Join(os.WriteFile(path, fmt.Appendf(nil, "S: %d\n\nbody\n", i), 0o600), os.Chtimes(path, at, at)); err != nil {
				t.Fatal(err)
			}
		}
		move := func() error { return s.Rename("INBOX", "Old") }
		if !linked {
			move = func() error {
				if err := s.Create("Old"); err != nil {
					return err
				}
				return store.MoveAll(box(t, s, "Old"), plain{box(t, s, "INBOX")})
			}
		}
		if err := move(); err != nil {
			t.Fatal(err)
		}
		n, err := box(t, s, "Old").Look(nil)
		if err != nil || len(n.Msgs) != 3 || len(box(t, s, "INBOX").Snapshot().Msgs) != 0 {
			t.Fatal(n, err)
		}
		for i, msg := range n.Msgs {
			if want := fmt.Sprintf("S: %d\r\n\r\nbody\r\n", i); msg.Date != 1e9+int64(i) || msg.Flags != store.Seen || text(t, box(t, s, "Old"), msg.UID) != want {
				t.Errorf("linked %v: message %d is %+v", linked, i, msg)
			}
		}
	}
}

// plain is a mailbox that cannot copy by itself.
type plain struct{ store.Mailbox }

// TestForeign: links, folders and pipes among the messages are not followed.
func TestForeign(t *testing.T) {
	s := openStore(t)
	m := box(t, s, "INBOX")
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("secret"), 0o600)
	os.Symlink(secret, filepath.Join(s.o.Root, "cur", "1.M1P1.h:2,S"))
	os.Mkdir(filepath.Join(s.o.Root, "cur", "2.M1P1.h,S=3,W=3:2,"), 0o700)
	os.WriteFile(filepath.Join(s.o.Root, "cur", "3.M1P1.h:2,PZaS"), []byte("a: b\n"), 0o600)
	n, err := m.Sync()
	if err != nil || len(n.Msgs) != 3 {
		t.Fatal(n, err)
	}
	for uid := uint32(1); uid <= 2; uid++ {
		if r, err := m.Read(uid, 0, -1); err == nil {
			t.Errorf("message %d can be read", uid)
			r.Close()
		}
	}
	m.SetFlags([]uint32{3}, store.Add, store.Flagged, nil)
	if got, _ := filepath.Glob(s.o.Root + "/cur/3.*"); len(got) != 1 || !strings.HasSuffix(got[0], ":2,FPSZa") {
		t.Errorf("letters that we do not know: %v", got)
	}
}

// TestUIDsStay: the list of UIDs is believed before the folders' order, grows by
// what others append, and a torn line costs nothing but itself.
func TestUIDsStay(t *testing.T) {
	s := openStore(t)
	m := box(t, s, "INBOX")
	appendTo(t, m, 3)
	list := filepath.Join(s.o.Root, uidlist.FileName)
	b, _ := os.ReadFile(list)
	os.WriteFile(list, append(b, "77 :5.M1P1.h\n78 :torn"...), 0o600)
	os.WriteFile(filepath.Join(s.o.Root, "cur", "5.M1P1.h:2,"), []byte("a: b\n\n"), 0o600)
	os.WriteFile(filepath.Join(s.o.Root, "cur", "6.M1P1.h:2,"), []byte("a: b\n\n"), 0o600)
	n, err := m.Sync()
	if err != nil || len(n.Msgs) != 5 || n.Msgs[3].UID != 77 || n.Msgs[4].UID < 78 {
		t.Fatalf("%+v %v", n, err)
	}
	m.Close()
	s.Close()
	again, _ := Open(s.o)
	defer again.Close()
	if got := box(t, again, "INBOX").Snapshot(); !slices.EqualFunc(got.Msgs, n.Msgs, func(a, b store.Msg) bool { return a.UID == b.UID }) || got.UIDValidity != n.UIDValidity {
		t.Errorf("%+v", got)
	}
}
