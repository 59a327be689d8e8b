package imapd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/memstore"
	"packetboat/test/oracle"
)

// dovecotIMAP is Debian's imap process; run from a shell it serves one session
// on its standard input without a login.
const dovecotIMAP = "/usr/lib/dovecot/imap"

// peer is a server under test: ours or the real one.
type peer struct {
	io.ReadWriteCloser
	r *bufio.Reader
}

// pipeConn joins the two pipes of a child process.
type pipeConn struct {
	io.Reader
	io.WriteCloser
}

// startOurs serves one session on a socket pair and returns the client's end.
func startOurs(t testing.TB, st store.Store, o Options) *peer {
	t.Helper()
	return startUser(t, User{Name: "alice", Store: st}, o)
}

func startUser(t testing.TB, u User, o Options) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		Serve(c, u, o, Start{Session: "s"})
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		select {
		case <-done:
		case <-time.After(oracle.Patience):
			t.Error("the session does not end")
		}
	})
	p := &peer{c, bufio.NewReaderSize(c, 64<<10)}
	p.line(t)
	return p
}

// dovecotHome lays down a Maildir of messages for Dovecot.
func dovecotHome(t testing.TB, msgs [][]byte) string {
	t.Helper()
	if _, err := os.Stat(dovecotIMAP); err != nil {
		t.Skip("Dovecot is not installed: nothing to compare with")
	}
	home, err := os.MkdirTemp("", "imapd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	for _, d := range []string{"mail/cur", "mail/new", "mail/tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range msgs {
		name := filepath.Join(home, "mail/cur", fmt.Sprintf("%010d.M%dP1.host:2,", 1700000000+i, i))
		if err := os.WriteFile(name, m, 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1700000000+int64(i), 0)
		if err := os.Chtimes(name, when, when); err != nil {
			t.Fatal(err)
		}
	}
	conf := "base_dir = " + home + "/run\nlog_path = " + home + "/log\nssl = no\nprotocols = imap\n" +
		"mail_location = maildir:" + home + "/mail:LAYOUT=fs\nfirst_valid_uid = 0\n" +
		"maildir_stat_dirs = yes\n" +
		"namespace inbox {\n  inbox = yes\n  separator = /\n  prefix =\n}\n"
	if err := os.WriteFile(home+"/dovecot.conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	giveAway(t, home)
	return home
}

// nobody is the account that Dovecot runs as when the test is root's: its imap
// refuses root.
const nobody = 1

func giveAway(t testing.TB, home string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// startDovecot starts one session of the real Dovecot.
func startDovecot(t testing.TB, home string) *peer {
	t.Helper()
	cmd := exec.Command(dovecotIMAP, "-c", home+"/dovecot.conf")
	cmd.Env = []string{"HOME=" + home, "USER=alice", "TZ=UTC"}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: false}}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	p := &peer{pipeConn{out, in}, bufio.NewReaderSize(out, 64<<10)}
	p.line(t)
	return p
}

// Close ends the conversation.
func (p pipeConn) Close() error { return p.WriteCloser.Close() }

// line reads one line, and all literals in it.
func (p *peer) line(t testing.TB) string {
	t.Helper()
	s, err := p.tryLine()
	if err != nil {
		t.Fatalf("read: %v (got %.200q)", err, s)
	}
	return s
}

func (p *peer) tryLine() (string, error) {
	var b bytes.Buffer
	for {
		piece, err := p.r.ReadString('\n')
		b.WriteString(piece)
		if err != nil {
			return b.String(), err
		}
		n, ok := literalAtEnd(piece)
		if !ok {
			return strings.TrimSuffix(b.String(), "\r\n"), nil
		}
		if _, err := io.CopyN(&b, p.r, n); err != nil {
			return b.String(), err
		}
	}
}

func literalAtEnd(line string) (int64, bool) {
	line, ok := strings.CutSuffix(line, "}\r\n")
	i := strings.LastIndexByte(line, '{')
	if !ok || i < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(line[i+1:], 10, 64)
	return n, err == nil
}

// do sends a command and returns the untagged lines and the tagged one.
func (p *peer) do(t testing.TB, command string) (lines []string, tagged string) {
	t.Helper()
	if _, err := io.WriteString(p, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	tag, _, _ := strings.Cut(command, " ")
	for {
		l := p.line(t)
		if strings.HasPrefix(l, tag+" ") {
			return lines, l
		}
		lines = append(lines, l)
	}
}

// memory returns a store with the messages in INBOX.
func memory(t testing.TB, msgs [][]byte) *memstore.Store {
	t.Helper()
	st := memstore.New()
	box, err := st.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range msgs {
		_, err := box.Append([]store.New{{Body: bytes.NewReader(m), Date: time.Unix(1700000000+int64(i), 0)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// TestMain pins the zone, which INTERNALDATE shows.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}
