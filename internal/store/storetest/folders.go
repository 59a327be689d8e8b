package storetest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
)

func testFolders(t *testing.T, p Place) {
	s := open(t, p)
	if got := names(t, s); !slices.Equal(got, []string{"INBOX"}) {
		t.Errorf("a new store has %v", got)
	}
	for _, n := range []string{"Sent", "Entwürfe", "Lists/go", "A & B"} {
		if err := s.Create(n); err != nil {
			t.Fatalf("create %s: %v", n, err)
		}
		if err := s.Create(n); !errors.Is(err, store.ErrExists) {
			t.Errorf("create %s again: %v", n, err)
		}
		add(t, box(t, s, n), 1, 1)
	}
	if got := names(t, s); !slices.Contains(got, "Entwürfe") || !slices.Contains(got, "Lists/go") || got[0] != "INBOX" {
		t.Errorf("list: %v", got)
	}
	if err := s.Create("inbox"); !errors.Is(err, store.ErrExists) {
		t.Errorf("create inbox: %v", err)
	}
	if _, err := s.Open("Nowhere"); !errors.Is(err, store.ErrNoMailbox) {
		t.Errorf("open of nothing: %v", err)
	}
	if err := s.Delete("Nowhere"); !errors.Is(err, store.ErrNoMailbox) {
		t.Errorf("delete of nothing: %v", err)
	}
	if err := s.Delete("INBOX"); err == nil {
		t.Error("the inbox was deleted")
	}
	if err := s.Delete("Sent"); err != nil || slices.Contains(names(t, s), "Sent") {
		t.Errorf("delete: %v, list %v", err, names(t, s))
	}
}

func testBadNames(t *testing.T, p Place) {
	s := open(t, p)
	for _, n := range []string{"", "..", "../x", "a/../../b", "/etc/passwd", "a//b", "a\x00b", "a\nb", "~root/x", ".imap/x",
		"\xff\xfe", strings.Repeat("x", 5000), "a/.", "%", "*"} {
		if err := s.Create(n); !errors.Is(err, store.ErrBadName) {
			t.Errorf("create %.20q: %v", n, err)
		}
		if _, err := s.Open(n); !errors.Is(err, store.ErrBadName) {
			t.Errorf("open %.20q: %v", n, err)
		}
		if err := s.Delete(n); !errors.Is(err, store.ErrBadName) {
			t.Errorf("delete %.20q: %v", n, err)
		}
		if err := s.Subscribe(n, true); !errors.Is(err, store.ErrBadName) {
			t.Errorf("subscribe %.20q: %v", n, err)
		}
	}
}

func testRename(t *testing.T, p Place) {
	s := open(t, p)
	if err := s.Create("Old"); err != nil {
		t.Fatal(err)
	}
	m := box(t, s, "Old")
	uids := add(t, m, 0, 2)
	m.Close()
	if err := s.Rename("Old", "New/Place"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("Old"); !errors.Is(err, store.ErrNoMailbox) {
		t.Errorf("the old name opens: %v", err)
	}
	if got := sync1(t, box(t, s, "New/Place")); !slices.Equal(uidsOf(got), uids) {
		t.Errorf("after rename: %v", uidsOf(got))
	}
	if err := s.Rename("Nowhere", "X"); !errors.Is(err, store.ErrNoMailbox) {
		t.Errorf("rename of nothing: %v", err)
	}
	if err := s.Create("There"); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename("There", "New/Place"); !errors.Is(err, store.ErrExists) {
		t.Errorf("rename onto a folder: %v", err)
	}
}

func testRenameInbox(t *testing.T, p Place) {
	s := open(t, p)
	m := box(t, s, "INBOX")
	var msgs []store.New
	for i := range 3 {
		msgs = append(msgs, store.New{Body: strings.NewReader(text(i)), Date: time.Unix(1e9+int64(i), 0)})
	}
	uids, err := m.Append(msgs)
	if err != nil {
		t.Fatal(err)
	}
	m.SetFlags(uids[1:2], store.Add, store.Seen, []string{"Word"})
	if err := s.Rename("INBOX", "Old mail"); err != nil {
		t.Fatal(err)
	}
	if got := sync1(t, m); len(got.Msgs) != 0 {
		t.Errorf("inbox has %d messages", len(got.Msgs))
	}
	moved := box(t, s, "Old mail")
	got := sync1(t, moved)
	if len(got.Msgs) != 3 || got.Msgs[1].Flags != store.Seen || len(got.Words(got.Msgs[1].Keywords)) != 1 {
		t.Fatalf("moved: %+v", got)
	}
	if b := body(t, moved, got.Msgs[2].UID, 0, -1); b != text(2) {
		t.Errorf("moved message: %q", b)
	}
	if got, err = moved.Look(nil); err != nil {
		t.Fatal(err)
	}
	for i, msg := range got.Msgs {
		if msg.Date != 1e9+int64(i) {
			t.Errorf("moved message %d has the date %d", i, msg.Date)
		}
	}
}

func testSubscribe(t *testing.T, p Place) {
	s := open(t, p)
	s.Create("Sent")
	for _, n := range []string{"Sent", "Sub/Gone", "inbox", "Entwürfe"} {
		if err := s.Subscribe(n, true); err != nil {
			t.Fatal(err)
		}
	}
	s.Subscribe("Entwürfe", false)
	s.Close()
	got := names(t, open(t, p))
	if !slices.Equal(got, []string{"INBOX+", "Sent+", "Sub/Gone(noselect)+"}) {
		t.Errorf("subscriptions: %v", got)
	}
}
