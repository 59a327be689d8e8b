package maildir

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"packetboat/internal/store"
)

// TestTaken: keywords that have no letter, which stand in Dovecot's index alone,
// and mod-sequences come along from a real Dovecot, once, and Dovecot finds its
// own again afterwards.
func TestTaken(t *testing.T) {
	d := startDovecot(t)
	for i := range 4 {
		d.adm(fmt.Sprintf("From: a@b\nSubject: %d\n\nbody\n", i), "save", "-m", "INBOX")
	}
	modseqs := func() string { return d.adm("", "fetch", "uid modseq", "mailbox", "INBOX", "all") }
	modseqs() // from here on they are kept
	var words []string
	for i := range 30 {
		words = append(words, fmt.Sprintf("Word%d", i))
	}
	d.adm("", "flags", "add", strings.Join(words, " "), "mailbox", "INBOX", "uid", "2")
	d.adm("", "flags", "add", `\Seen Word28`, "mailbox", "INBOX", "uid", "4")
	d.adm("", "expunge", "mailbox", "INBOX", "uid", "1")
	theirs, before := modseqs(), d.seen("INBOX")

	s, err := Open(Options{Root: d.dir + "/home/Maildir"})
	if err != nil {
		t.Fatal(err)
	}
	if got := seen(t, s, "INBOX"); !slices.Equal(sorted(got), sorted(before)) {
		t.Errorf("we see\n%s\nDovecot sees\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
	}
	m := box(t, s, "INBOX")
	ours := "uid\tmodseq\n"
	for _, msg := range m.Snapshot().Msgs {
		ours += fmt.Sprintf("%d\t%d\n", msg.UID, msg.ModSeq)
	}
	if ours != theirs {
		t.Errorf("our mod-sequences:\n%s\nDovecot's:\n%s", ours, theirs)
	}
	if _, err := m.SetFlags([]uint32{4}, store.Remove, 0, []string{"Word28"}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	s.Close()
	// Taken once: what Dovecot's index still says does not come back.
	if s, err = Open(Options{Root: d.dir + "/home/Maildir"}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m = box(t, s, "INBOX")
	defer m.Close()
	n := m.Snapshot()
	if last := n.Msgs[len(n.Msgs)-1]; last.UID != 4 || last.Keywords != 0 || last.Flags != store.Seen {
		t.Errorf("the last message is %+v with %v", last, n.Words(last.Keywords))
	}
	if words := n.Words(n.Msgs[0].Keywords); len(words) != 30 {
		t.Errorf("the first one has %v", words)
	}
	statusAgrees(t, d, s, "INBOX", "INBOX")
}

// sorted puts the flags of each line in order, \Recent left out.
func sorted(lines []string) []string {
	out := old(slices.Clone(lines))
	for i, l := range out {
		w := strings.Fields(l)
		slices.Sort(w)
		out[i] = strings.Join(w, " ")
	}
	return out
}
