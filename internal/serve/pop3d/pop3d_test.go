package pop3d

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/memstore"
	"packetboat/internal/sys/maillog"

	"pgregory.net/rapid"

	"packetboat/test/oracle"
)

var messages = []string{"From: a@b.c\nSubject: one\n\nline\n.dot\n..two\n", "From: a@b.c\nSubject: two\n\nx\n", "From: a@b.c\nSubject: three\n"}

// fill makes a store with messages in INBOX.
func fill(t testing.TB, texts ...string) *memstore.Store {
	t.Helper()
	s := memstore.New()
	box, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	for _, text := range texts {
		if _, err := box.Append([]store.New{{Body: strings.NewReader(text)}}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// run starts a session and returns the client's end, and its log and error
// when it has ended.
func run(t testing.TB, s store.Store, o Options, st Start) (net.Conn, func() (string, error)) {
	t.Helper()
	here, there := net.Pipe()
	var log bytes.Buffer
	o.Log = maillog.To(&log, maillog.Options{Name: "dovecot", Bare: true}).Program("")
	st.Session = "S"
	done := make(chan error, 1)
	go func() { done <- Serve(there, User{"alice", s}, o, st) }()
	here.SetDeadline(time.Now().Add(oracle.Patience))
	return here, func() (string, error) {
		here.Close()
		err := <-done
		return log.String(), err
	}
}

func TestDialogue(t *testing.T) {
	script, err := os.ReadFile("testdata/session.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := fill(t, messages...)
	c, end := run(t, s, Options{}, Start{})
	r := bufio.NewReader(c)
	for line := range strings.Lines(string(script)) {
		line = strings.TrimSuffix(line, "\n")
		if cmd, ok := strings.CutPrefix(line, "c -> "); ok {
			fmt.Fprintf(c, "%s\r\n", cmd)
		}
		if want, ok := strings.CutPrefix(line, "s <- "); ok {
			got, err := r.ReadString('\n')
			if got != want+"\r\n" {
				t.Fatalf("got %q %v, want %q", got, err, want)
			}
		}
	}
	log, err := end()
	if want := fmt.Sprintf("dovecot: pop3(alice)<%d><S>: Disconnected: Logged out top=3/108, retr=1/65, del=2/3, size=109\n", os.Getpid()); err != nil || !strings.HasSuffix(log, want) {
		t.Errorf("%v\n%s%s", err, log, want)
	}
	box, _ := s.Open("INBOX")
	if n := len(box.Snapshot().Msgs); n != 1 || box.Snapshot().Msgs[0].Flags&store.Seen == 0 {
		t.Errorf("%d messages left: %v", n, box.Snapshot().Msgs)
	}
}

// TestLostConnection: without QUIT nothing is deleted.
func TestLostConnection(t *testing.T) {
	s := fill(t, messages...)
	c, end := run(t, s, Options{}, Start{Pending: []byte("DELE 1\r\nDELE 2\r\n")})
	r := bufio.NewReader(c)
	for range 3 {
		if line, _ := r.ReadString('\n'); !strings.HasPrefix(line, "+OK") {
			t.Fatal(line)
		}
	}
	log, err := end()
	if err == nil || !strings.Contains(log, "Disconnected: Connection closed top=0/0, retr=0/0, del=0/3, size=109") {
		t.Error(err, log)
	}
	box, _ := s.Open("INBOX")
	if n := len(box.Snapshot().Msgs); n != 3 {
		t.Errorf("%d messages left", n)
	}
}

// TestSnapshot: what arrives during a session is not seen by it.
func TestSnapshot(t *testing.T) {
	s := fill(t, messages[0])
	c, end := run(t, s, Options{}, Start{})
	r := bufio.NewReader(c)
	r.ReadString('\n')
	box, _ := s.Open("INBOX")
	box.Append([]store.New{{Body: strings.NewReader(messages[1])}})
	fmt.Fprint(c, "STAT\r\n")
	if line, _ := r.ReadString('\n'); line != "+OK 1 48\r\n" {
		t.Error(line)
	}
	end()
}

// TestPipelined: a batch of commands is answered in one write.
func TestPipelined(t *testing.T) {
	c, end := run(t, fill(t, messages...), Options{}, Start{Pending: []byte("STAT\r\nUIDL 1\r\nRETR 2\r\nQUIT\r\n")})
	buf := make([]byte, 4096)
	n, _ := c.Read(buf)
	want := "+OK Logged in.\r\n+OK 3 109\r\n+OK 1 0000000100000001\r\n+OK 32 octets\r\nFrom: a@b.c\r\nSubject: two\r\n\r\nx\r\n.\r\n+OK Logging out.\r\n"
	if string(buf[:n]) != want {
		t.Errorf("%q", buf[:n])
	}
	if _, err := end(); err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	for _, in := range []string{strings.Repeat("x", 5000) + "\r\n", strings.Repeat("X\r\n", 30)} {
		c, end := run(t, fill(t), Options{}, Start{})
		go fmt.Fprint(c, in)
		out, _ := io.ReadAll(io.LimitReader(c, 1<<20))
		if !strings.Contains(string(out), "-ERR") {
			t.Errorf("%.20q: %q", in, out)
		}
		if _, err := end(); err == nil {
			t.Errorf("%.20q: no error", in)
		}
	}
	c, end := run(t, fill(t), Options{IdleTimeout: 30 * time.Millisecond}, Start{})
	io.ReadAll(c)
	if log, _ := end(); !strings.Contains(log, "Disconnected for inactivity") {
		t.Error(log)
	}
}

func TestUIDLFormats(t *testing.T) {
	x := &session{snap: &store.Snapshot{UIDValidity: 0x6b0452d5, Msgs: []store.Msg{{UID: 31}}}}
	for format, want := range map[string]string{"%08Xu%08Xv": "0000001f6b0452d5", "%u": "31", "%v.%u": "1795445461.31", "%Xu-x%": "1f-x%"} {
		x.o.UIDL = format
		if got := x.uidl(0); got != want {
			t.Errorf("%s = %s, want %s", format, got, want)
		}
	}
}

// TestStuffing: what is sent, read as a POP3 client reads, is what was stored.
func TestStuffing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune(".\nab:")), 0, 200, -1).Draw(t, "text")
		text = strings.ReplaceAll(text, "\n", "\r\n")
		var out bytes.Buffer
		w := bufio.NewWriterSize(&out, 16)
		s := &stuffer{w: w, bol: true}
		if err := s.all(bufio.NewReaderSize(strings.NewReader(text), 16)); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		var back strings.Builder
		for line := range strings.Lines(out.String()) {
			if line == ".\r\n" {
				t.Fatalf("%q ends early in %q", text, out.String())
			}
			back.WriteString(strings.TrimPrefix(line, "."))
		}
		if back.String() != text || s.n != int64(out.Len()) {
			t.Fatalf("%q became %q", text, back.String())
		}
	})
}

func FuzzCommands(f *testing.F) {
	for _, s := range []string{"STAT\r\nQUIT\r\n", "LIST 1\r\nTOP 1 99999999999999999999\r\n", "RETR \x00\r\n", "\r\n\r\n", "UIDL 18446744073709551616\r\n", "DELE 1\r\nRETR 1\r\nRSET\r\n"} {
		f.Add(s)
	}
	s := fill(f, messages...)
	f.Fuzz(func(t *testing.T, in string) {
		var out bytes.Buffer
		Serve(&loop{in: strings.NewReader(in), out: &out}, User{"u", s}, Options{}, Start{})
		for line := range strings.Lines(out.String()) {
			if !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\x00\x1b") {
				t.Errorf("%q answered %q", in, line)
			}
		}
	})
}

// loop is a connection that reads from memory.
type loop struct {
	net.Conn
	in  io.Reader
	out io.Writer
}

func (l *loop) Read(p []byte) (int, error)       { return l.in.Read(p) }
func (l *loop) Write(p []byte) (int, error)      { return l.out.Write(p) }
func (l *loop) Close() error                     { return nil }
func (l *loop) SetReadDeadline(time.Time) error  { return nil }
func (l *loop) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkRetr(b *testing.B) {
	s := fill(b, "From: x\n\n"+strings.Repeat("a line of a common length in a mail message\n", 25000))
	in := strings.Repeat("RETR 1\r\n", 10)
	b.ReportAllocs()
	for b.Loop() {
		Serve(&loop{in: strings.NewReader(in), out: io.Discard}, User{"u", s}, Options{}, Start{})
	}
}

// TestWorkarounds: pop3_client_workarounds changes what such clients choke on, and
// nothing else.
func TestWorkarounds(t *testing.T) {
	s := fill(t, "Subject: no end\n", "Subject: one\n\nx\x00y\n", "Subject: \x00\n\n\n.z\n")
	for _, c := range []struct {
		words []string
		want  [3]string
	}{
		{nil, [3]string{"Subject: no end\r\n.\r\n", "Subject: one\r\n\r\nx\x00y\r\n.\r\n", "Subject: \x00\r\n\r\n\r\n..z\r\n.\r\n"}},
		{[]string{"oe-ns-eoh"}, [3]string{"Subject: no end\r\n\r\n.\r\n", "Subject: one\r\n\r\nx\x00y\r\n.\r\n", "Subject: \x00\r\n\r\n\r\n..z\r\n.\r\n"}},
		{[]string{"outlook-no-nuls", "oe-ns-eoh"}, [3]string{"Subject: no end\r\n\r\n.\r\n", "Subject: one\r\n\r\nx\x80y\r\n.\r\n", "Subject: \x80\r\n\r\n\r\n..z\r\n.\r\n"}},
	} {
		conn, end := run(t, s, Options{Workarounds: c.words}, Start{})
		r := bufio.NewReader(conn)
		r.ReadString('\n')
		for i, want := range c.want {
			for _, cmd := range []string{"RETR %d\r\n", "TOP %d 9\r\n"} {
				fmt.Fprintf(conn, cmd, i+1)
				r.ReadString('\n')
				var got strings.Builder
				for !strings.HasSuffix("\n"+got.String(), "\n.\r\n") {
					line, err := r.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					got.WriteString(line)
				}
				if got.String() != want {
					t.Errorf("%v: %s: %q, want %q", c.words, fmt.Sprintf(cmd, i+1), got.String(), want)
				}
			}
		}
		end()
	}
}
