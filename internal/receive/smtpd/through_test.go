package smtpd

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"packetboat/test/oracle"
)

// sink is a before-queue filter: it takes everything but recipients that begin
// with "no", and messages that hold "VIRUS".
type sink struct {
	mu    sync.Mutex
	lines []string
}

func startSink(t testing.TB) (*sink, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &sink{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { k.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return k, l.Addr().String()
}

func (k *sink) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 filter\r\n")
	r := bufio.NewScanner(c)
	data, bad := false, false
	for r.Scan() {
		line := r.Text()
		k.mu.Lock()
		k.lines = append(k.lines, line)
		k.mu.Unlock()
		reply := "250 2.0.0 Fine"
		switch {
		case data && line == ".":
			data, reply = false, "250 2.0.0 Ok: taken by the filter"
			if bad {
				reply = "550-5.7.1 it has\r\n550 5.7.1 a virus"
			}
		case data:
			bad = bad || strings.Contains(line, "VIRUS")
			continue
		case strings.HasPrefix(line, "EHLO"):
			reply = "250-filter\r\n250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT\r\n250 8BITMIME"
		case strings.HasPrefix(line, "MAIL FROM:<no"):
			reply = "451 4.7.1 not from you"
		case strings.HasPrefix(line, "RCPT TO:<postmaster"):
			reply = "550 5.1.1 nobody here"
		case line == "DATA":
			data, reply = true, "354 go on"
		case line == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		}
		fmt.Fprint(c, reply+"\r\n")
	}
}

// TestThrough: what the filter hears of a client, and that a message that a
// client does not end is never given to it as a whole.
func TestThrough(t *testing.T) {
	k, addr := startSink(t)
	w := newWorld()
	w.opts.Filter = addr
	w.start(t)
	c := newTalk(t, dialFrom(t, "127.0.0.1", w.addr))
	c.want("220*")
	c.send("EHLO c.test\r\nMAIL FROM:<a@b.test> BODY=8BITMIME\r\nRCPT TO:<\"x y\"@far.test>\r\nDATA\r\n")
	c.want("250*", "250*", "250*", "354*")
	c.send("a: b\r\n\r\n..dot\r\nend\r\n.\r\n")
	c.want("250 2.0.0 Ok: taken by the filter")
	c.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n")
	c.want("250*", "250*", "354*")
	c.send("half\r\n")
	c.c.Close()
	if !oracle.Await(func() bool { return w.srv.Sessions() == 0 }) {
		t.Fatal("the session lives on")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	got := strings.Join(k.lines, "\n")
	for _, want := range []string{"EHLO mail.example.org\nXFORWARD NAME=localhost ADDR=127.0.0.1 PORT=", "XFORWARD PROTO=ESMTP HELO=c.test SOURCE=REMOTE\nMAIL FROM:<a@b.test> BODY=8BITMIME\nRCPT TO:<\"x y\"@far.test>\nDATA\nReceived: from c.test (localhost [127.0.0.1])\n\tby mail.example.org (Postfix) with ESMTP\n\tfor <\"x y\"@far.test>; ",
		"\na: b\n\n..dot\nend\n.\nQUIT\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the filter heard\n%s\nwithout\n%s", got, want)
		}
	}
	if strings.Count(got, "\n.\n") != 1 {
		t.Errorf("a part was given for the whole: %s", got)
	}
	if n := len(w.queue.messages()); n != 0 {
		t.Errorf("%d messages were queued here", n)
	}
}

// TestThroughSink sends a message through Postfix's own test server.
func TestThroughSink(t *testing.T) {
	if _, err := exec.LookPath("smtp-sink"); err != nil {
		t.Skip("smtp-sink is not installed")
	}
	dir := t.TempDir()
	addr := oracle.Address(t)
	args := []string{"-c", "-d", filepath.Join(dir, "m."), addr, "10"}
	if os.Getuid() == 0 {
		args = append([]string{"-u", "root"}, args...)
	}
	cmd := exec.Command("smtp-sink", args...)
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if !oracle.Await(func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		t.Skip("smtp-sink does not answer here")
	}
	w := newWorld()
	w.opts.Filter = addr
	w.start(t)
	c := newTalk(t, dialFrom(t, "127.0.0.1", w.addr))
	c.want("220*")
	c.send("EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@far.test>\r\nDATA\r\n")
	c.want("250*", "250*", "250*", "354*")
	c.send("Subject: through\r\n\r\n..\r\n.\r\nQUIT\r\n")
	c.want("250 2.0.0 Ok", "221*")
	if !oracle.Await(func() bool {
		files, _ := filepath.Glob(dir + "/m.*")
		for _, f := range files {
			b, _ := os.ReadFile(f)
			if strings.Contains(string(b), "Subject: through\n\n.\n") {
				return true
			}
		}
		return false
	}) {
		t.Error("the message did not come through")
	}
}

func TestThroughNobody(t *testing.T) {
	w := newWorld()
	w.opts.Filter = oracle.Address(t)
	w.start(t)
	c := newTalk(t, dialFrom(t, "127.0.0.1", w.addr))
	c.want("220*")
	c.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<c@far.test>\r\nNOOP\r\n")
	c.want("250*", "451 4.3.0 Error: queue file write error", "250*")
}
