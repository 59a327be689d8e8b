package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// binaries is the folder with sendmail and postdrop, built once.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sendmail-test")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binaries = filepath.Join(dir, "bin")
		cmd := exec.Command("go", "build", "-o", binaries+"/", "packetboat/cmd/sendmail", "packetboat/cmd/postdrop")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s", out)
			return 1
		}
		for _, name := range []string{"mailq", "newaliases"} {
			if err := os.Symlink("sendmail", filepath.Join(binaries, name)); err != nil {
				panic(err)
			}
		}
		return m.Run()
	}())
}

// sandbox is a private mail system, as much of it as sendmail needs.
type sandbox struct{ dir, config string }

func newSandbox(t testing.TB, settings ...string) *sandbox {
	t.Helper()
	s := &sandbox{dir: t.TempDir()}
	s.config = filepath.Join(s.dir, "etc")
	for _, d := range []string{"etc", "spool/maildrop", "spool/public", "cmd"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lines := append([]string{"compatibility_level = 3.6", "queue_directory = " + s.dir + "/spool", "command_directory = " + s.dir + "/cmd",
		"myhostname = mail.example.org", "smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)", "message_size_limit = 200000",
		"alias_database = hash:/etc/aliases", "queue_minfree = 0"}, settings...)
	s.write(t, "etc/main.cf", strings.Join(lines, "\n")+"\n", 0o644)
	return s
}

func (s *sandbox) write(t testing.TB, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// env is what every caller gets, beside env of its own.
func (s *sandbox) env(own ...string) []string {
	return append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LOGNAME=mallory", "USER=mallory", "MAIL_CONFIG=" + s.config}, own...)
}

// run runs a program and returns its exit code and all it printed.
func (s *sandbox) run(t testing.TB, env []string, stdin, program string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = env
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func (s *sandbox) sendmail(t testing.TB, stdin string, args ...string) (int, string) {
	t.Helper()
	return s.run(t, s.env(), stdin, binaries+"/sendmail", args...)
}

// maildrop returns the files of maildrop, and removes them.
func (s *sandbox) maildrop(t testing.TB) []string {
	t.Helper()
	dir := filepath.Join(s.dir, "spool/maildrop")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, string(b))
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// caller returns the login name and number that messages name.
func caller(t testing.TB) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Skipf("no account: %v", err)
	}
	return u.Username + "(" + u.Uid + ")"
}

// golden reads a file of ../shared, or skips.
func golden(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "golden", name))
	if err != nil {
		t.Skipf("without ../shared: %v", err)
	}
	return string(b)
}

// record is one record of a maildrop file.
type record struct {
	kind byte
	data string
}

func (r record) String() string { return fmt.Sprintf("%c%q", r.kind, r.data) }

// records takes a stream apart. Parts of lines are joined, a line without an
// end counts as one with it, and postdrop's time stamp is left out: what the
// reader makes of it is the same.
func records(t testing.TB, stream string) []record {
	t.Helper()
	var out []record
	part := ""
	for len(stream) > 0 {
		kind, n, i := stream[0], 0, 1
		for shift := 0; ; shift += 7 {
			n |= int(stream[i]&0x7f) << shift
			if i++; stream[i-1] < 0x80 {
				break
			}
		}
		data := stream[i : i+n]
		stream = stream[i+n:]
		switch {
		case kind == 'T':
			continue
		case kind == 'L':
			part += data
			continue
		case kind == 'N':
			data = part + data
			part = ""
		case part != "":
			out = append(out, record{'N', part})
			part = ""
		}
		out = append(out, record{kind, data})
	}
	return out
}

// of returns the data of all records of a kind.
func of(rs []record, kind byte) []string {
	var out []string
	for _, r := range rs {
		if r.kind == kind {
			out = append(out, r.data)
		}
	}
	return out
}
