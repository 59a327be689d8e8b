// Package attack runs a private system as a stranger, a careless administrator
// and a failing machine would have it: what they do may be refused, but it must
// not end a daemon, lose mail, or reach further than it should.
package attack

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
	"packetboat/test/sandbox"
)

// client is an SMTP conversation with one expectation a line.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, s *sandbox.Sandbox) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr(25))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(oracle.Patience))
	c := &client{t, conn, bufio.NewReader(conn)}
	c.reply()
	c.do("EHLO client.test")
	return c
}

// reply reads one reply and returns its last line.
func (c *client) reply() string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "lost: " + err.Error()
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(line, "\r\n")
		}
	}
}

// do sends a command and returns the reply.
func (c *client) do(command string) string {
	c.t.Helper()
	fmt.Fprintf(c.conn, "%s\r\n", command)
	return c.reply()
}

// want is do with a reply that must begin so.
func (c *client) want(command, begin string) {
	c.t.Helper()
	if got := c.do(command); !strings.HasPrefix(got, begin) {
		c.t.Fatalf("%.60q: %s, want %s", command, got, begin)
	}
}

// send sends a whole message to a recipient.
func (c *client) send(to, text string) {
	c.t.Helper()
	c.want("MAIL FROM:<>", "250")
	c.want("RCPT TO:<"+to+">", "250")
	c.want("DATA", "354")
	c.want(text+"\r\n.", "250")
}

// count returns the number of messages in a mailbox.
func count(s *sandbox.Sandbox, user string) int {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "mail", user))
	return bytes.Count(append([]byte("\n"), b...), []byte("\nFrom "))
}

// me is the name of the calling user, whose mail goes through local(8).
func me(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Skip("this process's user has no name")
	}
	return strings.TrimSpace(string(out))
}

func TestSmuggling(t *testing.T) {
	s := sandbox.Start(t)
	ends := []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\n.\r"}
	for i, end := range ends {
		c := dial(t, s)
		c.want("MAIL FROM:<a@example.com>", "250")
		c.want("RCPT TO:<alice@sandbox.test>", "250")
		c.want("DATA", "354")
		c.want("Subject: one\r\n\r\nbody"+end+"MAIL FROM:<evil@example.com>\r\nRCPT TO:<bob@sandbox.test>\r\nDATA\r\n\r\nx\r\n.", "250 2.0.0 Ok: queued")
		if got := c.do("QUIT"); !strings.HasPrefix(got, "221") {
			t.Errorf("%q: then %s", end, got)
		}
		s.Drained(20 * time.Second)
		if a, b := count(s, "alice"), count(s, "bob"); a != i+1 || b != 0 {
			t.Fatalf("%q: %d messages for alice, %d for bob", end, a, b)
		}
	}
}

// TestReload: what cannot be used is told in the log, and the old configuration
// stays in force.
func TestReload(t *testing.T) {
	s := sandbox.Start(t)
	mainCF, masterCF := filepath.Join(s.Dir, "etc/postfix/main.cf"), filepath.Join(s.Dir, "etc/postfix/master.cf")
	for _, c := range []struct{ file, add, said string }{
		{mainCF, "garbage", "missing '=' after attribute name"},
		{mainCF, "message_size_limit = banana", "bad numerical configuration"},
		{mainCF, "smtpd_recipient_restrictions = reject_nonsense", "reject_nonsense"},
		{mainCF, "alias_maps = hash:/nonexistent/aliases", "/nonexistent/aliases"},
		{mainCF, "virtual_alias_maps = nonsense:/x", "unsupported dictionary type"},
		{mainCF, "queue_directory = " + s.Dir + "/other", "stop the mail system and start it again"},
		{mainCF, "maillog_file = /nonexistent/log", "/nonexistent/log"},
		{mainCF, "mail_owner = no-such-user", "no-such-user"},
		{mainCF, "setgid_group = no-such-group", "no-such-group"},
		{masterCF, "nonsense", "bad field count"},
		{masterCF, "no-such-port inet n - n - - smtpd", "no-such-port"},
		{masterCF, fmt.Sprintf("%s inet n - n - - smtpd", s.Addr(24)), "Address already in use"},
	} {
		old, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		before := len(s.Log())
		os.WriteFile(c.file, append(append([]byte{}, old...), c.add+"\n"...), 0o644)
		syscall.Kill(s.PID("spool/pid/master.pid"), syscall.SIGHUP)
		s.Wait(10*time.Second, "refusal of "+c.add, func() bool { return strings.Contains(s.Log()[before:], "configuration not taken: ") })
		if line := s.Log()[before:]; !strings.Contains(line, c.said) {
			t.Errorf("%s: %s", c.add, line)
		}
		os.WriteFile(c.file, old, 0o644)
		dial(t, s).send("alice@sandbox.test", "Subject: still here")
	}
	s.Drained(20 * time.Second)
	// A good one is taken, and a client in the middle of a transaction finishes it.
	c := dial(t, s)
	c.want("MAIL FROM:<>", "250")
	c.want("RCPT TO:<alice@sandbox.test>", "250")
	old, _ := os.ReadFile(mainCF)
	os.WriteFile(mainCF, append(old, "smtpd_banner = new banner\n"...), 0o644)
	syscall.Kill(s.PID("spool/pid/master.pid"), syscall.SIGHUP)
	time.Sleep(300 * time.Millisecond)
	c.want("DATA", "354")
	c.want("Subject: in between\r\n\r\nx\r\n.", "250")
	s.Wait(20*time.Second, "new banner", func() bool {
		conn, err := net.DialTimeout("tcp", s.Addr(25), time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(time.Second))
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return strings.Contains(line, "new banner")
	})
}

// TestBrokenService: a table that cannot be read does not keep the rest of the
// system from its work; a service that would relay for everybody does.
func TestBrokenService(t *testing.T) {
	s := sandbox.Start(t)
	parent := s.PID("spool/pid/master.pid")
	syscall.Kill(parent, syscall.SIGTERM)
	s.Wait(20*time.Second, "end", func() bool { return s.PID("spool/pid/master.pid") != parent })
	mainCF, masterCF := filepath.Join(s.Dir, "etc/postfix/main.cf"), filepath.Join(s.Dir, "etc/postfix/master.cf")
	master, _ := os.ReadFile(masterCF)
	open := fmt.Sprintf("127.0.0.1:%d", s.Base+26)
	os.WriteFile(masterCF, append(master, open+" inet n - n - - smtpd -o smtpd_relay_restrictions=permit\n"...), 0o644)
	main, _ := os.ReadFile(mainCF)
	os.WriteFile(mainCF, append(main, "alias_maps = texthash:/nonexistent/aliases\n"...), 0o644)
	if out, err := s.Command("mtad").CombinedOutput(); err == nil || !strings.Contains(string(out), "smtpd_relay_restrictions") || !strings.Contains(string(out), "master.cf: line") {
		t.Fatalf("%v: %s", err, out)
	}
	os.WriteFile(masterCF, master, 0o644)
	if out, err := s.Command("mtad").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(s.Log(), "/nonexistent/aliases") {
		t.Errorf("not told:\n%s", s.Log())
	}
	c := dial(t, s)
	c.send("alice@sandbox.test", "Subject: x")
	c.want("MAIL FROM:<>", "250")
	c.want("RCPT TO:<anybody@localhost>", "451 4.3.0")
	s.Drained(20 * time.Second)
	if count(s, "alice") != 1 {
		t.Error("alice has no mail")
	}
}

// TestGarbage: random bytes at every port and every socket end no daemon.
func TestGarbage(t *testing.T) {
	s := sandbox.Start(t)
	var sockets []string
	for _, dir := range []string{"spool/public", "spool/private"} {
		list, _ := filepath.Glob(filepath.Join(s.Dir, dir, "*"))
		sockets = append(sockets, list...)
	}
	if len(sockets) < 3 {
		t.Errorf("sockets: %q", sockets)
	}
	mtad, mrad := s.PID("spool/pid/master.pid"), s.PID("run/master.pid")
	engine := sandbox.Children(mtad)
	for round := range 5 {
		junk := make([]byte, 64<<10)
		rand.Read(junk)
		if round == 0 {
			junk = []byte("\x00\n\r\n-1\n" + strings.Repeat("A", 5000) + "\nI ../../../etc/passwd\nC /\nS \n")
		}
		var wg sync.WaitGroup
		throw := func(network, addr string) {
			conn, err := net.DialTimeout(network, addr, 2*time.Second)
			if err != nil {
				t.Errorf("%s: %v", addr, err)
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(2 * time.Second))
			go conn.Read(make([]byte, 4096))
			conn.Write(junk)
			conn.Write(junk)
		}
		for _, path := range sockets {
			wg.Go(func() { throw("unix", path) })
		}
		for _, port := range []int{25, 587, 465} {
			wg.Go(func() { throw("tcp", s.Addr(port)) })
		}
		wg.Wait()
	}
	for pid := range engine {
		if sandbox.Children(mtad)[pid] == "" {
			t.Errorf("process %d is gone", pid)
		}
	}
	if len(engine) == 0 || s.PID("run/master.pid") != mrad {
		t.Errorf("engine %v, mrad %d", engine, mrad)
	}
	dial(t, s).send("alice@sandbox.test", "Subject: alive")
	s.Drained(20 * time.Second)
	if strings.Contains(s.Log(), "panic") {
		t.Errorf("a panic in the log:\n%s", s.Log())
	}
}

// TestDeliverKilled: the processes that write mailboxes die again and again under
// load; nothing is lost.
func TestDeliverKilled(t *testing.T) {
	s := sandbox.Start(t)
	user := me(t)
	const messages = 150
	stop := make(chan struct{})
	var wg sync.WaitGroup
	killed := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(15 * time.Millisecond):
			}
			for pid, name := range sandbox.Children(s.PID("spool/pid/master.pid")) {
				if name == "deliver" {
					syscall.Kill(pid, syscall.SIGKILL)
					killed++
				}
			}
		}
	})
	for i := range messages {
		dial(t, s).send(user+"@localhost", fmt.Sprintf("Subject: kill %d\r\n\r\n%s", i, strings.Repeat("x", 2000)))
	}
	close(stop)
	wg.Wait()
	for end := time.Now().Add(oracle.Patience); !s.Empty() && time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		// What was deferred is not waited for.
		exec.Command(filepath.Join(s.Root, "bin/postqueue"), "-c", filepath.Join(s.Dir, "etc/postfix"), "-f").Run()
	}
	s.Drained(20 * time.Second)
	b, _ := os.ReadFile(filepath.Join(s.Dir, "mail", user))
	for i := range messages {
		if n := bytes.Count(b, fmt.Appendf(nil, "\nSubject: kill %d\n", i)); n == 0 {
			t.Errorf("message %d is lost", i)
		}
	}
	t.Logf("killed %d times; %d messages for %d", killed, count(s, user), messages)
	if killed == 0 {
		t.Error("nothing was killed")
	}
}

// TestSecondSystem: one queue has one daemon; another one may run beside it.
func TestSecondSystem(t *testing.T) {
	s, other := sandbox.Start(t), sandbox.Start(t)
	out, err := s.Command("mtad").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "already running") {
		t.Errorf("a second daemon on the same queue: %v %s", err, out)
	}
	dial(t, s).send("alice@sandbox.test", "Subject: here")
	dial(t, other).send("bob@sandbox.test", "Subject: there")
	s.Drained(20 * time.Second)
	other.Drained(20 * time.Second)
	if count(s, "alice") != 1 || count(s, "bob") != 0 || count(other, "bob") != 1 {
		t.Error("the mail of two systems is mixed")
	}
}

// TestLog: no client writes lines or control bytes into the log.
func TestLog(t *testing.T) {
	s := sandbox.Start(t)
	for _, evil := range []string{"\x1b[2J", "x\x00y", "\x9b31m", "\u009b31m", "a\rb", strings.Repeat("L", 3000),
		"x] Nov 23 00:00:00 vm postfix/smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 554"} {
		for _, f := range []string{"EHLO %s", "MAIL FROM:<%s@x.test>", "RCPT TO:<%s@far.test>", "VRFY %s", "%s"} {
			c := dial(t, s)
			if strings.HasPrefix(f, "RCPT") {
				c.do("MAIL FROM:<a@b.test>")
			}
			c.do(fmt.Sprintf(f, evil))
			c.conn.Close()
		}
	}
	s.Wait(10*time.Second, "last line", func() bool { return strings.Count(s.Log(), "disconnect from") >= 35 })
	for line := range strings.Lines(s.Log()) {
		text := strings.TrimSuffix(line, "\n")
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd }) {
			t.Errorf("control bytes in the log: %q", line)
		}
		if strings.HasPrefix(text, "x]") || len(text) > 2200 {
			t.Errorf("a forged or endless line: %.200q", line)
		}
	}
}

// TestBackscatter: nobody who was not asked hears of mail that is not wanted.
func TestBackscatter(t *testing.T) {
	s := sandbox.Start(t)
	c := dial(t, s)
	c.want("MAIL FROM:<victim@sandbox.test>", "250")
	for _, to := range []string{"nobody-here@sandbox.test", "nobody-here@localhost", "x@mail.sandbox.test"} {
		c.want("RCPT TO:<"+to+">", "550 5.1.1")
	}
	// A report that cannot be delivered goes nowhere.
	cmd := s.Command("sendmail", "-f", "<>", "nobody-here@localhost")
	cmd.Stdin = strings.NewReader("Subject: x\n\ny\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	s.Drained(20 * time.Second)
	if strings.Contains(s.Log(), "notification") && !strings.Contains(s.Log(), "postmaster") {
		t.Errorf("a report about a report:\n%s", s.Log())
	}
	if count(s, "alice")+count(s, "bob") != 0 {
		t.Error("somebody got mail")
	}
}
