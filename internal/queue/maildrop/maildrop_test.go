package maildrop

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// file writes a file of these bytes that pickup would look at.
func file(t testing.TB, dir string, data []byte, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, "A1B2C3")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// load reads a whole file.
func load(dir string) (*Message, string, error) {
	m, err := Open(dir, "A1B2C3")
	if err != nil {
		return nil, "", err
	}
	defer m.Close()
	var b bytes.Buffer
	err = m.WriteContent(&b)
	return m, b.String(), err
}

// What Postfix 3.7's sendmail and postdrop wrote for
// "sendmail -F 'Full N' -f a@b -N failure,delay -V envid -R hdrs -XV -t -B7BIT dave@x".
const postfixFile = "T\x111795457491 459739A\x11envelope_id=envidA\x0bret_flags=2A\x15rewrite_context=local" +
	"F\x06Full NS\x03a@bA\x0dencoding=7bitV\x02+=A\x0fnotify_flags=12R\x06dave@xM\x00N\x0aSubject: aN\x0eTo: bob, carol" +
	"N\x00N\x02hiN\x02\x00xX\x00A\x0fnotify_flags=12R\x03bobA\x0fnotify_flags=12R\x05carolE\x00"

func TestPostfixFile(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, []byte(postfixFile), 0o744)
	m, body, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	e := m.Env
	if e.Sender != "a@b" || m.FullName != "Full N" || e.EnvID != "envid" || e.Ret != "HDRS" || e.Verp != "+=" ||
		e.Body != mail.Body7Bit || m.Remote || e.UID != os.Getuid() || !e.Arrived.Equal(time.Unix(1795457491, 459739000)) {
		t.Errorf("%+v %+v", m, e)
	}
	if len(e.Rcpts) != 3 || e.Rcpts[0].Addr != "dave@x" || e.Rcpts[2].Addr != "carol" ||
		e.Rcpts[1].Notify != mail.NotifyFailure|mail.NotifyDelay {
		t.Errorf("%+v", e.Rcpts)
	}
	if want := "Subject: a\nTo: bob, carol\n\nhi\n\x00x\n"; body != want {
		t.Errorf("%q", body)
	}
}

func TestRefusedFiles(t *testing.T) {
	var damage *CorruptError
	for _, data := range []string{"", "T", "T\x05ab", "S\x01aR\x01bM\x00N\x01xX\x00", "S\x01aN\x01x", "M\x00R\x01a", "M\x00X\x00N\x00E\x00",
		"S\xff\xff\xff\xff\x7fx", "\x00\x00", "p\x01x", strings.Repeat("R\x01a", MaxRecipients+1) + "M\x00X\x00E\x00"} {
		dir := t.TempDir()
		file(t, dir, []byte(data), 0o744)
		if _, _, err := load(dir); !errors.As(err, &damage) {
			t.Errorf("%.20q: %v", data, err)
		}
	}
	dir := t.TempDir()
	file(t, dir, []byte(postfixFile), 0o600)
	if _, _, err := load(dir); !errors.Is(err, ErrIncomplete) {
		t.Errorf("unfinished file: %v", err)
	}
	file(t, dir, []byte(postfixFile), 0o744)
	if err := os.Link(filepath.Join(dir, "A1B2C3"), filepath.Join(dir, "B")); err != nil {
		t.Fatal(err)
	}
	var distrust *disk.UntrustedError
	if _, _, err := load(dir); !errors.As(err, &distrust) {
		t.Errorf("hard link: %v", err)
	}
	if err := os.Symlink("B", filepath.Join(dir, "C")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "C"); err == nil {
		t.Error("a symbolic link was opened")
	}
}

// What Writer writes is read as it was.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(rapid.SliceOfN(rapid.ByteRange(11, 255), 0, 5000), 0, 5).Draw(rt, "lines")
		rcpts := rapid.SliceOfN(rapid.StringMatching(`[!-~ ]{0,300}`), 0, 5).Draw(rt, "rcpts")
		sender := rapid.StringMatching(`[!-~ ]{0,200}`).Draw(rt, "sender")
		var b bytes.Buffer
		w := NewWriter(&b)
		w.PutString(Sender, sender)
		w.PutString(Content, "")
		var want bytes.Buffer
		for _, line := range lines {
			w.PutLine(line)
			want.Write(append(bytes.Clone(line), '\n'))
		}
		w.PutString(Extracted, "")
		for _, r := range rcpts {
			w.PutString(Recipient, r)
		}
		w.PutString(End, "")
		if err := w.Flush(); err != nil {
			rt.Fatal(err)
		}
		file(t, dir, b.Bytes(), 0o744)
		m, body, err := load(dir)
		if err != nil || body != want.String() || string(m.Env.Sender) != sender || len(m.Env.Rcpts) != len(rcpts) {
			rt.Fatalf("%v %+v", err, m)
		}
		for i, r := range m.Env.Rcpts {
			if string(r.Addr) != rcpts[i] {
				rt.Fatalf("%q became %q", rcpts[i], r.Addr)
			}
		}
	})
}

// Addresses cannot carry a line end into headers or logs.
func TestControlBytes(t *testing.T) {
	dir := t.TempDir()
	file(t, dir, []byte("S\x03a\nbR\x03c\rdM\x00X\x00E\x00"), 0o744)
	m, _, err := load(dir)
	if err != nil || m.Env.Sender != "a?b" || m.Env.Rcpts[0].Addr != "c?d" {
		t.Errorf("%v %+v", err, m.Env)
	}
}

func FuzzMaildrop(f *testing.F) {
	f.Add([]byte(postfixFile))
	f.Add([]byte("S\x01aR\x01bM\x00N\x01xL\x02yzX\x00E\x00"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file(t, dir, data, 0o744)
		m, err := Open(dir, "A1B2C3")
		if err != nil {
			return
		}
		defer m.Close()
		m.WriteContent(io.Discard)
	})
}

// BenchmarkWriteContent reads a message of 10 kB.
func BenchmarkWriteContent(b *testing.B) {
	dir := b.TempDir()
	var data bytes.Buffer
	w := NewWriter(&data)
	w.PutString(Sender, "a")
	w.PutString(Recipient, "b")
	w.PutString(Content, "")
	for range 130 {
		w.PutLine(bytes.Repeat([]byte{'x'}, 75))
	}
	w.PutString(Extracted, "")
	w.PutString(End, "")
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	file(b, dir, data.Bytes(), 0o744)
	b.ReportAllocs()
	for b.Loop() {
		if m, _, err := load(dir); err != nil || len(m.Env.Rcpts) != 1 {
			b.Fatal(err)
		}
	}
}
