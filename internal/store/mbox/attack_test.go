package mbox

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/journal"
)

// TestSwapRace: somebody who may write to the spool folder puts links, pipes
// and folders in the place of the mailbox while mail comes in. What they point
// at is never touched.
func TestSwapRace(t *testing.T) {
	dir := t.TempDir()
	path, victim := dir+"/box", dir+"/victim"
	os.WriteFile(victim, []byte("precious\n"), 0o600)
	stop := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			tmp := dir + "/swap"
			switch i % 5 {
			case 0:
				os.Symlink(victim, tmp)
			case 1:
				os.Link(victim, tmp)
			case 2:
				syscall.Mkfifo(tmp, 0o600)
			case 3:
				os.WriteFile(tmp, nil, 0o600)
			case 4:
				os.Remove(path)
				continue
			}
			os.Rename(tmp, path)
		}
	}()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		deliverOne(path, DeliverOptions{Wait: 10 * time.Millisecond}, Delivery{Body: strings.NewReader("S: x\n\nevil\n")})
	}
	close(stop)
	<-gone
	if b, _ := os.ReadFile(victim); string(b) != "precious\n" {
		t.Errorf("the victim holds %q", b)
	}
}

// TestJournalLink: a link that waits where the journal is written is not followed.
func TestJournalLink(t *testing.T) {
	m, path := openOne(t, 0)
	defer m.Close()
	victim := filepath.Join(t.TempDir(), "victim")
	os.WriteFile(victim, []byte("precious\n"), 0o600)
	if err := os.Symlink(victim, filepath.Join(filepath.Dir(path), ".spool.journal.new")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Expunge([]uint32{1}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(victim); string(b) != "precious\n" {
		t.Errorf("the victim holds %q", b)
	}
	if got := readAll(t, m, 2); got != "S: 2\r\n\r\ntwo\r\n" {
		t.Errorf("%q", got)
	}
}

// TestForeignJournal: a journal that another user put there is not applied and
// keeps nobody out.
func TestForeignJournal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files of other users")
	}
	m, path := openOne(t, 0)
	os.Chown(path, 65534, -1)
	name := filepath.Join(filepath.Dir(path), ".spool.journal")
	os.WriteFile(name, []byte("packetboat mbox journal 1\n"), 0o600)
	os.Chown(name, 65533, -1)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Deliver(path, DeliverOptions{}, []Delivery{{Body: strings.NewReader("S: 3\n\nthree\n")}})[0]; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(name); err != nil {
		t.Error("somebody else's file was removed")
	}
}

// repeated is n octets that repeat a text.
type repeated struct {
	text string
	n    int
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.n)], r.text[r.at:])
	r.n -= n
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// TestHuge: a message of one line of 100 MB, of as many ">", of 100,000 header
// lines, of NUL octets and of empty lines is kept and read in little memory.
func TestHuge(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MB")
	}
	const big = 100 << 20
	for name, c := range map[string]struct {
		head, text string
		n          int
		out        int64
	}{
		"one line":      {"S: 1\n\n", strings.Repeat("x", 4096), big, big + 10},
		"quotes":        {"S: 1\n\n", strings.Repeat(">", 4096), big / 10, big/10 + 10},
		"nul":           {"S: 1\n\n", "\x00\x00\x00\x00", big / 10, big/10 + 10},
		"header lines":  {"", strings.Repeat("To: a@example.org\n", 100), 100000 * 18, 100000*19 + 2},
		"one header":    {"", strings.Repeat("X", 4096), big / 10, big/10 + 4},
		"empty lines":   {"S: 1\n\n", strings.Repeat("\n", 4096), big / 10, big/5 + 8},
		"only From":     {"S: 1\n\n", strings.Repeat("From \n", 1000), 6000000, 7000000 + 8},
		"folded header": {"X-UID: 7\n", strings.Repeat(" x\n", 1000), 3000000, 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/box"
			body := io.MultiReader(strings.NewReader(c.head), &repeated{text: c.text, n: c.n})
			errs := Deliver(path, DeliverOptions{}, []Delivery{{Body: body}, {Body: strings.NewReader("S: 2\n\n")}})
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s, _ := Open(Options{Inbox: path})
			m, err := s.Open("INBOX")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			msgs := m.Snapshot().Msgs
			if len(msgs) != 2 || msgs[0].Size != c.out {
				t.Fatalf("%+v, want %d octets", msgs, c.out)
			}
			r, _ := m.Read(msgs[0].UID, 0, -1)
			n, err := io.Copy(io.Discard, r)
			runtime.ReadMemStats(&after)
			if err != nil || n != c.out {
				t.Errorf("%v: %d octets of %d", err, n, c.out)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
				t.Errorf("%d MB were allocated", used>>20)
			}
		})
	}
}

// TestFullDiskExpunge: where nothing can be written any more, a session says
// so and loses nothing; mail can be deleted to make room.
func TestFullDiskExpunge(t *testing.T) {
	m, path := openOne(t, 0)
	defer m.Close()
	was, _ := os.ReadFile(path)
	m.sys = fullFS{}
	if _, err := m.Expunge([]uint32{1}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Expunge: %v", err)
	}
	if _, err := m.Append([]store.New{{Body: strings.NewReader("S: 3\n\n")}}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Append: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != string(was) {
		t.Errorf("changed to\n%s", b)
	}
	if _, err := m.Expunge([]uint32{1, 2}); err != nil {
		t.Errorf("Expunge of all: %v", err)
	}
	if b, _ := os.ReadFile(path); len(b) > 0 {
		t.Errorf("left: %s", b)
	}
}

// fullFS is a disk without room: only what is there can be cut.
type fullFS struct{ journal.Disk }

func (fullFS) WriteAt(*os.File, []byte, int64) error { return syscall.ENOSPC }
func (fullFS) Create(string) (*os.File, error)       { return nil, syscall.ENOSPC }
