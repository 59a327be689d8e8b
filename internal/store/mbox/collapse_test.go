package mbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/sys/disk"
)

// countFS counts cuts, and may refuse them.
type countFS struct {
	journal.Disk
	cuts   int
	refuse error
}

func (c *countFS) Collapse(f *os.File, off, n int64) error {
	c.cuts++
	if c.refuse != nil {
		return c.refuse
	}
	return c.Disk.Collapse(f, off, n)
}

// large makes a mailbox of n messages, which a session has seen, of up to max
// octets each; it skips the test where files cannot be cut.
func large(t testing.TB, dir string, n, max int) (*mailbox, []string) {
	t.Helper()
	path := filepath.Join(dir, "spool")
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	var msgs []Delivery
	var bodies []string
	for i := range n {
		line := strings.Repeat(string(rune('a'+i%26)), 60+i%10) + "\n"
		bodies = append(bodies, fmt.Sprintf("Subject: %d\n\nbody %d\n%s", i, i, strings.Repeat(line, rnd.IntN(max/60))))
		msgs = append(msgs, Delivery{Sender: "a@b", Body: strings.NewReader(bodies[i])})
	}
	if errs := Deliver(path, DeliverOptions{}, msgs); slices.ContainsFunc(errs, func(e error) bool { return e != nil }) {
		t.Fatal(errs)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := disk.CollapseUnit(f); !ok {
		t.Skip("this file system cannot collapse ranges (ext4 and xfs can): set TMPDIR to a folder on one that can")
	}
	s, err := Open(Options{Inbox: path, Folders: filepath.Join(dir, "mail")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	b.ClaimRecent()
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.(*mailbox), bodies
}

// TestCollapse: whatever goes, the rest stays as it was, under its UIDs, and what
// we know of the file is what a scan of it finds.
func TestCollapse(t *testing.T) {
	for name, gone := range map[string]func(i, n int) bool{
		"first half":  func(i, n int) bool { return i < n/2 },
		"one":         func(i, n int) bool { return i == n/3 },
		"first":       func(i, n int) bool { return i == 0 },
		"some":        func(i, n int) bool { return i%9 == 4 && i < n-1 },
		"all but two": func(i, n int) bool { return i != 0 && i != n-1 },
		"neighbours":  func(i, n int) bool { return i%3 != 1 && i > 20 && i < 80 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m, bodies := large(t, dir, 150, 40000)
			c := &countFS{}
			m.sys = c
			var drop []uint32
			want := map[uint32]string{}
			for i, msg := range m.Snapshot().Msgs {
				if gone(i, len(bodies)) {
					drop = append(drop, msg.UID)
				} else {
					want[msg.UID] = strings.ReplaceAll(bodies[i], "\n", "\r\n")
				}
			}
			m.SetFlags(drop, store.Add, store.Deleted, nil)
			m.SetFlags([]uint32{m.Snapshot().Msgs[100].UID, m.Snapshot().Msgs[149].UID}, store.Add, store.Flagged, []string{"Word"})
			was, _ := os.Stat(m.path)
			if _, err := m.Expunge(drop); err != nil {
				t.Fatal(err)
			}
			is, err := os.Stat(m.path)
			if err != nil || c.cuts == 0 || !os.SameFile(was, is) || is.Size() >= was.Size() {
				t.Fatalf("%d cuts, %d octets became %d, %v", c.cuts, was.Size(), is.Size(), err)
			}
			sound(t, m, want)
			// Once more, over the blanks that the first one has left.
			next := m.Snapshot().Msgs[len(want)/2].UID
			delete(want, next)
			if _, err := m.Expunge([]uint32{next}); err != nil {
				t.Fatal(err)
			}
			sound(t, m, want)
		})
	}
}

// sound compares a mailbox with the messages that it is to have, and with what a
// scan finds that knows nothing.
func sound(t *testing.T, m *mailbox, want map[uint32]string) {
	t.Helper()
	n := m.Snapshot()
	if len(n.Msgs) != len(want) {
		t.Fatalf("%d messages, want %d", len(n.Msgs), len(want))
	}
	for _, msg := range n.Msgs {
		if got := readAll(t, m, msg.UID); got != want[msg.UID] {
			t.Fatalf("message %d has %d octets, want %d", msg.UID, len(got), len(want[msg.UID]))
		}
	}
	s, err := Open(Options{Inbox: m.path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ours, scanned := m.state.Load(), b.(*mailbox).state.Load()
	if ours.Snap.UIDValidity != scanned.Snap.UIDValidity || ours.Snap.UIDNext != scanned.Snap.UIDNext || ours.Base != scanned.Base {
		t.Errorf("we have %d %d %+v, a scan finds %d %d %+v", ours.Snap.UIDValidity, ours.Snap.UIDNext, ours.Base,
			scanned.Snap.UIDValidity, scanned.Snap.UIDNext, scanned.Base)
	}
	for i := range ours.Recs {
		a, b := ours.Snap.Msgs[i], scanned.Snap.Msgs[i]
		a.ModSeq, b.ModSeq = 0, 0
		if a != b || !reflect.DeepEqual(ours.Recs[i], scanned.Recs[i]) {
			t.Fatalf("message %d:\n%+v %+v, a scan finds\n%+v %+v", i, a, ours.Recs[i], b, scanned.Recs[i])
		}
	}
}

// TestNoCollapse: where a file system says no after all, the file is written anew.
func TestNoCollapse(t *testing.T) {
	m, bodies := large(t, t.TempDir(), 60, 80000)
	c := &countFS{refuse: &os.PathError{Op: "fallocate", Path: m.path, Err: errNoCollapse(t)}}
	m.sys = c
	want := map[uint32]string{}
	for i, msg := range m.Snapshot().Msgs {
		if i != 5 && i != 9 {
			want[msg.UID] = strings.ReplaceAll(bodies[i], "\n", "\r\n")
		}
	}
	if _, err := m.Expunge([]uint32{m.Snapshot().Msgs[5].UID, m.Snapshot().Msgs[9].UID}); err != nil || c.cuts != 1 {
		t.Fatal(c.cuts, err)
	}
	sound(t, m, want)
}

// errNoCollapse is what the kernel says to a range that is no multiple of blocks.
func errNoCollapse(t *testing.T) error {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("short")
	err = disk.Collapse(f, 1, 1)
	if !disk.NoCollapse(err) {
		t.Fatal(err)
	}
	return err
}

// cutOnce makes a large mailbox, lets an expunge that cuts stop after some steps,
// and returns what the next one sees. change may change the file in between.
func cutOnce(t *testing.T, steps int, change func(path string)) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	m, _ := large(t, dir, 60, 80000)
	var drop []uint32
	for i, msg := range m.Snapshot().Msgs {
		if i >= 3 && i < 9 || i == 20 || i >= 30 && i < 35 {
			drop = append(drop, msg.UID)
		}
	}
	c := &crashFS{left: steps, lock: m.path + ".lock"}
	m.sys = c
	_, err := m.Expunge(drop)
	if err == nil && c.dead {
		t.Fatal("a failure was not reported")
	}
	m.timerStop()
	m.closeFile()
	if _, note, ok := bytes.Cut(c.note, []byte("\n")); ok && c.dead {
		os.WriteFile(c.lock, append([]byte(noPID), note...), 0o600)
	}
	if change != nil {
		change(m.path)
	}
	return view(t, dir), !c.dead
}

// TestCrashCut: after a crash at any step of an expunge that cuts, all messages
// are there, or all but those that were to go; also when another program has
// appended to the file before anybody looked.
func TestCrashCut(t *testing.T) {
	late := func(path string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("From c@d Mon Nov 23 15:00:00 2026\nSubject: late\n\nlate\n\n")
		f.Close()
	}
	for _, change := range []func(string){nil, late} {
		was, _ := cutOnce(t, 0, change)
		want, done := cutOnce(t, 1<<20, change)
		if !done || was == want {
			t.Fatal("the change fails without a crash")
		}
		for step := 0; ; step++ {
			got, done := cutOnce(t, step, change)
			if got != was && got != want {
				t.Fatalf("crash at step %d:\n%s\nneither\n%s\nnor\n%s", step, got, was, want)
			}
			if done {
				break
			}
		}
	}
}

// TestHalfCut: a kernel that was stopped in the middle of a cut has left a hole,
// which has moved some way through the file. It is taken out.
func TestHalfCut(t *testing.T) {
	want, _ := cutOnce(t, 1<<20, nil)
	for _, way := range []int64{0, 1, 7, 1 << 20} {
		halve := func(path string) {
			cuts, unit := cutsOf(t, path)
			last := cuts[len(cuts)-1]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			to := min(last.Off+way*unit, (int64(len(b))-last.Len)/unit*unit)
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.Truncate(0)
			f.WriteAt(b[:last.Off], 0)
			f.WriteAt(b[last.Off+last.Len:to+last.Len], last.Off)
			f.WriteAt(b[to+last.Len:], to+last.Len)
		}
		steps := 0 // to the first one at which the journal stands
		for pending := false; !pending; steps++ {
			cutOnce(t, steps, func(path string) { pending = journal.Pending(path, "") })
		}
		steps--
		if got, _ := cutOnce(t, steps, halve); got != want {
			t.Fatalf("hole %d blocks on:\n%s\nwant\n%s", way, got, want)
		}
	}
}

// cutsOf reads the cuts of a journal, and what they are counted in.
func cutsOf(t *testing.T, path string) (cuts []journal.Cut, unit int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unit, _ = disk.CollapseUnit(f)
	b, err := os.ReadFile(journal.Name(path, ""))
	if err != nil {
		t.Fatal(err)
	}
	const head, size = 160, 24 + journal.Mark
	for i := range binary.BigEndian.Uint64(b[head:]) {
		c := b[head+8+i*size:]
		cuts = append(cuts, journal.Cut{Off: int64(binary.BigEndian.Uint64(c)), Len: int64(binary.BigEndian.Uint64(c[8:]))})
	}
	return cuts, unit
}
