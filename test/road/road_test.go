// Package road walks whole roads through a private system, as its users would:
// in at sendmail, SMTP and LMTP, out at IMAP, POP3, mutt and the mailbox file.
package road

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"packetboat/test/sandbox"
)

// sendmail submits a message and fails the test unless the exit code is 0.
func sendmail(t *testing.T, s *sandbox.Sandbox, message string, args ...string) {
	t.Helper()
	cmd := s.Command("sendmail", args...)
	cmd.Stdin = strings.NewReader(message)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sendmail %v: %v\n%s", args, err, out)
	}
}

// viaSMTP sends one message to port 25 as net/smtp does.
func viaSMTP(t *testing.T, s *sandbox.Sandbox, from string, to []string, message string) {
	t.Helper()
	if err := plainSMTP(s.Addr(25), from, to[0], []byte(message)); err != nil {
		t.Fatal(err)
	}
}

// plainSMTP sends one message in the clear, with none of the parameters that
// net/smtp adds by itself.
func plainSMTP(addr, from, to string, message []byte) error {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	for _, l := range []struct {
		line string
		code int
	}{{"EHLO client.test", 250}, {"MAIL FROM:<" + from + ">", 250}, {"RCPT TO:<" + to + ">", 250}, {"DATA", 354}} {
		c.PrintfLine("%s", l.line)
		if _, _, err := c.ReadResponse(l.code); err != nil {
			return err
		}
	}
	w := c.DotWriter()
	w.Write(message)
	w.Close()
	if _, _, err := c.ReadResponse(250); err != nil {
		return err
	}
	return c.PrintfLine("QUIT")
}

// login opens an IMAP session of a user with INBOX selected.
func login(t *testing.T, s *sandbox.Sandbox, name string) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(s.Addr(143), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(name, sandbox.Password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// inbox returns the messages of a user over IMAP.
func inbox(t *testing.T, s *sandbox.Sandbox, name string) [][]byte {
	t.Helper()
	c := login(t, s, name)
	data, err := c.Status("INBOX", &imap.StatusOptions{NumMessages: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if *data.NumMessages == 0 {
		return nil
	}
	all := &imap.FetchItemBodySection{Peek: true}
	var set imap.SeqSet
	set.AddRange(1, 0)
	msgs, err := c.Fetch(set, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{all}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, m := range msgs {
		out = append(out, m.FindBodySection(all))
	}
	c.Logout().Wait()
	return out
}

// pop is a POP3 conversation after login.
type pop struct {
	t *testing.T
	*textproto.Conn
}

func popLogin(t *testing.T, s *sandbox.Sandbox, name string) *pop {
	t.Helper()
	c, err := textproto.Dial("tcp", s.Addr(110))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &pop{t, c}
	p.ok("")
	p.ok("USER " + name)
	p.ok("PASS " + sandbox.Password)
	return p
}

// ok sends a command and returns the text behind +OK.
func (p *pop) ok(cmd string) string {
	p.t.Helper()
	if cmd != "" {
		p.PrintfLine("%s", cmd)
	}
	line, err := p.ReadLine()
	if err != nil || !strings.HasPrefix(line, "+OK") {
		p.t.Fatalf("POP3 %q: %q %v", cmd, line, err)
	}
	return strings.TrimSpace(line[3:])
}

// message returns message n with CRLF line ends.
func (p *pop) message(n int) []byte {
	p.t.Helper()
	p.ok(fmt.Sprintf("RETR %d", n))
	var b bytes.Buffer
	for {
		line, err := p.R.ReadBytes('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		if string(line) == ".\r\n" {
			return b.Bytes()
		}
		if line[0] == '.' {
			line = line[1:]
		}
		b.Write(line)
	}
}

func TestRoad(t *testing.T) {
	s := sandbox.Start(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	sendmail(t, s, "Subject: one\n\nfrom sendmail\n", "alice@sandbox.test")
	viaSMTP(t, s, "x@example.org", []string{"alice@sandbox.test"}, "Subject: two\r\n\r\nfrom port 25\r\n.dot\r\n")
	sendmail(t, s, "To: bob@sandbox.test\nBcc: alice\nSubject: three\n\nwith Bcc\n", "-t")
	sendmail(t, s, "Subject: mine\n\nto myself\n", me.Username)
	s.Drained(10 * time.Second)

	got := inbox(t, s, "alice")
	if len(got) != 3 {
		t.Fatalf("alice has %d messages", len(got))
	}
	all := bytes.Join(got, nil) // messages of one moment may arrive in any order
	for _, want := range []string{"Subject: one\r\n", "\r\n\r\nfrom port 25\r\n.dot\r\n", "Subject: three\r\n"} {
		if !bytes.Contains(all, []byte(want)) {
			t.Errorf("no %q in:\n%s", want, all)
		}
	}
	if bytes.Contains(all, []byte("\nBcc:")) {
		t.Errorf("Bcc is there:\n%s", all)
	}
	p := popLogin(t, s, "alice@sandbox.test")
	for i := range got {
		if !bytes.Equal(p.message(i+1), got[i]) {
			t.Errorf("POP3 and IMAP disagree on message %d", i+1)
		}
	}
	if mine := inbox(t, s, me.Username); len(mine) != 1 {
		t.Errorf("%d messages for %s", len(mine), me.Username)
	}
}

// TestSubmission: AUTH is offered under TLS only, and a user may relay.
func TestSubmission(t *testing.T) {
	s := sandbox.Start(t)
	c, err := smtp.Dial(s.Addr(587))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, _ := c.Extension("AUTH"); ok {
		t.Error("AUTH is offered in the clear")
	}
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("alice@sandbox.test"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("someone@example.org"); err == nil {
		t.Error("relays for strangers")
	}
	c.Reset()
	bad := smtp.PlainAuth("", "alice", "wrong", "127.0.0.1")
	if err := c.Auth(bad); err == nil {
		t.Error("a wrong password was taken")
	}
}

func TestSMTPS(t *testing.T) {
	s := sandbox.Start(t)
	conn, err := tls.Dial("tcp", s.Addr(465), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtp.NewClient(conn, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", "alice", sandbox.Password, "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{c.Mail("alice@sandbox.test"), c.Rcpt("bob@sandbox.test")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "Subject: over smtps\r\n\r\nhello\r\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.Drained(10 * time.Second)
	got := inbox(t, s, "bob")
	if len(got) != 1 || !bytes.Contains(got[0], []byte("SMTPSA id")) {
		t.Errorf("%q", got)
	}
}

// TestDaemonDown: mail that was taken while nothing ran arrives after the start.
func TestDaemonDown(t *testing.T) {
	s := sandbox.Start(t)
	s.Stop()
	for i := range 3 {
		sendmail(t, s, fmt.Sprintf("Subject: waiting %d\n\nx\n", i), "alice@sandbox.test")
	}
	if files, _ := os.ReadDir(filepath.Join(s.Dir, "spool/maildrop")); len(files) != 3 {
		t.Fatalf("%d files in maildrop", len(files))
	}
	s.Start()
	s.Drained(10 * time.Second)
	if got := inbox(t, s, "alice"); len(got) != 3 {
		t.Errorf("%d messages arrived", len(got))
	}
}

// TestUnknownUser: over SMTP the recipient is refused at once; from sendmail the
// sender gets a report.
func TestUnknownUser(t *testing.T) {
	s := sandbox.Start(t)
	err := plainSMTP(s.Addr(25), "x@example.org", "nobody-here@sandbox.test", []byte("x\r\n"))
	if err == nil || !strings.Contains(err.Error(), "5.1.1 <nobody-here@sandbox.test>: Recipient address rejected: User unknown in virtual mailbox table") {
		t.Errorf("%v", err)
	}
	if err := plainSMTP(s.Addr(25), "x@example.org", "nobody-here@localhost", []byte("x\r\n")); err == nil ||
		!strings.Contains(err.Error(), "User unknown in local recipient table") {
		t.Errorf("%v", err)
	}
	sendmail(t, s, "Subject: lost\n\nx\n", "-f", "alice@sandbox.test", "nobody-here@localhost")
	s.Drained(10 * time.Second)
	got := inbox(t, s, "alice")
	if len(got) != 1 {
		t.Fatalf("%d reports", len(got))
	}
	for _, want := range []string{"Subject: Undelivered Mail Returned to Sender\r\n", "Content-Type: multipart/report; report-type=delivery-status;",
		"Final-Recipient: rfc822; nobody-here@localhost\r\n", "Action: failed\r\n", "Status: 5.1.1\r\n", "Subject: lost\r\n"} {
		if !bytes.Contains(got[0], []byte(want)) {
			t.Errorf("no %q in\n%s", want, got[0])
		}
	}
}

// TestCrashedEngine: the parent starts a killed engine again, and the port
// answers; killing all leaves nothing that a start cannot mend.
func TestCrashedEngine(t *testing.T) {
	s := sandbox.Start(t)
	parent := s.PID("spool/pid/master.pid")
	killed := 0
	for pid := range sandbox.Children(parent) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(cmdline, []byte("--engine")) {
			syscall.Kill(pid, syscall.SIGKILL)
			killed++
		}
	}
	if killed != 1 {
		t.Fatalf("%d engines", killed)
	}
	s.Wait(10*time.Second, "banner after the crash", func() bool {
		c, err := net.DialTimeout("tcp", s.Addr(25), time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		b := make([]byte, 4)
		_, err = io.ReadFull(c, b)
		return err == nil && string(b) == "220 "
	})
	viaSMTP(t, s, "x@example.org", []string{"bob@sandbox.test"}, "Subject: still here\r\n\r\nx\r\n")
	s.Drained(10 * time.Second)
	if got := inbox(t, s, "bob"); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
}

// TestStopLeavesNothing: after stop no process of the sandbox is left.
func TestStopLeavesNothing(t *testing.T) {
	s := sandbox.Start(t)
	sendmail(t, s, "Subject: x\n\nx\n", "alice@sandbox.test")
	s.Drained(10 * time.Second)
	inbox(t, s, "alice")
	s.Stop()
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		if bytes.Contains(b, []byte(s.Dir)) && !bytes.Contains(b, []byte("road.test")) {
			t.Errorf("still there: %s: %q", p, bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
		}
	}
}
