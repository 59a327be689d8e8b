package spawn

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), s)
}

// start serves the services of a master.cf in a queue of its own.
func start(t *testing.T, master string) (private string, log *lines, err error) {
	t.Helper()
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755) // the command begins in the queue's folder
	private = filepath.Join(dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\nqueue_directory = "+dir+"\nslow_time_limit = 1s\n"), 0o644)
	os.WriteFile(filepath.Join(dir, "master.cf"), []byte(master), 0o644)
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	services, _, err := config.LoadMaster(dir)
	if err != nil {
		t.Fatal(err)
	}
	log = &lines{}
	var s Set
	t.Cleanup(s.Close)
	err = s.Bind(m, services, maillog.To(log, maillog.Options{}).Program("spawn"))
	return private, log, err
}

// account is who may run commands here: not root, which spawn(8) refuses.
func account(t *testing.T) string {
	t.Helper()
	if os.Geteuid() == 0 {
		return "nobody"
	}
	u, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	return u.Username
}

// talk sends a line and returns all that comes back.
func talk(t *testing.T, log *lines, path, say string) string {
	t.Helper()
	c, err := net.DialTimeout("unix", path, oracle.Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	io.WriteString(c, say)
	c.(*net.UnixConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		t.Fatalf("%v; the log is %q", err, log.buf.String())
	}
	return string(b)
}

func TestSpawn(t *testing.T) {
	who := account(t)
	dir, log, err := start(t, "echo unix - n n - 0 spawn\n  user="+who+" argv=/bin/cat -\n"+
		"slow unix - n n - 2 spawn user="+who+" argv=/bin/sleep 60\n"+
		"bad unix - n n - - spawn user="+who+" argv=/bin/false\n")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := talk(t, log, filepath.Join(dir, "echo"), "action=DUNNO\n\n"); got != "action=DUNNO\n\n" {
			t.Errorf("the command said %q", got)
		}
	}
	if fi, err := os.Stat(filepath.Join(dir, "echo")); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("the socket is %v, %v", fi.Mode(), err)
	}
	talk(t, log, filepath.Join(dir, "bad"), "")
	begun := time.Now()
	talk(t, log, filepath.Join(dir, "slow"), "")
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("a command above its time limit lives for %v", d)
	}
	for end := time.Now().Add(oracle.Patience); !log.has("command /bin/false exit status 1"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log is %q", log.buf.String())
		}
	}
}

func TestSpawnRefuses(t *testing.T) {
	for _, args := range []string{"argv=/bin/cat", "user=" + account(t), "user=no-such-user-here argv=/bin/cat"} {
		if _, _, err := start(t, "x unix - n n - 0 spawn "+args+"\n"); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if os.Geteuid() == 0 {
		if _, _, err := start(t, "x unix - n n - 0 spawn user=root argv=/bin/cat\n"); err == nil {
			t.Error("root runs commands")
		}
	}
}
