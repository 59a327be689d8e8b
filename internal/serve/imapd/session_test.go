package imapd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// lockedBuffer is a log that a test may read while sessions write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testLog(l *lockedBuffer) *maillog.Log {
	return maillog.To(l, maillog.Options{Name: "dovecot", Host: "h", Bare: true}).Program("imap")
}

// serveOn runs a session on one end of a connection and returns the other.
func serveOn(t testing.TB, st store.Store, o Options, start Start) (net.Conn, <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		l.Close() // not before: a connection that waits would be reset
		if err != nil {
			done <- err
			return
		}
		done <- Serve(c, User{Name: "alice", Store: st}, o, start)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, done
}

func ended(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(oracle.Patience):
		t.Fatal("the session does not end")
		return nil
	}
}

// TestHandOver: the login's tag is answered and what the login process had
// read already is run.
func TestHandOver(t *testing.T) {
	var log lockedBuffer
	c, done := serveOn(t, memory(t, nil), Options{Log: testLog(&log)}, Start{
		Tag: "l1", Pending: []byte("a NOOP\r\nb LOGOUT\r\n"), Session: "sess+1"})
	got, _ := io.ReadAll(c)
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
	want := regexp.MustCompile(`^l1 OK \[CAPABILITY IMAP4rev1 [^\]]*\] Logged in\r\na OK NOOP completed .*\r\n\* BYE Logging out\r\nb OK Logout completed .*\r\n$`)
	if !want.Match(got) {
		t.Errorf("got %q", got)
	}
	line := regexp.MustCompile(`dovecot: imap\(alice\)<\d+><sess\+1>: Disconnected: Logged out in=18 out=\d+ deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0 body_count=0 body_bytes=0\n`)
	if !line.MatchString(log.String()) {
		t.Errorf("log: %s", log.String())
	}
}

// TestCounts: the figures of the log line.
func TestCounts(t *testing.T) {
	var log lockedBuffer
	st := memory(t, [][]byte{[]byte("Subject: x\n\nbody\n"), []byte("Subject: y\n\nb\n")})
	c, done := serveOn(t, st, Options{Log: testLog(&log)}, Start{Tag: "l"})
	fmt.Fprint(c, "a SELECT INBOX\r\na FETCH 1 BODY[]\r\na FETCH 1 BODY[HEADER]\r\na STORE 2 +FLAGS \\Deleted\r\na EXPUNGE\r\na LOGOUT\r\n")
	io.Copy(io.Discard, c)
	ended(t, done)
	if want := "deleted=1 expunged=1 trashed=0 hdr_count=1 hdr_bytes=14 body_count=1 body_bytes=20"; !strings.Contains(log.String(), want) {
		t.Errorf("log: %s", log.String())
	}
}

// TestConnectionClosed: a client that goes without a word.
func TestConnectionClosed(t *testing.T) {
	var log lockedBuffer
	c, done := serveOn(t, memory(t, nil), Options{Log: testLog(&log)}, Start{Tag: "l", Pending: []byte("a NOOP\r\n")})
	io.ReadFull(c, make([]byte, 20))
	c.Close()
	if err := ended(t, done); err == nil {
		t.Error("no error for a lost connection")
	}
	if !strings.Contains(log.String(), "Disconnected: Connection closed") {
		t.Errorf("log: %s", log.String())
	}
}

// TestCutAppend: a message whose end never came is not saved.
func TestCutAppend(t *testing.T) {
	st := memory(t, nil)
	c, done := serveOn(t, st, Options{}, Start{Tag: "l"})
	fmt.Fprint(c, "a APPEND INBOX {100+}\r\nSubject: half a mess")
	time.Sleep(20 * time.Millisecond)
	c.Close()
	if ended(t, done) == nil {
		t.Error("no error")
	}
	box, _ := st.Open("INBOX")
	if n := len(box.Snapshot().Msgs); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// TestOversize: a message over the limit is refused before the client sends
// it, and swallowed where it has been sent already.
func TestOversize(t *testing.T) {
	p := startOurs(t, memory(t, nil), Options{MaxMessage: 50})
	for _, c := range []string{"a APPEND INBOX {51}", "a APPEND INBOX {51+}\r\n" + strings.Repeat("b X\r\n", 10) + "b"} {
		if _, tagged := p.do(t, c); !strings.HasPrefix(tagged, "a NO [TOOBIG]") {
			t.Errorf("%.30q: %s", c, tagged)
		}
	}
	if _, tagged := p.do(t, "c NOOP"); !strings.HasPrefix(tagged, "c OK") {
		t.Error(tagged)
	}
}

func TestOverQuota(t *testing.T) {
	st := memory(t, nil)
	st.SetQuota(10)
	p := startOurs(t, st, Options{})
	if _, tagged := p.do(t, "a APPEND INBOX {12+}\r\nSubject: x\r\n"); !strings.HasPrefix(tagged, "a NO [OVERQUOTA]") {
		t.Error(tagged)
	}
}

// faulty is a store whose mailboxes fail as the test says.
type faulty struct {
	store.Store
	read func() (io.ReadCloser, error)
}

type faultyBox struct {
	store.Mailbox
	read func() (io.ReadCloser, error)
}

func (f faulty) Open(name string) (store.Mailbox, error) {
	box, err := f.Store.Open(name)
	return faultyBox{box, f.read}, err
}

func (b faultyBox) Read(uint32, int64, int64) (io.ReadCloser, error) { return b.read() }

// TestPanic: a fault ends one session, with a BYE and a line in the log.
func TestPanic(t *testing.T) {
	var log lockedBuffer
	st := faulty{memory(t, [][]byte{[]byte("a: b\n\nc\n")}), func() (io.ReadCloser, error) { panic("boom") }}
	c, done := serveOn(t, st, Options{Log: testLog(&log)}, Start{Tag: "l"})
	fmt.Fprint(c, "a SELECT INBOX\r\nb FETCH 1 BODY[]\r\n")
	got, _ := io.ReadAll(c)
	if ended(t, done) == nil {
		t.Error("no error")
	}
	if !strings.Contains(string(got), "* BYE Internal error") {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(log.String(), "Panic: boom in command FETCH") {
		t.Errorf("log: %s", log.String())
	}
}

// TestReadFails: a disk error is told as NO; the session lives.
func TestReadFails(t *testing.T) {
	var log lockedBuffer
	st := faulty{memory(t, [][]byte{[]byte("a: b\n\nc\n")}), func() (io.ReadCloser, error) { return nil, errors.New("input/output error") }}
	p := startOurs(t, st, Options{Log: testLog(&log)})
	p.do(t, "a SELECT INBOX")
	if _, tagged := p.do(t, "a FETCH 1 BODY[]"); !strings.HasPrefix(tagged, "a NO [SERVERBUG]") {
		t.Error(tagged)
	}
	if !strings.Contains(log.String(), "input/output error") {
		t.Errorf("log: %s", log.String())
	}
	if _, tagged := p.do(t, "a NOOP"); !strings.HasPrefix(tagged, "a OK") {
		t.Error(tagged)
	}
}

// TestShortMessage: when the mailbox has less than it said the session ends,
// for the client waits for octets of a literal.
func TestShortMessage(t *testing.T) {
	st := faulty{memory(t, [][]byte{[]byte("a: b\n\nc\n")}), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a")), nil }}
	c, done := serveOn(t, st, Options{}, Start{Tag: "l"})
	fmt.Fprint(c, "a SELECT INBOX\r\nb FETCH 1 BODY[]\r\n")
	io.Copy(io.Discard, c)
	if err := ended(t, done); !errors.Is(err, wire.ErrShort) {
		t.Error(err)
	}
}

// TestOneWrite: the answers to a batch of commands leave together.
func TestOneWrite(t *testing.T) {
	a, b := net.Pipe()
	counted := &countConn{Conn: b}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Serve(counted, User{Name: "alice", Store: memory(t, nil)}, Options{}, Start{Tag: "l",
			Pending: []byte("a NOOP\r\nb SELECT INBOX\r\nc FETCH 1:* FLAGS\r\nd LOGOUT\r\n")})
	}()
	io.Copy(io.Discard, a)
	<-done
	if counted.writes > 1 {
		t.Errorf("%d writes", counted.writes)
	}
}

type countConn struct {
	net.Conn
	writes int
}

func (c *countConn) Write(p []byte) (int, error) { c.writes++; return c.Conn.Write(p) }

// TestInactivity: a silent client is sent away.
func TestInactivity(t *testing.T) {
	c, done := serveOn(t, memory(t, nil), Options{IdleTimeout: 50 * time.Millisecond}, Start{Tag: "l"})
	got, _ := io.ReadAll(c)
	ended(t, done)
	if !strings.Contains(string(got), "* BYE Disconnected for inactivity.") {
		t.Errorf("got %q", got)
	}
}

// TestStillHere: IDLE says that the server lives.
func TestStillHere(t *testing.T) {
	p := startOurs(t, memory(t, nil), Options{IdleNotify: 20 * time.Millisecond})
	io.WriteString(p, "a IDLE\r\n")
	if p.line(t) != "+ idling" || p.line(t) != "* OK Still here" || p.line(t) != "* OK Still here" {
		t.Error("no sign of life")
	}
	io.WriteString(p, "DONE\r\n")
	for l := p.line(t); !strings.HasPrefix(l, "a OK"); l = p.line(t) {
		if l != "* OK Still here" {
			t.Error(l)
		}
	}
}

// TestIdlePrompt: news reach an idle client at once.
func TestIdlePrompt(t *testing.T) {
	st := memory(t, nil)
	p := startOurs(t, st, Options{})
	p.do(t, "a SELECT INBOX")
	io.WriteString(p, "a IDLE\r\n")
	p.line(t)
	box, _ := st.Open("INBOX")
	// A busy machine may hold up one message or the other, but not all of them.
	for n := 1; ; n++ {
		begun := time.Now()
		box.Append([]store.New{{Body: strings.NewReader("x: y\n\nz\n")}})
		for l := ""; l != fmt.Sprintf("* %d EXISTS", n); {
			if l = p.line(t); n == 1 && l != "* 1 EXISTS" {
				t.Fatal(l)
			}
		}
		d := time.Since(begun)
		if d <= 500*time.Millisecond {
			break
		}
		if n == 10 {
			t.Fatalf("ten times told late, at last after %v", d)
		}
	}
}

// sessionLimit is the bound that the package states: what one session may hold
// beside the mailbox's own list of messages.
const sessionLimit = 8 << 20

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestDeafClient: a client that asks for much and reads nothing holds no more
// than the bound, and is sent away in the end.
func TestDeafClient(t *testing.T) {
	big := append([]byte("Subject: x\n\n"), bytes.Repeat([]byte("0123456789012345678901234567890123456789\n"), 100_000)...)
	st := memory(t, [][]byte{big, big})
	before := heap()
	c, done := serveOn(t, st, Options{WriteTimeout: 400 * time.Millisecond}, Start{Tag: "l"})
	fmt.Fprint(c, "a SELECT INBOX\r\n")
	for range 50 {
		fmt.Fprint(c, "a FETCH 1:* BODY[]\r\n")
	}
	time.Sleep(150 * time.Millisecond)
	if grown := heap() - before; grown > sessionLimit {
		t.Errorf("the session holds %d octets", grown)
	}
	if err := ended(t, done); !isTimeout(err) {
		t.Errorf("ended with %v", err)
	}
}

// TestGarbage: what no client sends costs no more than the bound.
func TestGarbage(t *testing.T) {
	inputs := map[string]string{
		"endless line":     strings.Repeat("x", 1<<20),
		"endless word":     "a " + strings.Repeat("x", 1<<20),
		"parentheses":      "a FETCH 1 " + strings.Repeat("(", 1<<20),
		"closed":           "a FETCH 1 " + strings.Repeat(")", 1<<20),
		"many arguments":   "a FETCH 1 (" + strings.Repeat("x ", 1<<19),
		"absurd set":       "a FETCH " + strings.Repeat("1:4294967295,", 1<<16) + "1 FLAGS",
		"many literals":    "a SEARCH " + strings.Repeat("TEXT {1000+}\r\n"+strings.Repeat("y", 1000)+" ", 1000),
		"nots":             "a SEARCH " + strings.Repeat("NOT ", 10000) + "ALL",
		"deep keys":        "a SEARCH " + strings.Repeat("(", 1000) + "ALL" + strings.Repeat(")", 1000),
		"huge literal":     "a SELECT {9999999+}\r\n" + strings.Repeat("b NOOP\r\n", 1250000)[:9999999],
		"stars":            `a LIST "" "` + strings.Repeat("*%a", 20000) + `"`,
		"header names":     "a FETCH 1 BODY[HEADER.FIELDS (" + strings.Repeat("a ", 8000) + "b)]",
		"nul bytes":        "a SELECT \"" + strings.Repeat("\x00", 100) + "\"",
		"unfinished quote": "a SELECT \"" + strings.Repeat("q", 100),
	}
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			p := startOurs(t, memory(t, [][]byte{[]byte("Subject: x\n\ny\n")}), Options{})
			p.do(t, "s SELECT INBOX")
			before := heap()
			io.WriteString(p, in+"\r\n")
			grown := int64(0)
			for l := p.line(t); !strings.HasPrefix(l, "a ") && !strings.HasPrefix(l, "* BAD"); l = p.line(t) {
				grown = max(grown, heap()-before)
			}
			if grown = max(grown, heap()-before); grown > sessionLimit {
				t.Errorf("the session holds %d octets", grown)
			}
			if _, tagged := p.do(t, "z NOOP"); !strings.HasPrefix(tagged, "z OK") {
				t.Error(tagged)
			}
		})
	}
}

func TestAppendUIDs(t *testing.T) {
	if got := appendUID("COPYUID", 7, []uint32{1, 2, 3, 9}, []uint32{4, 5, 6, 7}); got != "[COPYUID 7 1:3,9 4:7]" {
		t.Error(got)
	}
}

func TestSetsAreSorted(t *testing.T) {
	v := view.View{Msgs: []store.Msg{{UID: 2}, {UID: 5}, {UID: 9}}}
	s := &session{view: v}
	s.cmd.uid = true
	list, err := s.view.Pick(nil, true)
	if err != nil || list != nil {
		t.Error(list, err)
	}
	if got := v.UIDs([]int{0, 2}); !slices.Equal(got, []uint32{2, 9}) {
		t.Error(got)
	}
}

// TestBigMessages: what is too big for memory goes through a file and arrives
// whole, by APPEND as by COPY.
func TestBigMessages(t *testing.T) {
	dir := t.TempDir()
	st := memory(t, nil)
	p := startOurs(t, st, Options{TempDir: dir})
	body := "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 30000)
	small := "Subject: small\r\n\r\nx\r\n"
	_, tagged := p.do(t, fmt.Sprintf("a APPEND INBOX {%d+}\r\n%s (\\Seen) {%d+}\r\n%s", len(body), body, len(small), small))
	if !strings.Contains(tagged, "[APPENDUID 1 1:2] Append completed") {
		t.Fatal(tagged)
	}
	p.do(t, "a SELECT INBOX")
	if _, tagged = p.do(t, "a COPY 1:2 INBOX"); !strings.Contains(tagged, "[COPYUID 1 1:2 3:4]") {
		t.Fatal(tagged)
	}
	lines, _ := p.do(t, "a FETCH 3 BODY.PEEK[]")
	if want := fmt.Sprintf("* 3 FETCH (BODY[] {%d}\r\n%s)", len(body), body); lines[0] != want {
		t.Errorf("%d octets come back, want %d", len(lines[0]), len(want))
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestMultiAppend: all or none.
func TestMultiAppend(t *testing.T) {
	st := memory(t, nil)
	p := startOurs(t, st, Options{MaxMessage: 10})
	for in, want := range map[string]string{
		"a APPEND INBOX {3+}\r\nabc {0+}\r\n":                       "a NO Can't",
		"a APPEND INBOX {3+}\r\nabc (\\Foo) {8+}\r\nb NOOP\r\n":     "a BAD Error in IMAP command APPEND: Invalid system flag",
		"a APPEND INBOX {3+}\r\nabc {11+}\r\n12345678901":           "a NO [TOOBIG]",
		"a APPEND INBOX {3+}\r\nabc foo":                            "a BAD Error in IMAP command APPEND: Invalid arguments",
		"a APPEND INBOX {3+}\r\nabc \"01-Jan-2020 00:00:00 +0000\"": "a BAD Error in IMAP command APPEND: Invalid arguments",
	} {
		if _, tagged := p.do(t, in); !strings.HasPrefix(tagged, want) {
			t.Errorf("%q: %s", in, tagged)
		}
	}
	if _, tagged := p.do(t, "c STATUS INBOX (MESSAGES)"); !strings.HasPrefix(tagged, "c OK") {
		t.Error(tagged)
	}
	box, _ := st.Open("INBOX")
	if n := len(box.Snapshot().Msgs); n != 0 {
		t.Errorf("%d messages", n)
	}
}
