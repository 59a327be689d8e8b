package storetest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
)

// The environment of the process that Faults has started.
const (
	faultDir  = "STORETEST_FAULT_DIR"
	faultDone = "STORETEST_FAULT_DONE"
)

// faultCalls are the system calls that change a disk.
var faultCalls = [...]string{"write", "pwrite64", "fsync", "ftruncate", "rename,renameat,renameat2", "link,linkat", "unlink,unlinkat", "fallocate"}

// faultChanges are what is done to a mailbox, in this order, by a process whose
// system calls fail.
var faultChanges = []func(s store.Store, m store.Mailbox) error{
	func(_ store.Store, m store.Mailbox) error {
		_, err := m.Append([]store.New{{Body: strings.NewReader(text(10)), Flags: store.Seen, Keywords: []string{"Word"}}, {Body: strings.NewReader(text(11))}})
		return err
	},
	func(_ store.Store, m store.Mailbox) error {
		if _, err := m.SetFlags([]uint32{2, 3}, store.Add, store.Flagged, []string{"Other"}); err != nil {
			return err
		}
		return m.Flush()
	},
	func(_ store.Store, m store.Mailbox) error {
		_, err := m.Expunge([]uint32{2, 4})
		return err
	},
	func(s store.Store, m store.Mailbox) error {
		err := s.Create("Copy")
		if err != nil {
			return err
		}
		dst, err := s.Open("Copy")
		if err != nil {
			return err
		}
		defer dst.Close()
		return copyInto(dst, m)
	},
}

// copyInto copies all messages as COPY does, and says which flags they have.
func copyInto(dst, src store.Mailbox) error {
	snap, err := src.Look(nil)
	if err != nil {
		return err
	}
	if c, ok := src.(store.Copier); ok {
		var uids []uint32
		for _, m := range snap.Msgs {
			uids = append(uids, m.UID)
		}
		_, _, err = c.CopyTo(dst, uids)
		return err
	}
	var msgs []store.New
	for _, m := range snap.Msgs {
		r, err := src.Read(m.UID, 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		msgs = append(msgs, store.New{Body: r, Flags: m.Flags, Date: time.Unix(m.Date, 0)})
	}
	_, err = dst.Append(msgs)
	return err
}

// Faults holds a store against every call to the kernel that changes the disk
// failing (EIO), and against the process being killed in it: what was reported as
// done is there, what was not is there as a whole or not at all, flags apart, and
// the mailbox goes on to be of use.
//
// open opens the store in a folder. start runs this test again, under strace with
// these arguments before it and this added to its environment; it is told the
// name of the test. It needs strace(1), and a test that has two kinds of store has
// two tests for it. parts says that a killed process may leave a part of the
// messages of a change, each of them whole: they are files; nor does a failure bring back what was removed before it.
func Faults(t *testing.T, parts bool, open func(dir string) (store.Store, error), start func(args, env []string) error) {
	if dir := os.Getenv(faultDir); dir != "" {
		os.Exit(suffer(open, dir))
	}
	f := &faults{open: open, start: start, parts: parts}
	f.states(t)
	if !f.traces(t) {
		t.Skip("strace cannot trace a process here")
	}
	for _, call := range faultCalls {
		t.Run(call, func(t *testing.T) {
			for n := 1; f.once(t, call, "error=EIO", n); n++ {
			}
			for n := 1; f.once(t, call, "signal=KILL", n); n += 2 { // half of them: it takes long
			}
		})
	}
}

// suffer does the changes, and notes after each of them how many are done.
func suffer(open func(string) (store.Store, error), dir string) int {
	s, err := open(dir)
	if err != nil {
		return 1
	}
	m, err := s.Open("INBOX")
	if err != nil {
		return 1
	}
	m.ClaimRecent()
	for i, change := range faultChanges {
		if change(s, m) != nil {
			return 1
		}
		// A name, because a file would have to be written, and that may be what fails.
		if os.Mkdir(os.Getenv(faultDone)+strconv.Itoa(i+1), 0o700) != nil {
			return 1
		}
	}
	return 0
}

// faults is one run of Faults.
type faults struct {
	open  func(dir string) (store.Store, error)
	start func(args, env []string) error
	parts bool
	want  [][]string // want[i] is what is to be seen after i changes
}

// prepare makes a mailbox of four messages.
func (f *faults) prepare(t *testing.T, dir string) (store.Store, store.Mailbox) {
	t.Helper()
	s, err := f.open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := box(t, s, "INBOX")
	add(t, m, 1, 4)
	if err := m.Flush(); err != nil {
		t.Fatal(err)
	}
	return s, m
}

// states finds out what the changes do where nothing fails.
func (f *faults) states(t *testing.T) {
	dir := t.TempDir()
	s, m := f.prepare(t, dir)
	defer s.Close()
	m.ClaimRecent()
	f.want = [][]string{f.seen(t, s)}
	for _, change := range faultChanges {
		if err := change(s, m); err != nil {
			t.Fatal(err)
		}
		f.want = append(f.want, f.seen(t, s))
	}
}

// seen is what a client can tell of the mail, a line a message: folder and text,
// then flags, which change one by one.
func (f *faults) seen(t *testing.T, s store.Store) (lines []string) {
	t.Helper()
	for _, name := range []string{"INBOX", "Copy"} {
		m, err := s.Open(name)
		if errors.Is(err, store.ErrNoMailbox) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := m.Look(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, msg := range n.Msgs {
			if name == "INBOX" {
				lines = append(lines, fmt.Sprintf("%d %q\t%d %q", msg.UID, body(t, m, msg.UID, 0, -1), msg.Flags, n.Words(msg.Keywords)))
			} else {
				lines = append(lines, fmt.Sprintf("%s %q", name, body(t, m, msg.UID, 0, -1)))
			}
		}
		m.Close()
	}
	return lines
}

// traces tells whether a process can be traced.
func (f *faults) traces(t *testing.T) bool {
	dir := t.TempDir()
	s, m := f.prepare(t, dir)
	m.Close()
	s.Close()
	return f.start([]string{"strace", "-f", "-qq", "-o", dir + "/strace.out", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=60000"}, []string{faultDir + "=" + dir, faultDone + "=" + dir + "/done."}) == nil
}

// once lets the n-th call of some kind fail; false when there are not so many.
func (f *faults) once(t *testing.T, call, how string, n int) bool {
	t.Helper()
	dir := t.TempDir()
	s, m := f.prepare(t, dir)
	m.Close()
	s.Close()
	trace, done := dir+".trace", dir+".done"
	defer os.Remove(trace)
	ended := f.start([]string{"strace", "-f", "-q", "-o", trace, "-e", "trace=" + call, "-e", "signal=none",
		"-e", fmt.Sprintf("inject=%s:%s:when=%d", call, how, n)}, []string{faultDir + "=" + dir, faultDone + "=" + done})
	reported := 0
	for i := range faultChanges {
		if os.Remove(done+strconv.Itoa(i+1)) == nil {
			reported = i + 1
		}
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	hit := strings.Contains(string(b), "INJECTED") || ended != nil && reported < len(faultChanges)
	f.check(t, dir, reported, hit, fmt.Sprintf("%s %d, %s", call, n, how))
	return hit
}

// check looks at what is left of the mail.
func (f *faults) check(t *testing.T, dir string, reported int, hit bool, what string) {
	t.Helper()
	if !hit && reported != len(faultChanges) {
		t.Fatalf("%s: %d changes are reported, and nothing failed", what, reported)
	}
	s, err := f.open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, next := f.seen(t, s), f.want[min(reported+1, len(f.want)-1)]
	parts := f.parts && (strings.HasSuffix(what, "KILL") || strings.HasPrefix(what, "unlink"))
	if !slices.Equal(got, f.want[reported]) && !slices.Equal(got, next) && !between(got, f.want[reported], next) && !(parts && partly(got, f.want[reported], next)) {
		t.Fatalf("%s: after %d changes there is\n%s\ninstead of\n%s", what, reported, strings.Join(got, "\n"), strings.Join(f.want[reported], "\n"))
	}
	m := box(t, s, "INBOX")
	uids, err := m.Append([]store.New{{Body: strings.NewReader(text(99))}})
	if err != nil || body(t, m, uids[0], 0, -1) != text(99) {
		t.Fatalf("%s: the mailbox is of no use: %v %v", what, uids, err)
	}
}

// between tells whether every message has its flags from one list or from the
// other, which have the same messages.
func between(got, a, b []string) bool {
	if len(got) != len(a) || len(got) != len(b) {
		return false
	}
	for i := range got {
		if got[i] != a[i] && got[i] != b[i] {
			return false
		}
	}
	return true
}

// partly tells whether got has what both lists have, and nothing that none has.
func partly(got, a, b []string) bool {
	has := func(list []string, line string) bool {
		return slices.ContainsFunc(list, func(l string) bool { return message(l) == message(line) })
	}
	for _, l := range got {
		if !slices.Contains(a, l) && !slices.Contains(b, l) {
			return false
		}
	}
	return !slices.ContainsFunc(a, func(l string) bool { return has(b, l) && !has(got, l) })
}

// message is a line without flags.
func message(line string) string {
	m, _, _ := strings.Cut(line, "\t")
	return m
}
