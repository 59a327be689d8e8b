package imapd

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// corpus returns the mails of ../shared/mailcorpus.
func corpus(t testing.TB) (names []string, msgs [][]byte) {
	t.Helper()
	all, _ := filepath.Glob("../../../../shared/mailcorpus/*")
	if len(all) == 0 {
		t.Skip("../shared/mailcorpus is not here")
	}
	sort.Strings(all)
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(name))
		msgs = append(msgs, b)
	}
	return names, msgs
}

// compare sends one command to both servers and counts the answers that agree.
func compare(t *testing.T, ours, theirs *peer, names []string, command string) (same, total int) {
	t.Helper()
	a, at := ours.do(t, command)
	b, bt := theirs.do(t, command)
	if strings.Fields(at)[1] != strings.Fields(bt)[1] {
		t.Errorf("%s: ours %q, Dovecot %q", command, at, bt)
	}
	if len(a) != len(b) {
		t.Errorf("%s: %d lines, Dovecot %d", command, len(a), len(b))
	}
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			same++
			continue
		}
		if os.Getenv("IMAPD_DIFF") != "" && i < len(names) {
			t.Logf("%s %s\n ours %.3000q\n dove %.3000q", command, names[i], a[i], b[i])
		}
	}
	return same, len(b)
}

// TestCorpus holds FETCH of every mail of the corpus against Dovecot's.
func TestCorpus(t *testing.T) {
	names, msgs := corpus(t)
	theirs := startDovecot(t, dovecotHome(t, msgs))
	ours := startOurs(t, memory(t, msgs), Options{})
	ours.do(t, "a SELECT INBOX")
	theirs.do(t, "a SELECT INBOX")
	for _, c := range []string{"UID FETCH 1:* (RFC822.SIZE)", "FETCH 1:* (ENVELOPE)", "FETCH 1:* (BODYSTRUCTURE)", "FETCH 1:* (BODY)"} {
		same, total := compare(t, ours, theirs, names, "a "+c)
		t.Logf("%s: %d of %d agree", c, same, total)
	}
}
