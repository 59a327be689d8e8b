package queue

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue/postfix"
)

// A queue that Postfix left is imported whole, in the states that its messages
// had, and given back.
func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	q, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	next := time.Unix(1800000000, 0)
	put := func(from, to string, mode os.FileMode) {
		b, err := os.ReadFile("postfix/testdata/" + from)
		path := filepath.Join(dir, to)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err == nil {
			err = os.Chtimes(path, next, next)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("A63C89C800B", "incoming/4jYLW33JLJz1VJKV", 0o700)
	put("A63C89C800B", "active/A/6/A63C89C800C", 0o700)
	put("71C789C80FC", "deferred/7/1/71C789C80FC", 0o700)
	put("AA4AA9C8001", "hold/AA4AA9C8001", 0o700)
	if err := os.WriteFile(dir+"/hold/AAAAAAAA", []byte("C\x0f              1junk"), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := q.Recover()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Renamed) < 4 || len(r.Foreign) != 1 || len(r.Ready) != 2 || len(r.Waiting) != 1 || !r.Waiting[0].Next.Equal(next) {
		t.Fatalf("%+v", r)
	}
	id := r.Waiting[0].ID
	m, err := q.Load(id, Deferred)
	if err != nil || m.Env.Sender != "alice+ext@mail.example.org" || len(m.Env.Rcpts) != 2 {
		t.Fatalf("%+v %v", m, err)
	}
	if err := q.Check(id, Deferred); err != nil {
		t.Error(err)
	}
	if err := q.Mark(id, 1, mail.Done); err != nil {
		t.Fatal(err)
	}
	if err := q.SetNextTry(id, next); err != nil { // Mark is for active messages: it changes the time
		t.Fatal(err)
	}
	if again, err := q.Recover(); err != nil || len(again.Renamed) != 0 || len(again.Ready) != 2 {
		t.Errorf("a second start: %+v %v", again, err)
	}
	failed := 0
	if err := q.Export(func(_ string, err error) {
		if err != nil {
			failed++
		}
	}); err != nil || failed != 1 { // the junk is none of ours
		t.Errorf("%v, %d failed", err, failed)
	}
	f, err := os.Open(q.Path(id, Deferred))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text strings.Builder
	back, err := postfix.Read(f, &text)
	fi, _ := f.Stat()
	if err != nil || back.Env.Rcpts[1].State != mail.Done || !strings.Contains(text.String(), "Subject: =?x?= conversion \n") || !fi.ModTime().Equal(next) || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v %v %v", back, err, fi)
	}
	if _, err := io.ReadAll(f); err != nil {
		t.Error(err)
	}
}
