package pickup

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"packetboat/internal/queue"
	"packetboat/internal/queue/maildrop"
	"packetboat/internal/sys/proc"
)

// records writes what sendmail sends.
func records(kinds string, data ...string) []byte {
	var b bytes.Buffer
	w := maildrop.NewWriter(&b)
	for i := range data {
		w.PutString(kinds[i], data[i])
	}
	w.Flush()
	return b.Bytes()
}

// submitSocket serves one pickup on a socket and returns its path.
func submitSocket(t *testing.T, p *Pickup) string {
	path := filepath.Join(t.TempDir(), "submit")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.Serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return path
}

// TestServe: what sendmail gives on the socket is in the queue when the answer
// says so, and nothing is there otherwise.
func TestServe(t *testing.T) {
	s := start(t, Options{})
	defer s.stop()
	path := submitSocket(t, s.p)
	whole := records("AFSRMNNNXE", "rewrite_context=local", "Full Name", "alice", "bob", "", "Subject: x", "", "body", "", "")
	answer, err := proc.Ask(path, whole, 4096, 5*time.Second)
	if err != nil || string(answer) != "status\x000\x00reason\x00\x00\x00" {
		t.Fatalf("%q %v", answer, err)
	}
	id := <-s.queued
	m, err := s.q.Load(id, queue.Incoming)
	if err != nil || m.Env.UID != os.Getuid() || m.Env.Sender != "alice@example.org" || m.Env.Rcpts[0].Addr != "bob@example.org" {
		t.Fatalf("%+v %v", m, err)
	}
	c, _ := s.q.OpenContent(id, queue.Incoming)
	defer c.Close()
	text, _ := io.ReadAll(c.Reader())
	if want := "From: Full Name <alice@example.org>\n\nbody\n"; !strings.HasSuffix(string(text), want) {
		t.Errorf("%q", text)
	}
	if line := ": uid=" + strconv.Itoa(os.Getuid()) + " from=<alice>"; !strings.Contains(s.log.String(), line) {
		t.Errorf("no %q in %s", line, s.log.String())
	}
	s.q.Remove(id, queue.Incoming)
	for name, bad := range map[string][]byte{
		"nothing":       nil,
		"cut":           whole[:len(whole)-2],
		"no recipients": records("SMNXE", "alice", "", "body", "", ""),
		"a time stamp":  records("TSRMNXE", "1 2", "alice", "bob", "", "body", "", ""),
		"unknown type":  records("SRQMNXE", "alice", "bob", "?", "", "body", "", ""),
		"garbage":       []byte("GET / HTTP/1.0\r\n\r\n"),
		"too long":      records("SRMNXE", "alice", "bob", "", strings.Repeat("x", 60000), "", "")[:50000],
	} {
		// A question that ends early is one whose sender died.
		if answer, err := ask(path, bad); err == nil && strings.HasPrefix(answer, "status\x000\x00") {
			t.Errorf("%s: taken: %q", name, answer)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "incoming")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	full := &Pickup{o: Options{MinFree: 1 << 62}, dir: s.p.dir}
	if answer, err := proc.Ask(submitSocket(t, full), whole, 4096, 5*time.Second); err == nil && !strings.Contains(string(answer), "insufficient") {
		t.Errorf("a full disk: %q %v", answer, err)
	}
}

// ask sends bytes, ends its side, and returns the answer.
func ask(path string, b []byte) (string, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.Write(b)
	c.(*net.UnixConn).CloseWrite()
	answer, err := io.ReadAll(c)
	return string(answer), err
}
