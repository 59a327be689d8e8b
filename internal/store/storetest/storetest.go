// Package storetest holds every kind of store to the contract of package
// store. A test of the kind calls Run with a function that makes a new, empty
// store each time; Open on the same place again must find what was written.
package storetest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/store"
)

// Place is one empty place for mail; Open opens the store there, again after
// the one before was closed.
type Place struct {
	Open func() (store.Store, error)
}

// Run runs the suite.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Append": testAppend, "Flags": testFlags, "Expunge": testExpunge, "Reopen": testReopen,
		"Folders": testFolders, "BadNames": testBadNames, "Rename": testRename, "RenameInbox": testRenameInbox,
		"Subscribe": testSubscribe, "Parts": testParts, "Watch": testWatch, "Recent": testRecent,
		"Snapshots": testSnapshots, "Concurrent": testConcurrent, "Gone": testGone, "Dates": testDates, "ModSeq": testModSeq, "NothingLeft": testNothingLeft,
	} {
		t.Run(name, func(t *testing.T) { test(t, place(t)) })
	}
}

func open(t *testing.T, p Place) store.Store {
	t.Helper()
	s, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func box(t *testing.T, s store.Store, name string) store.Mailbox {
	t.Helper()
	m, err := s.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// text is a message with CRLF line ends.
func text(i int) string {
	return fmt.Sprintf("From: a@b\r\nSubject: message %d\r\n\r\nbody of %d\r\nsecond line\r\n", i, i)
}

func add(t *testing.T, m store.Mailbox, from, n int) []uint32 {
	t.Helper()
	var msgs []store.New
	for i := range n {
		msgs = append(msgs, store.New{Body: strings.NewReader(text(from + i))})
	}
	uids, err := m.Append(msgs)
	if err != nil || len(uids) != n {
		t.Fatalf("append: %v %v", uids, err)
	}
	return uids
}

func body(t *testing.T, m store.Mailbox, uid uint32, off, n int64) string {
	t.Helper()
	r, err := m.Read(uid, off, n)
	if err != nil {
		t.Fatalf("read %d: %v", uid, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %d: %v", uid, err)
	}
	return string(b)
}

func sync1(t *testing.T, m store.Mailbox) *store.Snapshot {
	t.Helper()
	s, err := m.Sync()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func uidsOf(s *store.Snapshot) []uint32 {
	var u []uint32
	for _, m := range s.Msgs {
		u = append(u, m.UID)
	}
	return u
}

func testAppend(t *testing.T, p Place) {
	m := box(t, open(t, p), "INBOX")
	uids := add(t, m, 0, 3)
	s := sync1(t, m)
	if !slices.Equal(uids, uidsOf(s)) || s.UIDNext != uids[2]+1 || s.UIDValidity == 0 {
		t.Fatalf("uids %v, snapshot %+v", uids, s)
	}
	for i, msg := range s.Msgs {
		if got := body(t, m, msg.UID, 0, -1); got != text(i) {
			t.Errorf("message %d: %q", i, got)
		}
		if msg.Size != int64(len(text(i))) || msg.Header != int64(strings.Index(text(i), "\r\n\r\n")+4) {
			t.Errorf("message %d: size %d header %d", i, msg.Size, msg.Header)
		}
	}
	again, err := m.Sync()
	if err != nil || again != s {
		t.Errorf("a mailbox that did not change gave another snapshot")
	}
	bad := []store.New{{Body: strings.NewReader(text(9))}, {Body: io.MultiReader(strings.NewReader("X: y\r\n"), failing{})}}
	if _, err := m.Append(bad); err == nil {
		t.Error("append of an unreadable message succeeded")
	}
	if s := sync1(t, m); len(s.Msgs) != 3 {
		t.Errorf("%d messages after a failed append, want 3", len(s.Msgs))
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken pipe") }

func testFlags(t *testing.T, p Place) {
	s := open(t, p)
	m := box(t, s, "INBOX")
	uids := add(t, m, 0, 3)
	before := sync1(t, m)
	snap, err := m.SetFlags(uids[:2], store.Add, store.Seen|store.Flagged, []string{"$Label1", "Junk"})
	if err != nil {
		t.Fatal(err)
	}
	if snap.Msgs[0].Flags != store.Seen|store.Flagged || snap.Msgs[2].Flags != 0 || snap.ModSeq <= before.ModSeq {
		t.Fatalf("%+v", snap)
	}
	if w := snap.Words(snap.Msgs[1].Keywords); !slices.Equal(w, []string{"$Label1", "Junk"}) {
		t.Errorf("keywords %v", w)
	}
	m.SetFlags(uids, store.Remove, store.Flagged, []string{"junk"})
	snap, _ = m.SetFlags(uids[2:], store.Replace, store.Answered|store.Draft|store.Deleted, nil)
	if same, _ := m.SetFlags(append(uids[2:], 9999), store.Add, store.Answered, nil); same.ModSeq != snap.ModSeq {
		t.Error("a change of nothing changed the mod-sequence")
	}
	want := []store.Flag{store.Seen, store.Seen, store.Answered | store.Draft | store.Deleted}
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	got := sync1(t, box(t, open(t, p), "INBOX"))
	for i := range want {
		if got.Msgs[i].Flags != want[i] || got.Msgs[i].UID != uids[i] {
			t.Errorf("message %d after reopening: %+v", i, got.Msgs[i])
		}
	}
	if w := got.Words(got.Msgs[0].Keywords); !slices.Equal(w, []string{"$Label1"}) {
		t.Errorf("keywords after reopening: %v", w)
	}
}

func testExpunge(t *testing.T, p Place) {
	m := box(t, open(t, p), "INBOX")
	uids := add(t, m, 0, 10)
	old := sync1(t, m)
	snap, err := m.Expunge([]uint32{uids[0], uids[4], uids[9], 12345})
	if err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(uids), func(u uint32) bool { return u == uids[0] || u == uids[4] || u == uids[9] })
	if !slices.Equal(uidsOf(snap), want) || snap.UIDNext != old.UIDNext || len(old.Msgs) != 10 {
		t.Fatalf("left %v, want %v", uidsOf(snap), want)
	}
	for _, u := range want {
		if got := body(t, m, u, 0, -1); got != text(int(u-uids[0])) {
			t.Errorf("uid %d: %q", u, got)
		}
	}
	if _, err := m.Read(uids[4], 0, -1); !errors.Is(err, store.ErrNoMessage) {
		t.Errorf("reading an expunged message: %v", err)
	}
	if snap, err = m.Expunge(want); err != nil || len(snap.Msgs) != 0 || snap.UIDNext != old.UIDNext {
		t.Fatalf("expunge of all: %+v %v", snap, err)
	}
	if next := add(t, m, 50, 1); next[0] != old.UIDNext {
		t.Errorf("new message got UID %d, want %d: UIDs are never given twice", next[0], old.UIDNext)
	}
}

func testReopen(t *testing.T, p Place) {
	s := open(t, p)
	m := box(t, s, "INBOX")
	uids := add(t, m, 0, 20)
	snap, _ := m.Expunge(uids[3:7])
	s.Close()
	got := sync1(t, box(t, open(t, p), "INBOX"))
	if got.UIDValidity != snap.UIDValidity || got.UIDNext != snap.UIDNext || !slices.Equal(uidsOf(got), uidsOf(snap)) {
		t.Fatalf("reopened: %+v, was %+v", got, snap)
	}
}

func names(t *testing.T, s store.Store) []string {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range list {
		n := f.Name
		if f.NoSelect {
			n += "(noselect)"
		}
		if f.Subscribed {
			n += "+"
		}
		out = append(out, n)
	}
	slices.Sort(out[1:])
	return out
}

func testParts(t *testing.T, p Place) {
	m := box(t, open(t, p), "INBOX")
	var b strings.Builder
	b.WriteString("From: a@b\r\nSubject: long\r\n\r\n")
	for i := range 20000 {
		fmt.Fprintf(&b, "line %d of a long body\r\n", i)
	}
	all := b.String()
	uids, err := m.Append([]store.New{{Body: strings.NewReader(all)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]int64{{0, 0}, {0, 10}, {5, 100}, {25, 7}, {0, 27}, {27, 1}, {100000, 70000}, {170000, 70000}, {int64(len(all)) - 5, 100}, {int64(len(all)) + 5, 10}, {200, -1}} {
		want := all[min(c[0], int64(len(all))):]
		if c[1] >= 0 {
			want = want[:min(c[1], int64(len(want)))]
		}
		if got := body(t, m, uids[0], c[0], c[1]); got != want {
			t.Errorf("part %v: %d octets, want %d", c, len(got), len(want))
		}
	}
}

func testWatch(t *testing.T, p Place) {
	s := open(t, p)
	m := box(t, s, "INBOX")
	add(t, m, 0, 1)
	ch, cancel := m.Watch()
	defer cancel()
	select {
	case <-ch: // of the append, perhaps
	case <-time.After(50 * time.Millisecond):
	}
	add(t, box(t, s, "INBOX"), 1, 1)
	select {
	case <-ch:
	case <-time.After(5 * time.Second):
		t.Error("nobody told of a new message")
	}
	cancel()
}

func testRecent(t *testing.T, p Place) {
	s := open(t, p)
	m := box(t, s, "INBOX")
	uids := add(t, m, 0, 2)
	if err := m.ClaimRecent(); err != nil {
		t.Fatal(err)
	}
	if got := m.Snapshot(); got.FirstRecent != got.UIDNext || got.UIDNext != uids[1]+1 {
		t.Errorf("%+v", got)
	}
	s.Close()
	s = open(t, p)
	m = box(t, s, "INBOX")
	next := add(t, m, 2, 1)
	if got := sync1(t, m); got.FirstRecent != next[0] {
		t.Errorf("first recent %d, want %d", got.FirstRecent, next[0])
	}
}

func testSnapshots(t *testing.T, p Place) {
	m := box(t, open(t, p), "INBOX")
	uids := add(t, m, 0, 5)
	old := sync1(t, m)
	copied := slices.Clone(old.Msgs)
	m.SetFlags(uids, store.Add, store.Seen, []string{"x"})
	m.Expunge(uids[:2])
	add(t, m, 9, 3)
	if !slices.Equal(old.Msgs, copied) || len(old.Keywords) != 0 {
		t.Error("a snapshot was changed after it was handed out")
	}
}

// testConcurrent lets sessions of one process work at once.
func testConcurrent(t *testing.T, p Place) {
	s := open(t, p)
	m := box(t, s, "INBOX")
	first := add(t, m, 0, 10)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			b, err := s.Open("INBOX")
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			for i := range 5 {
				uids, err := b.Append([]store.New{{Body: strings.NewReader(text(100*g + i))}})
				if err != nil {
					t.Error(err)
					return
				}
				b.SetFlags(uids, store.Add, store.Seen, nil)
				r, err := b.Read(uids[0], 0, -1)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r)
				r.Close()
				if err != nil || string(got) != text(100*g+i) {
					t.Errorf("%v, read %q, want %q", err, got, text(100*g+i))
				}
				if _, err := b.Expunge(first[2*g+i%2 : 2*g+i%2+1]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := sync1(t, m); len(got.Msgs) != 10-8+20 {
		t.Errorf("%d messages, want 22", len(got.Msgs))
	}
}

func testGone(t *testing.T, p Place) {
	s := open(t, p)
	s.Create("Box")
	m := box(t, s, "Box")
	add(t, m, 0, 2)
	if err := s.Delete("Box"); err != nil {
		t.Fatal(err)
	}
	if snap, err := m.Sync(); err == nil && len(snap.Msgs) != 0 {
		t.Errorf("a deleted folder shows %d messages", len(snap.Msgs))
	}
	if err := s.Create("Box"); err != nil {
		t.Fatal(err)
	}
	if got := sync1(t, box(t, s, "Box")); len(got.Msgs) != 0 {
		t.Errorf("the new folder shows %d messages", len(got.Msgs))
	}
}

func testDates(t *testing.T, p Place) {
	m := box(t, open(t, p), "INBOX")
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	if _, err := m.Append([]store.New{{Body: strings.NewReader(text(1)), Date: at}}); err != nil {
		t.Fatal(err)
	}
	if got := sync1(t, m).Msgs[0].Date; got != at.Unix() {
		t.Errorf("date %d, want %d", got, at.Unix())
	}
}
