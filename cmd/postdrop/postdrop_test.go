package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const whole = "S\x01aR\x01bM\x00N\x01xX\x00E\x00"

var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "postdrop-test")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		os.Chmod(dir, 0o755)
		binary = filepath.Join(dir, "postdrop")
		cmd := exec.Command("go", "build", "-o", binary, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			os.Stderr.Write(out)
			return 1
		}
		return m.Run()
	}())
}

// spool makes a configuration and a queue directory.
func spool(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "spool/maildrop"), 0o755); err != nil {
		t.Fatal(err)
	}
	conf := "queue_directory = " + dir + "/spool\nmessage_size_limit = 10000\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "spool/maildrop"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// drop runs postdrop and returns exit code, standard output and error.
func drop(t *testing.T, cmd *exec.Cmd, stdin string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func command(dir string) *exec.Cmd {
	cmd := exec.Command(binary, "-r")
	cmd.Env = []string{"MAIL_CONFIG=" + dir}
	return cmd
}

func TestPostdrop(t *testing.T) {
	dir := spool(t)
	code, out, errs := drop(t, command(dir), whole+"what follows is ignored")
	got := names(t, dir)
	if code != 0 || errs != "" || len(got) != 1 {
		t.Fatalf("exit %d %q %q %q", code, out, errs, got)
	}
	want := "protocol\x00postdrop_protocol\x00queue_id\x00" + got[0] + "\x00\x00status\x000\x00reason\x00\x00\x00"
	if out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	path := filepath.Join(dir, "spool/maildrop", got[0])
	fi, err := os.Stat(path)
	if err != nil || fi.Mode() != 0o744 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	b, _ := os.ReadFile(path)
	if !strings.HasPrefix(string(b), "T") || !strings.HasSuffix(string(b), whole) || len(b) > len(whole)+25 {
		t.Errorf("%q", b)
	}
}

// What is no whole message leaves nothing.
func TestRefused(t *testing.T) {
	dir := spool(t)
	for _, c := range []struct {
		in, text string
		code     int
	}{
		{"", "", 0},
		{whole[:len(whole)-1], "", 0}, // sendmail died
		{whole[:5], "", 0},
		{"T\x011" + whole, "unexpected record type: 84", statusBad},
		{"p\x011" + whole, "unexpected record type: 112", statusBad},
		{"A\x03a=b" + whole, "unexpected record type: 65", statusBad},
		{"S\x01aM\x00X\x00E\x00", "malformed input", statusBad},
		{"R\x01aM\x00X\x00E\x00", "malformed input", statusBad},
		{"S\x01aS\x01bR\x01aM\x00X\x00E\x00", "malformed input", statusBad},
		{"S\xff\xff\xff\xff\xff\xff\xff\xff\x01" + whole, "malformed input", statusBad},
		{"S\x01aR\x01bM\x00S\x01c", "unexpected record type: 83", statusBad},
		{"S\x01aR\x01bM\x00" + strings.Repeat("N\x78"+strings.Repeat("x", 0x78), 100) + "X\x00E\x00", "File too large", statusSize},
	} {
		code, out, errs := drop(t, command(dir), c.in)
		if code != c.code || (c.text == "") != (errs == "") || !strings.Contains(errs, c.text) {
			t.Errorf("%.30q: exit %d %q %q", c.in, code, out, errs)
		}
		if n := names(t, dir); len(n) != 0 {
			t.Errorf("%.30q: left %q", c.in, n)
		}
	}
}

// Signals do not stop it half way; the end of its input does.
func TestSignals(t *testing.T) {
	dir := spool(t)
	cmd := command(dir)
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
	defer cmd.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString(0); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGUSR1} {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond)
	in.Write([]byte(whole[:7]))
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	if n := names(t, dir); len(n) != 0 {
		t.Errorf("left %q", n)
	}
}

// Set-gid, it takes no configuration of the caller's, wherever it is named.
func TestSetGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes a set-gid program")
	}
	const uid, gid, group = 65533, 65533, 65532
	dir := spool(t)
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	drops := filepath.Join(dir, "spool/maildrop")
	program := filepath.Join(dir, "postdrop")
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(program, b, 0o755), os.Chown(program, 0, group), os.Chmod(program, 0o755|os.ModeSetgid),
		os.Chown(drops, 0, group), os.Chmod(drops, 0o730|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-r"}, {"-c", dir}, {"-v", "-C", dir}} {
		cmd := exec.Command(program, args...)
		cmd.Env = []string{"MAIL_CONFIG=" + dir, "GOTRACEBACK=crash", "GODEBUG=inittrace=1", "TMPDIR=/etc", "HOME=/"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		code, out, errs := drop(t, cmd, whole)
		if code == 0 || out == "" || !strings.Contains(errs, "unauthorized configuration directory name") {
			t.Errorf("%q: exit %d %q %q", args, code, out, errs)
		}
	}
	if n := names(t, dir); len(n) != 0 {
		t.Errorf("left %q", n)
	}
}

// It can be read at one sitting.
func TestLength(t *testing.T) {
	b, err := os.ReadFile("main.go")
	if n := bytes.Count(b, []byte{'\n'}); err != nil || n >= 200 {
		t.Errorf("%d lines, %v", n, err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("A\x0aencoding=8S\x80\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		err := copyRecords(bufio.NewReaderSize(bytes.NewReader(in), maxRecord+8), w, 1000)
		w.Flush()
		if out.Len() > 1000 {
			t.Fatal("over the limit")
		}
		if err == nil && !bytes.HasPrefix(in, out.Bytes()) {
			t.Fatal("what was taken is not the input")
		}
	})
}

// A user whom authorized_submit_users leaves out leaves nothing.
func TestAuthorizedSubmitUsers(t *testing.T) {
	dir := spool(t)
	path := filepath.Join(dir, "main.cf")
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(b, "\nauthorized_submit_users = nobody-else\n"...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	code, _, errs := drop(t, command(dir), whole)
	if code != 1 || !strings.HasPrefix(errs, "postdrop: fatal: User ") || !strings.HasSuffix(errs, fmt.Sprintf("(%d) is not allowed to submit mail\n", os.Getuid())) {
		t.Errorf("exit %d %q", code, errs)
	}
	if n := names(t, dir); len(n) != 0 {
		t.Errorf("left %q", n)
	}
}
