package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/internal/sys/proc"
	"packetboat/test/oracle"
)

// TestMain makes the test program mrad itself: the parent starts its roles as
// its own executable.
func TestMain(m *testing.M) {
	if os.Args[0] == "mrad" {
		main()
		return
	}
	os.Exit(m.Run())
}

// system is a private mrad.
type system struct {
	dir   string
	ports map[string]string
	proc  *proc.Process
	ended chan int
}

const testConf = `base_dir = DIR/run
log_path = DIR/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = EXTRA
auth_verbose = yes
default_internal_user = ME
default_login_user = ME
first_valid_uid = UID
first_valid_gid = 0
mail_location = mbox:~/mail:INBOX=DIR/mail/%n
passdb {
  driver = passwd-file
  args = DIR/users
}
userdb {
  driver = passwd-file
  args = DIR/users
}
service auth {
  unix_listener DIR/private/auth {
    mode = 0600
  }
}
`

// launch starts a system; ssl is what stands behind "ssl = ".
func launch(t *testing.T, ssl string) *system {
	t.Helper()
	s := &system{dir: t.TempDir(), ports: make(map[string]string), ended: make(chan int, 1)}
	me, err := user.Current()
	if err != nil {
		t.Skip("who am I?", err)
	}
	var held []net.Listener
	conf := strings.NewReplacer("DIR", s.dir, "ME", me.Username, "UID", me.Uid, "EXTRA", ssl).Replace(testConf)
	for service, names := range map[string][]string{"imap-login": {"imap", "imaps"}, "pop3-login": {"pop3", "pop3s"}, "lmtp": {"lmtp"}} {
		conf += "service " + service + " {\n"
		for _, name := range names {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s.ports[name] = l.Addr().String()
			_, port, _ := net.SplitHostPort(s.ports[name])
			held = append(held, l) // until all are known, so that none comes twice
			conf += "  inet_listener " + name + " {\n    port = " + port + "\n  }\n"
		}
		conf += "}\n"
	}
	for _, l := range held {
		l.Close()
	}
	s.write(t, "dovecot.conf", conf)
	s.write(t, "users", fmt.Sprintf("alice:{PLAIN}secret:%s:%s::%s/home::\n", me.Uid, me.Gid, s.dir))
	os.Mkdir(filepath.Join(s.dir, "mail"), 0o700)
	os.Mkdir(filepath.Join(s.dir, "home"), 0o700)
	s.write(t, "mail/alice", "From a@b.c  Mon Nov 23 14:03:58 2026\nFrom: a@b.c\nSubject: one\n\nhello\n\n")
	s.start(t)
	return s
}

func (s *system) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *system) start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.proc, err = proc.Start(proc.Role{Path: self, Args: []string{"mrad", "-F", "-c", filepath.Join(s.dir, "dovecot.conf"), "--ready-fd", "3"},
		Env: proc.CleanEnv(), Stderr: os.Stderr, Files: []*os.File{w}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.proc.Wait() }()
	t.Cleanup(func() { s.stop(t) })
	r.SetReadDeadline(time.Now().Add(oracle.Patience))
	if n, err := r.Read(make([]byte, 1)); n != 1 {
		t.Fatalf("mrad did not start: %v\n%s", err, s.log())
	}
}

// stop ends the system and checks that nothing is left of it.
func (s *system) stop(t *testing.T) {
	if s.proc == nil {
		return
	}
	s.proc.Signal(proc.SIGTERM)
	select {
	case code := <-s.ended:
		if code != 0 {
			t.Errorf("mrad ended with %d\n%s", code, s.log())
		}
	case <-time.After(oracle.Patience):
		s.proc.Signal(proc.SIGKILL)
		t.Errorf("mrad does not end\n%s", s.log())
	}
	s.proc = nil
	for _, left := range []string{"run/master.pid", "private/auth"} {
		if _, err := os.Lstat(filepath.Join(s.dir, left)); err == nil {
			t.Errorf("%s is left", left)
		}
	}
}

func (s *system) log() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(b)
}

// talk is a line conversation.
type talk struct {
	net.Conn
	r *bufio.Reader
}

func (s *system) dial(t *testing.T, port string) *talk {
	t.Helper()
	c, err := net.Dial("tcp4", s.ports[port])
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(oracle.Patience))
	t.Cleanup(func() { c.Close() })
	if strings.HasSuffix(port, "s") {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	return &talk{c, bufio.NewReader(c)}
}

// do sends a line and returns the answer up to the line that begins with until.
func (c *talk) do(line, until string) string {
	if line != "" {
		fmt.Fprintf(c, "%s\r\n", line)
	}
	var all strings.Builder
	for {
		got, err := c.r.ReadString('\n')
		all.WriteString(got)
		if err != nil || strings.HasPrefix(got, until) {
			return all.String()
		}
	}
}

func TestSystem(t *testing.T) {
	s := launch(t, "no")
	c := s.dial(t, "imap")
	c.do("", "* OK")
	if got := c.do("a LOGIN alice secret", "a "); !strings.HasPrefix(got, "a OK [CAPABILITY IMAP4rev1") {
		t.Fatal(got, s.log())
	}
	if got := c.do("b SELECT INBOX", "b "); !strings.Contains(got, "* 1 EXISTS") {
		t.Error(got)
	}
	p := s.dial(t, "pop3")
	p.do("", "+OK")
	p.do("USER alice", "+OK")
	if got := p.do("PASS secret", "+OK"); !strings.HasPrefix(got, "+OK Logged in.") {
		t.Error(got)
	}
	if got := p.do("RETR 1", "."); !strings.Contains(got, "Subject: one") {
		t.Error(got)
	}
	p.do("QUIT", "+OK")
	// The processes of one user are one process.
	if log := s.log(); strings.Count(log, "mpid=") != 2 || len(pids(log)) != 1 {
		t.Error(log)
	}
	s.authSocket(t)
	s.proc.Signal(proc.SIGTERM)
	if got := c.do("", "* BYE"); !strings.HasPrefix(got, "* BYE") {
		t.Errorf("a session was cut off: %q", got)
	}
}

// pids returns the mail processes that the log names.
func pids(log string) map[string]bool {
	m := make(map[string]bool)
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, "mpid="); ok {
			pid, _, _ := strings.Cut(rest, ",")
			m[pid] = true
		}
	}
	return m
}

// authSocket asks as an SMTP server does.
func (s *system) authSocket(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), oracle.Patience)
	defer cancel()
	c, err := wire.Dial(ctx, filepath.Join(s.dir, "private/auth"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, a, err := c.Start(ctx, wire.Request{Service: "smtp", Mech: "PLAIN", Initial: []byte("\x00alice\x00secret")})
	if err != nil || a.State != wire.OK || a.User != "alice" {
		t.Error(a, err)
	}
}

// TestCrash: whatever role is killed comes again, and the others live on.
func TestCrash(t *testing.T) {
	s := launch(t, "no")
	for _, role := range []string{"login", "auth", "mail"} {
		c := s.dial(t, "imap")
		c.do("", "* OK")
		if got := c.do("a LOGIN alice secret", "a "); !strings.HasPrefix(got, "a OK") {
			t.Fatal(role, got, s.log())
		}
		for _, pid := range children(t, s.proc.PID(), role) {
			proc.Kill(pid, proc.SIGKILL)
			if !oracle.Await(func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d/fd/0", pid)); return err != nil }) {
				t.Fatal(role, "does not end")
			}
		}
		got := c.do("b NOOP", "b ")
		if (role == "mail") == strings.HasPrefix(got, "b OK") {
			t.Errorf("after the end of %s: %q", role, got)
		}
	}
	c := s.dial(t, "imap")
	c.do("", "* OK")
	if got := c.do("a LOGIN alice secret", "a "); !strings.HasPrefix(got, "a OK") {
		t.Fatal(got, s.log())
	}
}

// children returns the processes of a role below parent.
func children(t *testing.T, parent int, role string) (list []int) {
	dirs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		stat, _ := os.ReadFile(d)
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		cmd, _ := os.ReadFile(filepath.Join(filepath.Dir(d), "cmdline"))
		if len(f) > 1 && f[1] == strconv.Itoa(parent) && strings.Contains(string(cmd), "--role\x00"+role) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(d)))
			list = append(list, pid)
		}
	}
	if len(list) == 0 {
		t.Fatalf("no %s process", role)
	}
	return list
}

func TestReload(t *testing.T) {
	s := launch(t, "no")
	c := s.dial(t, "imap")
	c.do("", "* OK")
	c.do("a LOGIN alice secret", "a ")
	conf, _ := os.ReadFile(filepath.Join(s.dir, "dovecot.conf"))
	s.write(t, "dovecot.conf", strings.Replace(string(conf), "listen =", "login_greeting = changed\nlisten =", 1))
	s.proc.Signal(proc.SIGHUP)
	for end := time.Now().Add(oracle.Patience); ; time.Sleep(20 * time.Millisecond) {
		n := s.dial(t, "imap")
		if got := n.do("", "* "); strings.Contains(got, "changed") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the greeting stays\n", s.log())
		}
	}
	if got := c.do("b NOOP", "b "); !strings.HasPrefix(got, "b OK") {
		t.Error("a session did not live through the reload:", got)
	}
	for i, text := range []string{"passdb {\n", "login_greeting = other\nlogin_greting = x\n", "login_greeting = other\nmail_plugins = sieve\n",
		"login_greeting = other\npassdb {\n  driver = sql\n  args = /nosuch/sql.conf\n}\n", "login_greeting = other\npassdb {\n  driver = nosuch\n}\n",
		"login_greeting = other\nssl = yes\nssl_cert = </nosuch/cert\nssl_key = </nosuch/key\n",
		"login_greeting = other\nservice imap-login {\n  inet_listener other {\n    address = 192.0.2.99\n    port = 1\n  }\n}\n", "!include /nosuch\n"} {
		s.write(t, "dovecot.conf", string(conf)+text)
		s.proc.Signal(proc.SIGHUP)
		for end := time.Now().Add(oracle.Patience); strings.Count(s.log(), "Error: reload: ") <= i; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%q is not refused\n%s", text, s.log())
			}
		}
		n := s.dial(t, "imap")
		got := n.do("", "* ")
		if login := n.do("a LOGIN alice secret", "a "); !strings.Contains(got, "changed") || !strings.Contains(login, "a OK") {
			t.Errorf("%q: a broken configuration was taken: %s %s\n%s", text, got, login, s.log())
		}
	}
}

func TestRefusesToStart(t *testing.T) {
	for text, want := range map[string]string{
		"protocols = imap smtp\n":        "smtp",
		"ssl = maybe\n":                  "maybe",
		"passdb {\n  driver = nope\n}\n": "nope",
		"protocols = imap\nssl = yes\nssl_cert = </nonexistent/cert\n": "/nonexistent/cert",
	} {
		dir := t.TempDir()
		me, err := user.Current()
		if err != nil {
			t.Skip(err)
		}
		path := filepath.Join(dir, "d.conf")
		os.WriteFile(path, []byte("base_dir = "+dir+"/run\nlog_path = "+dir+"/log\ndefault_login_user = "+me.Username+"\nlisten = 127.0.0.1\n"+
			"service imap-login {\n  inet_listener imap {\n    port = 0\n  }\n  inet_listener imaps {\n    port = 0\n  }\n}\n"+text), 0o600)
		p := &parent{path: path, signals: make(chan os.Signal)}
		p.mail.init()
		err = p.start()
		time.Sleep(50 * time.Millisecond)
		p.halt()
		log, _ := os.ReadFile(dir + "/log")
		if err == nil || !strings.Contains(err.Error()+string(log), want) {
			t.Errorf("%q: %v\n%s", text, err, log)
		}
	}
}
