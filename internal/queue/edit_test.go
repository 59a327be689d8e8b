package queue

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"packetboat/internal/mail"
)

// A message is read back and written anew before it is committed: short ones from
// memory, long ones from the file. The id stays, and so does what is on disk.
func TestRestart(t *testing.T) {
	q, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for _, first := range []string{"short", strings.Repeat("0123456789", 20000)} {
		w, err := q.Create()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, first)
		got, err := io.ReadAll(io.NewSectionReader(w, 2, int64(len(first))))
		if err != nil || string(got) != first[2:] {
			t.Fatalf("read back %d octets of %d: %v", len(got), len(first), err)
		}
		if err := w.Restart(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "new content\n")
		id := w.ID()
		if err := w.Commit(&mail.Envelope{Rcpts: []mail.Rcpt{{Addr: "a@b"}}}); err != nil {
			t.Fatal(err)
		}
		c, err := q.OpenContent(id, Incoming)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(c.Reader())
		c.Close()
		if !bytes.Equal(b, []byte("new content\n")) {
			t.Errorf("%q", b)
		}
		if err := q.Check(id, Incoming); err != nil {
			t.Errorf("checksum: %v", err)
		}
	}
}
