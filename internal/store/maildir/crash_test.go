package maildir

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
)

// TestKilled kills a process while it appends, copies, marks and expunges. What
// it had told to be done is done, every UID still means the same message, and
// the mailbox goes on.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("MAILDIR_TEST_WRITER"); dir != "" {
		work(t, dir)
	}
	dir := t.TempDir()
	k := &killed{t: t, have: map[uint32]string{}, going: map[uint32]bool{}}
	for range 25 {
		k.round(dir)
		k.check(dir)
	}
	if len(k.have) < 20 {
		t.Errorf("only %d messages were ever acknowledged", len(k.have))
	}
}

// work changes a mailbox without end and says what is about to happen ("-") and
// what has happened ("+").
func work(t *testing.T, dir string) {
	s, err := Open(Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	box, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		text := fmt.Sprintf("Subject: %d %d\n\nbody\n", os.Getpid(), i)
		uids, err := box.Append([]store.New{{Body: strings.NewReader(text), Flags: store.Flag(i % 8), Keywords: []string{"Work"}[:i%2]}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("+ %d %d %d\n", uids[0], os.Getpid(), i)
		uids, _, err = box.(store.Copier).CopyTo(box, uids)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("+ %d %d %d\n", uids[0], os.Getpid(), i)
		if _, err := box.SetFlags(uids, store.Add, store.Flagged, []string{fmt.Sprint("k", i%30)}); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			fmt.Printf("- %d\n", uids[0])
			if _, err := box.Expunge(uids); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// killed is what a test knows of a mailbox whose writers were killed.
type killed struct {
	t     *testing.T
	have  map[uint32]string // acknowledged, by UID
	going map[uint32]bool   // may be gone
}

func (k *killed) round(dir string) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "MAILDIR_TEST_WRITER="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(30+rand.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for sc := bufio.NewScanner(out); sc.Scan(); {
		var uid uint32
		var pid, i int
		if n, _ := fmt.Sscanf(sc.Text(), "+ %d %d %d", &uid, &pid, &i); n == 3 {
			if k.have[uid] != "" {
				k.t.Errorf("UID %d was given twice", uid)
			}
			k.have[uid] = fmt.Sprintf("Subject: %d %d\r\n\r\nbody\r\n", pid, i)
		} else if n, _ := fmt.Sscanf(sc.Text(), "- %d", &uid); n == 1 {
			k.going[uid] = true
		}
	}
	cmd.Wait()
}

func (k *killed) check(dir string) {
	s, err := Open(Options{Root: dir})
	if err != nil {
		k.t.Fatal(err)
	}
	defer s.Close()
	box, err := s.Open("INBOX")
	if err != nil {
		k.t.Fatal(err)
	}
	defer box.Close()
	snap, err := box.Look(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	there := map[uint32]bool{}
	for i := range snap.Msgs {
		m := &snap.Msgs[i]
		there[m.UID] = true
		r, err := box.Read(m.UID, 0, -1)
		if err != nil {
			k.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		want, known := k.have[m.UID]
		if err != nil || known && string(b) != want || !bytes.HasSuffix(b, []byte("body\r\n")) || int64(len(b)) != m.Size {
			k.t.Errorf("UID %d is %q, %v; want %q", m.UID, b, err, want)
		}
		k.have[m.UID] = string(b) // it has been seen: from now on it stays
	}
	for uid := range k.have {
		if !there[uid] && !k.going[uid] {
			k.t.Errorf("UID %d is lost", uid)
		}
	}
}
