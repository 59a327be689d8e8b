package imapd

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	"packetboat/internal/store"
	"packetboat/test/oracle"
)

// deflated switches a session to COMPRESS and returns it.
func deflated(t *testing.T, st store.Store) (*peer, *flate.Writer) {
	t.Helper()
	p := startOurs(t, st, Options{})
	if _, got := p.do(t, "a COMPRESS DEFLATE"); !strings.HasPrefix(got, "a OK Begin compression.") {
		t.Fatal(got)
	}
	w, err := flate.NewWriter(p.ReadWriteCloser, 6)
	if err != nil {
		t.Fatal(err)
	}
	return &peer{pipeConn{flate.NewReader(p.r), flushing{w, p.ReadWriteCloser}}, nil}, w
}

// flushing flushes after every write, as a client does after every command.
type flushing struct {
	*flate.Writer
	io.Closer
}

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// Close ends the connection under the deflated stream.
func (f flushing) Close() error { return f.Closer.Close() }

// TestCompress: what is said is the same with and without COMPRESS, also long
// answers, literals and IDLE.
func TestCompress(t *testing.T) {
	st := memory(t, threads(300))
	plain := startOurs(t, st, Options{})
	packed, _ := deflated(t, st)
	packed.r = bufio.NewReader(packed)
	for _, c := range []string{"a EXAMINE INBOX", "a FETCH 1:* (FLAGS BODY.PEEK[])", "a SEARCH TEXT body", "a CREATE {3+}\r\nfoo", "a APPEND foo {6+}\r\nx: y\r\n", "a NOOP"} {
		want, _ := plain.do(t, c)
		got, tagged := packed.do(t, c)
		if c[2:5] == "CRE" {
			continue // the second one hears that it is there
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || !strings.HasPrefix(tagged, "a OK") {
			t.Errorf("%s: %d lines, want %d; %s", c, len(got), len(want), tagged)
		}
	}
	if _, got := packed.do(t, "a COMPRESS DEFLATE"); !strings.HasPrefix(got, "a NO [COMPRESSIONACTIVE]") {
		t.Error(got)
	}
	io.WriteString(packed, "a IDLE\r\n")
	if l := packed.line(t); l != "+ idling" {
		t.Error(l)
	}
	io.WriteString(packed, "DONE\r\n")
	if l := packed.line(t); !strings.HasPrefix(l, "a OK Idle completed") {
		t.Error(l)
	}
}

// TestCompressGarbage: what is not deflated ends the session, and quickly.
func TestCompressGarbage(t *testing.T) {
	p := startOurs(t, memory(t, nil), Options{IdleTimeout: 2 * time.Second})
	io.WriteString(p, "a COMPRESS DEFLATE\r\na NOOP\r\n"+strings.Repeat("\xff\x00", 5000))
	done := make(chan bool)
	go func() { io.Copy(io.Discard, p.r); close(done) }()
	select {
	case <-done:
	case <-time.After(oracle.Patience):
		t.Error("the session goes on")
	}
}
