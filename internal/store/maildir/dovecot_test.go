package maildir

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/store"
)

// realDovecot runs doveadm of a real Dovecot over a Maildir as the account mail (8).
type realDovecot struct {
	dir string
	t   *testing.T
}

func startDovecot(t *testing.T) *realDovecot {
	if os.Geteuid() != 0 {
		t.Skip("only root lets Dovecot be another user")
	}
	if out, err := exec.Command("doveconf", "-h", "mail_plugin_dir").Output(); err != nil || !strings.Contains(string(out), "/dovecot") {
		t.Skip("no Dovecot is installed")
	}
	if _, err := os.Stat("/usr/sbin/dovecot"); err != nil {
		t.Skip("no Dovecot is installed")
	}
	d := &realDovecot{t.TempDir(), t}
	for p := d.dir; p != os.TempDir() && len(p) > 1; p = filepath.Dir(p) {
		os.Chmod(p, 0o755)
	}
	os.Mkdir(d.dir+"/home", 0o755)
	conf := strings.ReplaceAll("base_dir = DIR/run\nstate_dir = DIR/state\nlog_path = /dev/stderr\nmail_location = maildir:DIR/home/Maildir\nssl = no\nfirst_valid_uid = 1\nmail_uid = 8\nmail_gid = 8\nmail_home = DIR/home\n", "DIR", d.dir)
	os.WriteFile(d.dir+"/conf", []byte(conf), 0o644)
	d.own()
	return d
}

// own gives everything to the account that Dovecot runs as.
func (d *realDovecot) own() {
	filepath.WalkDir(d.dir+"/home", func(p string, _ os.DirEntry, _ error) error { return os.Lchown(p, 8, 8) })
}

func (d *realDovecot) adm(stdin string, args ...string) string {
	d.t.Helper()
	d.own()
	cmd := exec.Command("/usr/bin/doveadm", append([]string{"-c", d.dir + "/conf", "-f", "tab"}, args...)...)
	cmd.Env = []string{"USER=al", "HOME=" + d.dir + "/home", "TZ=UTC", "PATH=/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	// It may not watch a lock that root made; it looks again all the same.
	if err != nil || errs.Len() > 0 && !strings.Contains(errs.String(), "inotify_add_watch") {
		d.t.Fatalf("doveadm %v: %v %s", args, err, errs.String())
	}
	return string(out)
}

// seen is what Dovecot knows of a mailbox, one line a message.
func (d *realDovecot) seen(mailbox string) []string {
	out := d.adm("", "fetch", "uid flags size.virtual date.received", "mailbox", mailbox, "all")
	return strings.Split(strings.TrimSpace(out), "\n")[1:]
}

// seen is what we know of it, in the same words.
func seen(t *testing.T, s store.Store, mailbox string) []string {
	t.Helper()
	m, err := s.Open(mailbox)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Sync()
	snap, err := m.Look(nil)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, msg := range snap.Msgs {
		var flags []string
		for _, f := range []struct {
			bit  store.Flag
			name string
		}{{store.Answered, `\Answered`}, {store.Flagged, `\Flagged`}, {store.Deleted, `\Deleted`}, {store.Seen, `\Seen`}, {store.Draft, `\Draft`}} {
			if msg.Flags&f.bit != 0 {
				flags = append(flags, f.name)
			}
		}
		if msg.UID >= snap.FirstRecent {
			flags = append(flags, `\Recent`)
		}
		flags = append(flags, snap.Words(msg.Keywords)...)
		lines = append(lines, fmt.Sprintf("%d\t%s\t%d\t%s", msg.UID, strings.Join(flags, " "), msg.Size, time.Unix(msg.Date, 0).UTC().Format(time.DateTime)))
	}
	return lines
}

// TestDovecot goes from a real Dovecot to us and back: UIDVALIDITY, UIDs,
// flags, keywords, dates, sizes and subscriptions stay.
func TestDovecot(t *testing.T) {
	d := startDovecot(t)
	d.adm("", "mailbox", "create", "Lists", "Lists.Go", "Entwürfe")
	d.adm("", "mailbox", "subscribe", "Lists.Go", "Entwürfe")
	for i := range 6 {
		d.adm(fmt.Sprintf("From: a@b\nSubject: %d\n\nbody\n", i), "save", "-m", "INBOX")
	}
	d.adm("", "flags", "add", `\Seen $Label1 Junk`, "mailbox", "INBOX", "uid", "2:3")
	d.adm("", "flags", "add", `\Answered \Flagged \Draft`, "mailbox", "INBOX", "uid", "5")
	d.adm("", "expunge", "mailbox", "INBOX", "uid", "4")
	before := d.adm("", "mailbox", "status", "messages uidnext uidvalidity", "*")

	s, err := Open(Options{Root: d.dir + "/home/Maildir"})
	if err != nil {
		t.Fatal(err)
	}
	theirs := d.seen("INBOX")
	if got := seen(t, s, "INBOX"); !slices.Equal(got, theirs) {
		t.Errorf("we see\n%s\nDovecot sees\n%s", strings.Join(got, "\n"), strings.Join(theirs, "\n"))
	}
	subscribed(t, s, "Entwürfe", "Lists/Go")
	if after := d.adm("", "mailbox", "status", "messages uidnext uidvalidity", "*"); after != before {
		t.Errorf("status was\n%s\nis\n%s", before, after)
	}

	m := box(t, s, "INBOX")
	if _, err := m.SetFlags([]uint32{1, 2}, store.Replace, store.Flagged, []string{"junk", "New"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append([]store.New{{Body: strings.NewReader("From: x@y\r\n\r\nz\r\n"), Flags: store.Seen, Keywords: []string{"New"}, Date: time.Unix(1e9, 0)},
		{Body: strings.NewReader("From: x@y\n\nunread\n")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Expunge([]uint32{3}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	s.Create("Lists/C")
	s.Subscribe("Lists/C", true)
	s.Subscribe("Entwürfe", false)
	// \Recent belongs to whoever looked first.
	ours, theirs := old(seen(t, s, "INBOX")), old(d.seen("INBOX"))
	if !slices.Equal(ours, theirs) {
		t.Errorf("we see\n%s\nDovecot sees\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
	if got := d.adm("", "mailbox", "list", "-s"); got != "mailbox\nLists.Go\nLists.C\n" && got != "mailbox\nLists.C\nLists.Go\n" {
		t.Errorf("Dovecot's subscriptions: %q", got)
	}
	statusAgrees(t, d, s, "Lists/C", "Lists.C")
	statusAgrees(t, d, s, "INBOX", "INBOX")
}

// old takes \Recent out of lines.
func old(lines []string) []string {
	for i, l := range lines {
		l = strings.ReplaceAll(l, "\t\\Recent ", "\t")
		l = strings.ReplaceAll(l, " \\Recent", "")
		lines[i] = strings.ReplaceAll(l, "\\Recent", "")
	}
	return lines
}

func statusAgrees(t *testing.T, d *realDovecot, s store.Store, name, theirs string) {
	t.Helper()
	m := box(t, s, name)
	defer m.Close()
	n := m.Snapshot()
	want := fmt.Sprintf("%s\t%d\t%d\t%d\n", theirs, len(n.Msgs), n.UIDNext, n.UIDValidity)
	if got := d.adm("", "mailbox", "status", "messages uidnext uidvalidity", theirs); !strings.HasSuffix(got, want) {
		t.Errorf("%s: Dovecot has %q, we %q", name, got, want)
	}
}

func box(t *testing.T, s store.Store, name string) store.Mailbox {
	t.Helper()
	m, err := s.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func subscribed(t *testing.T, s store.Store, want ...string) {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range list {
		if f.Subscribed {
			got = append(got, f.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("subscribed: %v, want %v", got, want)
	}
}

// TestBoth lets a real Dovecot and us append, flag and expunge at once: nothing
// is lost, no UID is given twice.
func TestBoth(t *testing.T) {
	d := startDovecot(t)
	d.adm("From: a@b\n\nfirst\n", "save", "-m", "INBOX")
	s, err := Open(Options{Root: d.dir + "/home/Maildir"})
	if err != nil {
		t.Fatal(err)
	}
	m := box(t, s, "INBOX")
	const each = 20
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range each {
			d.adm(fmt.Sprintf("From: a@b\nX-Theirs: %d\n\nbody\n", i), "save", "-m", "INBOX")
		}
	})
	var mine []uint32
	wg.Go(func() {
		for i := range each * 5 {
			uids, err := m.Append([]store.New{{Body: strings.NewReader(fmt.Sprintf("From: a@b\nX-Ours: %d\n\nbody\n", i))}})
			if err != nil {
				t.Error(err)
				return
			}
			mine = append(mine, uids...)
			if i%10 == 3 {
				if _, err := m.Expunge(uids); err != nil {
					t.Error(err)
				}
			} else if _, err := m.SetFlags(uids, store.Add, store.Flagged, nil); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	time.Sleep(ours)
	if got, want := len(seen(t, s, "INBOX")), 1+each+each*5-10; got != want {
		t.Errorf("%d messages, want %d", got, want)
	}
	if ours, theirs := seen(t, s, "INBOX"), d.seen("INBOX"); len(ours) != len(theirs) {
		t.Errorf("we see %d, Dovecot sees %d", len(ours), len(theirs))
	}
	slices.Sort(mine)
	if len(slices.Compact(mine)) != each*5 {
		t.Error("a UID was given twice")
	}
}
