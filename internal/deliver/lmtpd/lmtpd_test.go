package lmtpd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
	"packetboat/test/oracle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keeper keeps what is delivered.
type keeper struct {
	mu      sync.Mutex
	batches []int
	bodies  []string
	orig    []string
	in      chan struct{} // if set, Deliver tells it that it begins
	hold    chan struct{} // if set, Deliver waits for it
}

func (k *keeper) Rcpt(r *Rcpt) *mail.Status {
	switch r.Addr.Local() {
	case "nobody":
		return mail.Bounce("5.1.1", "User unknown")
	case "panic":
		panic("at the recipient")
	}
	return nil
}

func (k *keeper) Deliver(batch []*Message) {
	if k.in != nil {
		k.in <- struct{}{}
	}
	if k.hold != nil {
		<-k.hold
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.batches = append(k.batches, len(batch))
	for _, m := range batch {
		b, _ := io.ReadAll(m.Reader())
		k.bodies = append(k.bodies, string(b))
		for _, r := range m.Rcpts {
			k.orig = append(k.orig, r.Orig+"|"+r.Delivered)
			switch r.Addr.Local() {
			case "full":
				r.Status = mail.Defer("4.2.2", "mailbox\nis full")
			case "crash":
				panic("in the delivery")
			}
		}
	}
}

// talk sends all of in and returns all answers.
func talk(t *testing.T, o Options, k *keeper, in string) string {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(b, o, k) }()
	go func() {
		io.WriteString(a, in)
		if !strings.Contains(in, "QUIT\r\n") {
			time.Sleep(20 * time.Millisecond)
			a.Close()
		}
	}()
	out, _ := io.ReadAll(a)
	a.Close()
	select {
	case <-done:
	case <-time.After(oracle.Patience):
		t.Fatal("the conversation does not end")
	}
	return string(out)
}

const hello = "LHLO x\r\n"

// codes returns the reply codes, without those of greeting and LHLO.
func codes(out string) string {
	var list []string
	for line := range strings.Lines(out) {
		if len(line) > 3 && line[3] == ' ' {
			list = append(list, line[:3])
		}
	}
	return strings.Join(list[min(2, len(list)):], " ")
}

func TestDialogues(t *testing.T) {
	big := strings.Repeat("x", 3*maxMemory)
	for _, c := range []struct{ name, in, codes, body string }{
		{"data", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nDATA\r\nS: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n", "250 250 354 250 221", "S: x\n\n.dot\n"},
		{"one answer a recipient", "MAIL FROM:<>\r\nRCPT TO:<u>\r\nRCPT TO:<nobody>\r\nRCPT TO:<full>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n", "250 250 550 250 354 250 451 221", "x\n"},
		{"bdat", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 4\r\nab\r\nBDAT 3 LAST\r\nc\r\nQUIT\r\n", "250 250 250 250 221", "ab\nc\n"},
		{"bdat cut in CRLF", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 3\r\nab\rBDAT 2 LAST\r\n\ncQUIT\r\n", "250 250 250 250 221", "ab\nc"},
		{"bdat with a lone CR", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 3\r\nab\rBDAT 1 LAST\r\ncQUIT\r\n", "250 250 250 250 221", "ab\rc"},
		{"bdat without recipients", "BDAT 4 LAST\r\nQUITRSET\r\nQUIT\r\n", "503 250 221", ""},
		{"empty bdat", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 0 LAST\r\nQUIT\r\n", "250 250 250 221", ""},
		{"bad bdat ends", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT x LAST\r\nQUIT\r\n", "250 250 501", ""},
		{"large", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nDATA\r\n" + big + "\r\n" + big + "\r\n.\r\nQUIT\r\n", "250 250 354 250 221", big + "\n" + big + "\n"},
		{"pipelined", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 1 LAST\r\n1MAIL FROM:<c@d>\r\nRCPT TO:<u>\r\nBDAT 1 LAST\r\n2QUIT\r\n", "250 250 250 250 250 250 221", "12"},
		{"rset", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 1\r\nxRSET\r\nMAIL FROM:<a@b>\r\nRSET\r\nNOOP\r\nQUIT\r\n", "250 250 250 250 250 250 250 221", ""},
		{"order", "MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\nDATA\r\nRSET\r\nRCPT TO:<u>\r\nQUIT\r\n", "250 503 503 250 503 221", ""},
		{"syntax", "MAIL FROM:a@b\r\nMAIL FROM:<a b>\r\nMAIL FROM:<a\r\nMAIL FROM:<a@b> X=1\r\nHELO x\r\nFOO\r\nVRFY u\r\nQUIT\r\n", "501 501 501 555 500 500 252 221", ""},
		{"quoted", "MAIL FROM:<\"a > b\"@c>\r\nRCPT TO:<\"\"@x>\r\nRCPT TO:<>\r\nQUIT\r\n", "250 250 501 221", ""},
		{"too large", "MAIL FROM:<a@b> SIZE=999999999\r\nMAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 500000 LAST\r\n" + strings.Repeat("y", 500000) + "QUIT\r\n", "552 250 250 552 221", ""},
		{"long line", "NOOP " + strings.Repeat("x", 100000) + "\r\nNOOP\r\nQUIT\r\n", "500 250 221", ""},
		{"errors end it", strings.Repeat("FOO\r\n", 30), strings.TrimSpace(strings.Repeat("500 ", 21) + "421"), ""},
		{"truncated data", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nDATA\r\nhalf a message\r\n", "250 250 354", ""},
		{"truncated bdat", "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 100 LAST\r\nhalf", "250 250", ""},
		{"panic", "MAIL FROM:<a@b>\r\nRCPT TO:<panic>\r\nNOOP\r\nQUIT\r\n", "250 421", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &keeper{}
			out := talk(t, Options{Size: 450000}, k, hello+c.in)
			if got := codes(out); got != c.codes {
				t.Errorf("answers %s, want %s\n%s", got, c.codes, out)
			}
			if got := strings.Join(k.bodies, ""); got != c.body {
				t.Errorf("delivered %.200q, want %.200q", got, c.body)
			}
		})
	}
}

// TestSmuggling: no form of an end but the right one ends a message.
func TestSmuggling(t *testing.T) {
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\r\n", "\r\n\x00.\r\n"} {
		k := &keeper{}
		talk(t, Options{}, k, hello+"MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nDATA\r\none"+end+"MAIL FROM:<evil>\r\nRCPT TO:<u>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n")
		if len(k.bodies) != 1 || !strings.HasSuffix(k.bodies[0], "two\n") {
			t.Errorf("%q: %d messages %q", end, len(k.bodies), k.bodies)
		}
	}
}

func TestParameters(t *testing.T) {
	k := &keeper{}
	out := talk(t, Options{Raw: true}, k, hello+"MAIL FROM:<a@b> BODY=8BITMIME\r\nRCPT TO:<u> XORIG=u+2Bext@x XDLVR=u@y ORCPT=rfc822;u NOTIFY=NEVER\r\nRCPT TO:<v> XORIG=+zz\r\nBDAT 5 LAST\r\na\r\nb\nQUIT\r\n")
	if codes(out) != "250 250 501 250 221" || k.orig[0] != "u+ext@x|u@y" || k.bodies[0] != "a\r\nb\n" {
		t.Errorf("%s\n%q %q", out, k.orig, k.bodies)
	}
}

// TestBatches: what comes in while a batch is written is the next batch.
func TestBatches(t *testing.T) {
	k := &keeper{hold: make(chan struct{})}
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(b, Options{}, k) }()
	go func() {
		io.WriteString(a, hello)
		for i := range 30 {
			fmt.Fprintf(a, "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 3 LAST\r\n%02d\n", i)
		}
		io.WriteString(a, "QUIT\r\n")
	}()
	go func() {
		time.Sleep(50 * time.Millisecond)
		close(k.hold)
	}()
	r := bufio.NewScanner(a)
	n := 0
	for r.Scan() {
		n++
	}
	a.Close()
	<-done
	if len(k.bodies) != 30 || len(k.batches) > 5 || k.bodies[29] != "29\n" {
		t.Errorf("%d messages in batches %v", len(k.bodies), k.batches)
	}
	if n < 90 {
		t.Errorf("%d answers", n)
	}
}

// TestDeliveryPanics: no answer is given for mail that a fault of ours held up.
func TestDeliveryPanics(t *testing.T) {
	out := talk(t, Options{}, &keeper{}, hello+"MAIL FROM:<a@b>\r\nRCPT TO:<crash>\r\nBDAT 1 LAST\r\nx")
	if strings.Contains(codes(out), "250 250 250") {
		t.Errorf("answers: %s", out)
	}
}

func TestTimeout(t *testing.T) {
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(b, Options{Idle: 30 * time.Millisecond}, &keeper{}) }()
	out, _ := io.ReadAll(a)
	<-done
	if !bytes.Contains(out, []byte("421 4.4.2")) {
		t.Errorf("%s", out)
	}
}

func FuzzServe(f *testing.F) {
	f.Add([]byte(hello + "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 4\r\nab\r\nBDAT 3 LAST\r\nc\r\nQUIT\r\n"))
	f.Add([]byte(hello + "MAIL FROM:<\"a\\\"\"@b> SIZE=1\r\nRCPT TO:<u> XORIG=+41\r\nDATA\r\n..\r\n.\r\nQUIT\r\n"))
	f.Add([]byte("BDAT 99999999999999999999\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- Serve(b, Options{Size: 1000}, &keeper{}) }()
		go io.Copy(io.Discard, a)
		a.Write(in)
		a.Close()
		<-done
	})
}

// TestClientGone: what a client that died has sent is not delivered after it: its
// queue sends it again. One that has only nothing more to say is served.
func TestClientGone(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*net.UnixConn)
		want int
	}{"killed": {func(c *net.UnixConn) { c.Close() }, 1}, "half closed": {func(c *net.UnixConn) { c.CloseWrite() }, 3}} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", t.TempDir()+"/s")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			conn, err := net.Dial("unix", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			served, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			k := &keeper{in: make(chan struct{}, 3), hold: make(chan struct{})}
			done := make(chan error, 1)
			go func() { done <- Serve(served, Options{}, k) }()
			const one = "MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 1 LAST\r\nx"
			io.WriteString(conn, hello+one)
			<-k.in // the first one is on its way into the mailbox
			io.WriteString(conn, one+one)
			c.end(conn.(*net.UnixConn))
			close(k.hold)
			if err := <-done; err != nil && !proc.IsReset(err) {
				t.Error(err)
			}
			if n := len(k.bodies); n != c.want {
				t.Errorf("%d messages delivered, want %d", n, c.want)
			}
		})
	}
}
