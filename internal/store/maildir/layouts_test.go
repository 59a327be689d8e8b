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

// TestLayouts: where mail_location says that things stand elsewhere, a real
// Dovecot and we look for them in the same places.
func TestLayouts(t *testing.T) {
	for options, o := range map[string]Options{
		":LAYOUT=fs": {Tree: true},
		":INBOX=DIR/home/inbox:CONTROL=DIR/home/control:INDEX=DIR/home/index": {Inbox: "DIR/home/inbox", Control: "DIR/home/control", Index: "DIR/home/index"},
		":LAYOUT=fs:CONTROL=DIR/home/control:INDEX=DIR/home/index":            {Tree: true, Control: "DIR/home/control", Index: "DIR/home/index"},
	} {
		t.Run(options, func(t *testing.T) {
			d := startDovecot(t)
			conf, _ := os.ReadFile(d.dir + "/conf")
			conf = []byte(strings.Replace(string(conf), "/home/Maildir\n", "/home/Maildir"+strings.ReplaceAll(options, "DIR", d.dir)+"\n", 1))
			os.WriteFile(d.dir+"/conf", conf, 0o644)
			o.Root = d.dir + "/home/Maildir"
			for _, p := range []*string{&o.Inbox, &o.Control, &o.Index} {
				*p = strings.Replace(*p, "DIR", d.dir, 1)
			}
			layout(t, d, o)
		})
	}
}

func layout(t *testing.T, d *realDovecot, o Options) {
	theirs := "Lists.Go"
	if o.Tree {
		theirs = "Lists/Go"
	}
	d.adm("", "mailbox", "create", theirs)
	for i := range 3 {
		d.adm(fmt.Sprintf("Subject: %d\n\nbody\n", i), "save", "-m", "INBOX")
		d.adm(fmt.Sprintf("Subject: %d\n\nbody\n", i), "save", "-m", theirs)
	}
	d.adm("", "flags", "add", `\Seen Work`, "mailbox", theirs, "uid", "2")
	d.adm("", "expunge", "mailbox", "INBOX", "uid", "1")
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, pair := range [][2]string{{"INBOX", "INBOX"}, {"Lists/Go", theirs}} {
		if got, want := old(seen(t, s, pair[0])), old(d.seen(pair[1])); !slices.Equal(got, want) {
			t.Errorf("%s: we see\n%s\nDovecot sees\n%s", pair[0], strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		m := box(t, s, pair[0])
		if _, err := m.Append([]store.New{{Body: strings.NewReader("Subject: ours\n\nbody\n"), Keywords: []string{"Work", "Mine"}}}); err != nil {
			t.Fatal(err)
		}
		m.Close()
		if got, want := old(seen(t, s, pair[0])), old(d.seen(pair[1])); !slices.Equal(got, want) || len(got) < 3 {
			t.Errorf("%s afterwards: we see\n%s\nDovecot sees\n%s", pair[0], strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		statusAgrees(t, d, s, pair[0], pair[1])
	}
}

// TestWriters lets procmail, a real Dovecot and two processes' worth of us work
// on one Maildir at once: nothing is lost, and all see the same in the end.
func TestWriters(t *testing.T) {
	d := startDovecot(t)
	procmail, err := exec.LookPath("procmail")
	if err != nil {
		t.Skip("procmail is not installed")
	}
	d.adm("From: a@b\n\nfirst\n", "save", "-m", "INBOX")
	root := d.dir + "/home/Maildir"
	rc := filepath.Join(d.dir, "rc")
	os.WriteFile(rc, []byte("DEFAULT="+root+"/\nLOGFILE="+d.dir+"/log\n"), 0o600)
	const each = 25
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range each {
			cmd := exec.Command(procmail, "-m", rc)
			cmd.Stdin = strings.NewReader(fmt.Sprintf("From: p@m\nSubject: procmail %d\n\nbody\n", i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("procmail: %v %s", err, out)
			}
		}
	})
	wg.Go(func() {
		for i := range each {
			d.adm(fmt.Sprintf("Subject: dovecot %d\n\nbody\n", i), "save", "-m", "INBOX")
		}
	})
	var given sync.Map
	for w := range 2 {
		wg.Go(func() { writeOurs(t, root, w, each, &given) })
	}
	wg.Wait()
	d.own()
	time.Sleep(ours)
	s, err := Open(Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := box(t, s, "INBOX")
	defer m.Close()
	if err := m.ClaimRecent(); err != nil {
		t.Fatal(err)
	}
	got, theirs := old(seen(t, s, "INBOX")), old(d.seen("INBOX"))
	if len(got) != 1+4*each || !slices.Equal(got, theirs) {
		t.Errorf("%d messages of %d; Dovecot sees %d", len(got), 1+4*each, len(theirs))
	}
	given.Range(func(uid, subject any) bool {
		if b := text(t, m, uid.(uint32)); !strings.Contains(b, subject.(string)) {
			t.Errorf("UID %d was given to %q and is %q", uid, subject, b)
		}
		return true
	})
}

// writeOurs appends, flags and copies as a process of its own would.
func writeOurs(t *testing.T, root string, w, each int, given *sync.Map) {
	s, err := Open(Options{Root: root})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	m := box(t, s, "INBOX")
	defer m.Close()
	for i := range each {
		subject := fmt.Sprintf("ours %d %d", w, i)
		uids, err := m.Append([]store.New{{Body: strings.NewReader("Subject: " + subject + "\n\nbody\n")}})
		if err == nil {
			given.Store(uids[0], subject)
			_, err = m.SetFlags(uids, store.Add, store.Seen, []string{fmt.Sprint("k", i%5)})
		}
		if err != nil {
			t.Error(err)
		}
	}
}
