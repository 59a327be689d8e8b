package deliver

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"packetboat/internal/mail"
)

// fullDisk is the environment variable that names a small disk of the test's own.
const fullDisk = "PACKETBOAT_FULL_DISK"

// TestFullDisk starts itself again where a folder is a disk of 256 KB.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDisk); dir != "" {
		for _, box := range []string{"mbox", "maildir/"} {
			t.Run(box, func(t *testing.T) {
				fillDisk(t, filepath.Join(dir, "x"+strings.TrimSuffix(box, "/")), strings.HasSuffix(box, "/"))
			})
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root mounts a small disk")
	}
	dir := t.TempDir()
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", `mount -t tmpfs -o size=256k,mode=777 none "$1" && shift && exec "$@"`,
		"sh", dir, os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), fullDisk+"="+dir)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "unshare failed") || strings.Contains(string(out), "mount:") {
		t.Skipf("no mounts here: %s", out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// fillDisk delivers until there is no room, in the middle of a message. What was
// answered as delivered is there and whole, of the rest nothing; and when there is
// room again the next message comes.
func fillDisk(t *testing.T, path string, maildir bool) {
	if maildir {
		path += "/"
	}
	body := func(i int) string {
		return fmt.Sprintf("Subject: %d\n\n", i) + strings.Repeat("text of a line\n", 2000)
	}
	g := New(Options{}, Account{User: "u", Inbox: path})
	sent := 0
	for i := range 40 {
		st := g.Deliver([]Message{{Sender: "a@b", Body: strings.NewReader(body(i))}}, nil)[0]
		if st.Outcome == mail.Sent {
			sent++
			continue
		}
		if st.Outcome != mail.Deferred || st.Code != "4.3.1" && !strings.Contains(st.Text, "no space left") && !strings.Contains(st.Text, "No space left") {
			t.Errorf("a full disk: %+v", st)
		}
		break
	}
	if sent < 3 || sent > 9 {
		t.Fatalf("%d messages of 30 KB came to a disk of 256", sent)
	}
	whole := 0
	for _, text := range messages(t, path, maildir) {
		for i := range sent {
			if strings.Contains(text, body(i)) {
				whole++
			}
		}
	}
	if n := len(messages(t, path, maildir)); n != sent || whole != sent {
		t.Errorf("%d messages were taken, %d are there, %d whole", sent, n, whole)
	}
	if left, _ := os.ReadDir(path + "tmp"); maildir && len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	if list, _ := os.ReadDir(path + "new"); maildir {
		os.Remove(filepath.Join(path, "new", list[0].Name())) // its files fill the disk to the last page
	}
	if st := g.Deliver([]Message{{Sender: "a@b", Body: strings.NewReader("S: small\n\nx\n")}}, nil)[0]; st.Outcome != mail.Sent {
		t.Errorf("a small one would fit: %+v", st)
	}
	os.RemoveAll(strings.TrimSuffix(path, "/")) // for the next kind of mailbox
}

// messages returns what a mailbox holds.
func messages(t *testing.T, path string, maildir bool) (list []string) {
	t.Helper()
	if !maildir {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range strings.Split("\n"+string(b), "\nFrom a@b  ") {
			if i > 0 {
				list = append(list, m)
			}
		}
		return list
	}
	names, err := os.ReadDir(path + "new")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		b, _ := os.ReadFile(filepath.Join(path, "new", e.Name()))
		list = append(list, string(b))
	}
	return list
}

// many is n octets that repeat a text.
type many struct {
	text []byte
	n    int
}

func (m *many) Read(p []byte) (int, error) {
	if m.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), m.n)], m.text)
	m.n -= n
	return n, nil
}

// TestHuge: one line of 100 MB, 100,000 header lines and NUL octets come to both
// kinds of mailboxes as they are, in little memory.
func TestHuge(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 300 MB")
	}
	for name, c := range map[string]struct {
		head string
		body many
	}{
		"one line": {"S: 1\n\n", many{bytes.Repeat([]byte("x"), 4096), 100 << 20}},
		"headers":  {"", many{bytes.Repeat([]byte("X-Y: z\n"), 1000), 7 * 100_000}},
		"nul":      {"S: 1\n\n", many{make([]byte, 4096), 10 << 20}},
	} {
		for _, kind := range []string{"mbox", "maildir/"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), kind)
				if strings.HasSuffix(kind, "/") {
					path += "/"
				}
				body := c.body
				size := int64(len(c.head) + body.n)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				st := New(Options{}, Account{Inbox: path}).Deliver([]Message{{Sender: "a@b", Body: io.MultiReader(strings.NewReader(c.head), &body)}}, nil)[0]
				runtime.ReadMemStats(&after)
				if st.Outcome != mail.Sent {
					t.Fatalf("%+v", st)
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
					t.Errorf("%d octets of memory", used)
				}
				if got := stored(t, path); got < size || got > size+200 {
					t.Errorf("%d octets came, %d are there", size, got)
				}
			})
		}
	}
}

// stored is the size of the only message of a mailbox.
func stored(t *testing.T, path string) int64 {
	t.Helper()
	if strings.HasSuffix(path, "/") {
		list, err := os.ReadDir(path + "new")
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		path = filepath.Join(path, "new", list[0].Name())
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}
