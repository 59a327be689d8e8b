package mbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/sys/disk"
)

func deliverOne(path string, o DeliverOptions, d Delivery) *mail.Status {
	if d.Body == nil {
		d.Body = strings.NewReader("Subject: x\n\nbody\n")
	}
	return mail.AsStatus(Deliver(path, o, []Delivery{d})[0])
}

// TestForm holds the bytes against what Postfix's local(8) writes.
func TestForm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice")
	at := time.Date(2026, 11, 3, 14, 6, 6, 0, time.Local)
	msgs := []Delivery{
		{Sender: "x@ok.test", ReturnPath: true, OrigTo: "alice@mail.example.org", To: "alice@mail.example.org", Date: at,
			Body: strings.NewReader("Subject: t\nX-UID: 7\nStatus: RO\n continued\nX-IMAPbase: 1 2\nContent-Length: 3\nLines: 1\nFrom: x@ok.test\n\nhi\nFrom me\n>From you")},
		{Sender: "", ReturnPath: true, Date: at, Body: strings.NewReader("Subject: t\n\nhi\n")},
		{Sender: "a b\nFrom c@d", ReturnPath: true, Date: at, Body: strings.NewReader("Subject: t\n")},
	}
	for i, err := range Deliver(path, DeliverOptions{}, msgs) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	want := "From x@ok.test  Tue Nov  3 14:06:06 2026\nReturn-Path: <x@ok.test>\nX-Original-To: alice@mail.example.org\n" +
		"Delivered-To: alice@mail.example.org\nSubject: t\nFrom: x@ok.test\n\nhi\n>From me\n>>From you\n\n" +
		"From MAILER-DAEMON  Tue Nov  3 14:06:06 2026\nReturn-Path: <>\nSubject: t\n\nhi\n\n" +
		"From a_b_From_c@d  Tue Nov  3 14:06:06 2026\nReturn-Path: <\"a b_From c\"@d>\nSubject: t\n\n\n"
	b, _ := os.ReadFile(path)
	if string(b) != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
	st, _ := os.Stat(path)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
}

// TestRefusals: what is no mailbox of the recipient's is left alone, with
// Postfix's words.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "box")
	target := filepath.Join(dir, "target")
	for name, c := range map[string]struct {
		make func()
		uid  int
		text string
	}{
		"symbolic link": {func() { os.Symlink(target, path) }, os.Geteuid(), "file is a symbolic link"},
		"hard link":     {func() { os.Link(target, path) }, os.Geteuid(), "file has 2 hard links"},
		"folder":        {func() { os.Mkdir(path, 0o700) }, os.Geteuid(), "cannot open file: Is a directory"},
		"foreign":       {func() { os.WriteFile(path, nil, 0o600) }, os.Geteuid() + 1, "destination " + path + " is not owned by recipient"},
	} {
		t.Run(name, func(t *testing.T) {
			os.WriteFile(target, []byte("precious"), 0o600)
			c.make()
			defer os.RemoveAll(path)
			st := deliverOne(path, DeliverOptions{User: "alice", UID: c.uid, Owner: true}, Delivery{})
			want := "cannot update mailbox " + path + " for user alice. " + c.text
			if st.Outcome != mail.Deferred || st.Text != want || st.Code != "4.2.0" {
				t.Errorf("%+v, want %q", st, want)
			}
			if b, _ := os.ReadFile(target); string(b) != "precious" {
				t.Errorf("the target was changed: %q", b)
			}
			if list, _ := os.ReadDir(dir); len(list) != 2 {
				t.Errorf("left behind: %v", list)
			}
		})
	}
}

// failFS fails every write behind an offset with the error of a full disk.
type failFS struct {
	journal.Disk
	from int64
	err  error
}

func (f failFS) WriteAt(file *os.File, b []byte, off int64) error {
	if off+int64(len(b)) > f.from {
		file.WriteAt(b[:len(b)/2], off)
		return f.err
	}
	return f.Disk.WriteAt(file, b, off)
}

// TestFullDisk: what was there before stays, and the mail stays in the queue.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full to get the error of a full disk from")
	}
	defer full.Close()
	_, nospace := full.Write([]byte("x"))
	path := filepath.Join(t.TempDir(), "box")
	deliverOne(path, DeliverOptions{}, Delivery{})
	old, _ := os.ReadFile(path)
	big := strings.Repeat("line\n", appendBuffer/5)
	errs := deliver(failFS{from: int64(len(old)) + appendBuffer, err: nospace}, path, DeliverOptions{User: "u"}, []Delivery{
		{Body: strings.NewReader("S: 1\n\nsmall\n")}, {Body: strings.NewReader("S: 2\n\n" + big)}, {Body: strings.NewReader("S: 3\n\nsmall\n")}})
	for i, err := range errs {
		if st := mail.AsStatus(err); i > 0 && (st.Code != "4.3.1" || !strings.HasSuffix(st.Text, "error writing message: No space left on device")) {
			t.Errorf("message %d: %+v", i, st)
		}
	}
	now, _ := os.ReadFile(path)
	s := string(now[len(old):])
	if !strings.HasPrefix(string(now), string(old)) || strings.Contains(s, "S: 2") || strings.Contains(s, "S: 3") || (errs[0] == nil) != strings.Contains(s, "S: 1\n\nsmall\n\n") {
		t.Errorf("%v\n%.300s", errs, s)
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestOneOfMany: a message that cannot be stored does not take others along.
func TestOneOfMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	errs := Deliver(path, DeliverOptions{Limit: 5000}, []Delivery{
		{Body: strings.NewReader("S: 1\n\none\n")},
		{Body: io.MultiReader(strings.NewReader("S: 2\n\nhalf"), brokenBody{})},
		{Body: strings.NewReader("S: 3\n\n" + strings.Repeat("large\n", 2000))},
		{Body: strings.NewReader("S: 4\n\nfour\n")},
	})
	if errs[0] != nil || errs[3] != nil || mail.AsStatus(errs[1]).Code != "4.3.0" || mail.AsStatus(errs[2]).Code != "4.2.2" {
		t.Fatalf("%v", errs)
	}
	b, _ := os.ReadFile(path)
	if s := string(b); strings.Count(s, "\nS: ") != 2 || strings.Contains(s, "half") || strings.Contains(s, "large") {
		t.Errorf("%s", s)
	}
}

// TestMissingEnd: a message of another program's without its last line end.
func TestMissingEnd(t *testing.T) {
	for _, end := range []string{"", "\n", "\n\n"} {
		path := filepath.Join(t.TempDir(), "box")
		os.WriteFile(path, []byte("From a@b Mon Jan  1 00:00:00 2024\nS: 0\n\nend"+end), 0o600)
		deliverOne(path, DeliverOptions{}, Delivery{})
		b, _ := os.ReadFile(path)
		if !strings.Contains(string(b), "end\n\nFrom MAILER") {
			t.Errorf("%q: %q", end, b)
		}
	}
}

func TestNewMailTimes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box")
	newer := func(what string, want bool) {
		t.Helper()
		st, err := disk.StatPath(path)
		if err != nil || st.Mtime > st.Atime != want {
			t.Errorf("%s: %v, mtime - atime is %v", what, err, time.Duration(st.Mtime-st.Atime))
		}
	}
	deliverOne(path, DeliverOptions{}, Delivery{})
	newer("after a delivery", true)
	s, _ := Open(Options{Inbox: path, Folders: path + ".d"})
	m, _ := s.Open("INBOX")
	readAll(t, m, 1)
	newer("after reading without claim", true)
	m.ClaimRecent()
	newer("after a session saw it", false)
	deliverOne(path, DeliverOptions{}, Delivery{})
	m.Sync()
	m.SetFlags([]uint32{1}, store.Add, store.Seen, nil)
	m.Flush()
	newer("after flags of an older message", true)
	m.ClaimRecent()
	m.SetFlags([]uint32{2}, store.Add, store.Seen, nil)
	m.Close()
	newer("after all were read", false)
}

// TestUndo: half an append of a dead process goes, what another program
// appended behind it stays, and so does what may have been answered for before the
// machine was started again.
func TestUndo(t *testing.T) {
	for _, c := range []struct {
		boot          string
		foreign, stay bool
	}{{bootID(), false, false}, {bootID(), true, true}, {"1b4e28ba-2fa1-11d2-883f-0016d3cca427", false, true}} {
		path := filepath.Join(t.TempDir(), "box")
		deliverOne(path, DeliverOptions{}, Delivery{})
		old, _ := os.ReadFile(path)
		half := "From a@b  Mon Jan  1 00:00:00 2024\nS: half\n\nhalf of it"
		_, date, _ := format.ParseFrom(format.CutLine([]byte(half)))
		if c.foreign {
			half += "\n\nFrom c@d  Mon Jan  1 00:00:09 2024\nS: whole\n\nmine\n\n"
		}
		os.WriteFile(path, append(old, half...), 0o600)
		os.WriteFile(path+".lock", fmt.Appendf(nil, "%sappend %d %s 2x%d\n", noPID, len(old), c.boot, date), 0o600)
		if st := deliverOne(path, DeliverOptions{}, Delivery{Body: strings.NewReader("S: next\n\nx\n")}); st.Outcome != mail.Sent {
			t.Fatal(st)
		}
		b, _ := os.ReadFile(path)
		if strings.Contains(string(b), "S: half") != c.stay || strings.Contains(string(b), "S: whole") != c.foreign || !strings.Contains(string(b), "\n\nFrom MAILER-DAEMON") {
			t.Errorf("%+v:\n%s", c, b)
		}
	}
}

func TestCorpus(t *testing.T) {
	files, _ := filepath.Glob("../../../../shared/mailcorpus/*")
	if len(files) == 0 {
		t.Skip("no ../shared/mailcorpus")
	}
	path := filepath.Join(t.TempDir(), "box")
	var want []string
	var batch []Delivery
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil || strings.HasSuffix(name, ".tsv") {
			continue
		}
		want = append(want, stored(string(b)))
		batch = append(batch, Delivery{Sender: "a@b", Body: strings.NewReader(string(b))})
	}
	for i, err := range Deliver(path, DeliverOptions{}, batch) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	s, _ := Open(Options{Inbox: path, Folders: path + ".d"})
	defer s.Close()
	m, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	msgs := m.Snapshot().Msgs
	if len(msgs) != len(want) {
		t.Fatalf("%d messages, want %d", len(msgs), len(want))
	}
	for i, msg := range msgs {
		if got := readAll(t, m, msg.UID); got != want[i] {
			t.Errorf("message %d differs: %d octets, want %d", i, len(got), len(want[i]))
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	body := "Subject: x\n\n" + strings.Repeat("a line of text of some length, as mail has them\n", 40)
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "box")
			b.ReportAllocs()
			for b.Loop() {
				batch := make([]Delivery, n)
				for i := range batch {
					batch[i] = Delivery{Sender: "a@b", Body: strings.NewReader(body)}
				}
				for _, err := range Deliver(path, DeliverOptions{}, batch) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func largeMbox(n, body int) []byte {
	var b bytes.Buffer
	line := "The quick brown fox jumps over the lazy dog; From time to time, and so on and on.\n"
	for i := range n {
		fmt.Fprintf(&b, "From a%d@example.org  Mon Nov 23 14:03:58 2026\n", i)
		for j := range 12 {
			fmt.Fprintf(&b, "X-Header-%d: some value of usual length for a header line %d\n", j, i)
		}
		fmt.Fprintf(&b, "Message-ID: <%d@example.org>\nSubject: message %d\n\n", i, i)
		for k := 0; k < body; k += len(line) {
			b.WriteString(line)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// BenchmarkSyncGrown is the road of one new message in a mailbox of 87 MB.
func BenchmarkSyncGrown(b *testing.B) {
	path := filepath.Join(b.TempDir(), "box")
	os.WriteFile(path, largeMbox(10000, 7900), 0o600)
	s, _ := Open(Options{Inbox: path})
	m, err := s.Open("INBOX")
	if err != nil {
		b.Fatal(err)
	}
	f, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		f.WriteString("From a@b Mon Jan  1 00:00:00 2024\nS: x\n\nbody\n\n")
		if _, err := m.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	m.Close()
}

func BenchmarkFetchHeaders(b *testing.B) {
	path := filepath.Join(b.TempDir(), "box")
	os.WriteFile(path, largeMbox(1000, 7900), 0o600)
	s, _ := Open(Options{Inbox: path})
	m, err := s.Open("INBOX")
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	b.ReportAllocs()
	for b.Loop() {
		for _, msg := range m.Snapshot().Msgs {
			r, err := m.Read(msg.UID, 0, msg.Header)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				b.Fatal(err)
			}
		}
	}
}
