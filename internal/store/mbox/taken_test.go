package mbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"packetboat/internal/store"
)

// realDovecot speaks IMAP with a real Dovecot that runs as the account mail (8).
type realDovecot struct {
	dir string
	t   *testing.T
}

func startDovecot(t *testing.T) *realDovecot {
	if os.Geteuid() != 0 {
		t.Skip("only root lets Dovecot be another user")
	}
	if _, err := os.Stat("/usr/lib/dovecot/imap"); err != nil {
		t.Skip("no Dovecot is installed")
	}
	d := &realDovecot{t.TempDir(), t}
	for p := d.dir; p != os.TempDir() && len(p) > 1; p = filepath.Dir(p) {
		os.Chmod(p, 0o755)
	}
	os.MkdirAll(d.dir+"/home/mail", 0o755)
	os.Mkdir(d.dir+"/spool", 0o755)
	conf := strings.ReplaceAll("base_dir = DIR/run\nstate_dir = DIR/state\nlog_path = /dev/stderr\nmail_location = mbox:DIR/home/mail:INBOX=DIR/spool/al\nssl = no\nfirst_valid_uid = 1\nmail_uid = 8\nmail_gid = 8\nmail_home = DIR/home\n", "DIR", d.dir)
	os.WriteFile(d.dir+"/conf", []byte(conf), 0o644)
	return d
}

// imap gives commands to Dovecot and returns what it answers.
func (d *realDovecot) imap(commands ...string) string {
	d.t.Helper()
	filepath.WalkDir(d.dir, func(p string, _ os.DirEntry, _ error) error { return os.Lchown(p, 8, 8) })
	cmd := exec.Command("/usr/bin/doveadm", "-c", d.dir+"/conf", "exec", "imap")
	cmd.Env = []string{"USER=al", "HOME=" + d.dir + "/home", "TZ=UTC", "PATH=/usr/bin:/bin"}
	var in strings.Builder
	for i, c := range append(commands, "LOGOUT") {
		fmt.Fprintf(&in, "a%d %s\r\n", i, c)
	}
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("imap: %v %s", err, out)
	}
	return string(out)
}

// known is what Dovecot knows of the inbox: UIDVALIDITY, UIDNEXT, and a line a message.
func (d *realDovecot) known() (status string, lines []string) {
	out := d.imap("EXAMINE INBOX", "UID FETCH 1:* (FLAGS MODSEQ)")
	for l := range strings.Lines(out) {
		l = strings.TrimSpace(l)
		_, fetch, ok := strings.Cut(l, " FETCH (UID ")
		switch {
		case strings.Contains(l, "[UIDVALIDITY"), strings.Contains(l, "[UIDNEXT"):
			status += l[strings.IndexByte(l, '[') : strings.IndexByte(l, ']')+1]
		case ok:
			lines = append(lines, strings.ReplaceAll(strings.ReplaceAll(fetch, ` \Recent`, ""), `\Recent`, ""))
		}
	}
	return status, lines
}

// ours is the same of what we know.
func ours(m store.Mailbox, modseqs bool) (status string, lines []string) {
	n := m.Snapshot()
	for _, msg := range n.Msgs {
		var flags []string
		for i, name := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`} {
			if msg.Flags&(1<<i) != 0 {
				flags = append(flags, name)
			}
		}
		flags = append(flags, n.Words(msg.Keywords)...)
		l := fmt.Sprintf("%d FLAGS (%s)", msg.UID, strings.Join(flags, " "))
		if modseqs {
			l += fmt.Sprintf(" MODSEQ (%d)", msg.ModSeq)
		}
		lines = append(lines, l+")")
	}
	return fmt.Sprintf("[UIDVALIDITY %d][UIDNEXT %d]", n.UIDValidity, n.UIDNext), lines
}

// without takes the mod-sequences out of lines: each program has its own.
func without(lines []string) []string {
	out := slices.Clone(lines)
	for i, l := range out {
		if at := strings.Index(l, " MODSEQ"); at >= 0 {
			out[i] = l[:at] + ")"
		}
	}
	return out
}

// TestTaken: what a real Dovecot knows of a mailbox that it could not write -
// all UIDs, flags and keywords - is taken over with its mod-sequences, stands in
// the file from then on, and Dovecot finds the same when it comes back.
func TestTaken(t *testing.T) {
	d := startDovecot(t)
	path := d.dir + "/spool/al"
	var text strings.Builder
	for i := range 5 {
		fmt.Fprintf(&text, "From a@b Mon Nov 23 14:51:0%d 2026\nFrom: a@b\nSubject: %d\n\nthe same body\n\n", i, i)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o444); err != nil {
		t.Fatal(err)
	}
	os.Chmod(d.dir+"/spool", 0o555)
	d.imap("CREATE Sent", "SUBSCRIBE Sent", "SELECT INBOX", `STORE 2 +FLAGS (\Flagged $Foo)`, `STORE 3:4 +FLAGS (\Seen)`, `STORE 4 +FLAGS (Bar)`)
	if b, _ := os.ReadFile(path); string(b) != text.String() {
		t.Fatal("Dovecot could write the file")
	}
	status, theirs := d.known()
	os.Chmod(path, 0o600)
	os.Chmod(d.dir+"/spool", 0o755)
	// Mail came between the one and the other.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("From c@d Mon Nov 23 15:00:00 2026\nSubject: new\n\nnew\n\n")
	f.Close()

	s, err := Open(Options{Inbox: path, Folders: d.dir + "/home/mail"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || !list[1].Subscribed || list[1].Name != "Sent" {
		t.Errorf("subscriptions: %+v %v", list, err)
	}
	m, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	_, got := ours(m, true)
	if len(got) != 6 || !slices.Equal(got[:5], theirs) {
		t.Errorf("we have\n%s\nDovecot had\n%s", strings.Join(got, "\n"), strings.Join(theirs, "\n"))
	}
	if err := m.ClaimRecent(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.SetFlags([]uint32{1}, store.Add, store.Answered, []string{"Bar"}); err != nil {
		t.Fatal(err)
	}
	is, mine := ours(m, false)
	if want := strings.Replace(status, "UIDNEXT 6", "UIDNEXT 7", 1); is != want {
		t.Errorf("we have %s, Dovecot had %s", is, status)
	}
	m.Close()
	s.Close()
	back, theirs := d.known()
	if theirs = without(theirs); back != is || !sameFlags(mine, theirs) {
		t.Errorf("Dovecot has %s\n%s\nwe had %s\n%s", back, strings.Join(theirs, "\n"), is, strings.Join(mine, "\n"))
	}
	// Without any index the file itself says all.
	os.RemoveAll(d.dir + "/home/mail/.imap")
	if alone, theirs := d.known(); alone != is || !sameFlags(mine, without(theirs)) {
		t.Errorf("without its index Dovecot has %s\n%s\nwe had %s\n%s", alone, strings.Join(theirs, "\n"), is, strings.Join(mine, "\n"))
	}
}

// sameFlags compares lines whatever the order of their flags.
func sameFlags(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool { return slices.Equal(words(x), words(y)) })
}

func words(l string) []string {
	w := strings.FieldsFunc(l, func(r rune) bool { return strings.ContainsRune(" ()", r) })
	slices.Sort(w)
	return w
}
