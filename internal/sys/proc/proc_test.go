package proc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestChannelCarriesFiles(t *testing.T) {
	near, far, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	other, err := FromFile(far)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r, w, _ := os.Pipe()
	type message struct{ Text string }
	if err := near.Send(message{"take this"}, w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var m message
	files, err := other.Recv(&m)
	if err != nil || m.Text != "take this" || len(files) != 1 {
		t.Fatalf("%+v %v %v", m, files, err)
	}
	files[0].WriteString("through the pipe")
	files[0].Close()
	if b, _ := io.ReadAll(r); string(b) != "through the pipe" {
		t.Errorf("%q", b)
	}
	near.Close()
	if _, err := other.Recv(&m); err != io.EOF {
		t.Errorf("a closed channel gives %v", err)
	}
}

func TestChannelLimits(t *testing.T) {
	near, far, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	if near.Send(string(make([]byte, maxMessage))) == nil {
		t.Error("a message over the limit was sent")
	}
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	code, err := Run(t.Context(), Role{Path: "/bin/sh", Args: []string{"sh", "-c", "pwd; env; echo $0; exit 75"}, Env: []string{"A=b"}, Stdout: &out})
	if err != nil || code != 75 {
		t.Fatal(code, err)
	}
	if s := out.String(); !bytes.HasPrefix(out.Bytes(), []byte("/\n")) || bytes.Contains(out.Bytes(), []byte("HOME=")) {
		t.Errorf("%q", s)
	}
}

// TestRunTimeout holds that a command which ignores SIGTERM in a child dies too.
func TestRunTimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := Run(ctx, Role{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 30 & wait"}, Session: true})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestLookupUser(t *testing.T) {
	u, err := LookupUser("root")
	if err != nil || u.UID != 0 || u.Home == "" {
		t.Errorf("%+v %v", u, err)
	}
	for _, name := range []string{"", "no-such-user-here", "root:x", "a/b", "a\nroot", "-x"} {
		if _, err := LookupUser(name); !errors.Is(err, ErrNoUser) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestAsk: a question, an answer, and every way to get none.
func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := Ask(path, []byte("x"), 10, time.Second); err == nil {
		t.Error("nobody listens, but somebody answers")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 300<<10)
			n, _ := io.ReadAtLeast(c, b, 1)
			switch string(b[:min(n, 4)]) {
			case "hang":
				time.Sleep(300 * time.Millisecond)
			case "much":
				c.Write(b[:100])
			case "long":
				io.ReadFull(c, b[n:])
				c.Write([]byte("got all"))
			case "echo":
				c.Write(b[:n])
			}
			c.Close()
		}
	}()
	for question, want := range map[string]string{"echo": "echo", "gone": "", "long" + strings.Repeat("x", 300<<10-4): "got all"} {
		if answer, err := Ask(path, []byte(question), 10, 5*time.Second); err != nil || string(answer) != want {
			t.Errorf("%.10s: %q %v", question, answer, err)
		}
	}
	for _, question := range []string{"hang", "much"} {
		if answer, err := Ask(path, []byte(question), 10, 100*time.Millisecond); err == nil {
			t.Errorf("%s: %q", question, answer)
		}
	}
}

// TestUsers holds the cache against the files, while they change.
func TestUsers(t *testing.T) {
	dir := t.TempDir()
	u := &Users{files: [2]string{filepath.Join(dir, "passwd"), filepath.Join(dir, "nsswitch.conf")}}
	write := func(text string) {
		t.Helper()
		tmp := filepath.Join(dir, "tmp")
		if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o644), os.Rename(tmp, u.files[0])); err != nil {
			t.Fatal(err)
		}
	}
	home := func(name string) string {
		a, err := u.Lookup(name)
		if errors.Is(err, ErrNoUser) {
			return "none"
		}
		if err != nil || a.Name != name {
			t.Fatal(a, err)
		}
		return a.Home
	}
	if home("alice") != "none" {
		t.Error("no file, but an account")
	}
	write("alice:x:1:1::/a:/bin/sh\nalice:x:2:2::/second:\nbad line\nbob:x:3:3::/b:")
	for name, want := range map[string]string{"alice": "/a", "bob": "/b", "bad line": "none", "": "none", "x": "none", "a:b": "none"} {
		if got := home(name); got != want {
			t.Errorf("%q: %s, not %s", name, got, want)
		}
	}
	write("alice:x:1:1::/a:/bin/sh\ncarol:x:4:4::/c:\n")
	if home("carol") != "/c" {
		t.Error("a new account is not seen at once")
	}
	write("alice:x:1:1::/elsewhere:/bin/sh\n")
	time.Sleep(recheck)
	if home("alice") != "/elsewhere" || home("carol") != "none" {
		t.Error("a change is not seen in time")
	}
}

func TestErrText(t *testing.T) {
	_, err := os.Open("/nonexistent/x")
	if s := ErrText(err); s != "No such file or directory" {
		t.Errorf("%q", s)
	}
	if s := ErrText(os.ErrDeadlineExceeded); s != "Connection timed out" {
		t.Errorf("%q", s)
	}
}
