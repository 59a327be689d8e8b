package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
	"packetboat/test/oracle"
)

// countConn counts writes, to see that a batch's replies leave together.
type countConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func pipe(t *testing.T, w *world) (client net.Conn, server *countConn, done chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client = dialFrom(t, "127.0.0.3", l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server, done = &countConn{Conn: c}, make(chan struct{})
	go func() {
		w.srv.ServeConn(server)
		close(done)
	}()
	return client, server, done
}

func TestBatchIsOneWrite(t *testing.T) {
	w := newWorld().start(t)
	client, server, _ := pipe(t, w)
	k := newTalk(t, client)
	k.want("220*")
	k.send("EHLO x\r\n")
	k.want("250*")
	before := server.writes.Load()
	k.send("MAIL FROM:<a@b.test>\r\n" + strings.Repeat("RCPT TO:<alice@localhost>\r\n", 50) + "DATA\r\n")
	k.want("250*")
	for range 50 {
		k.want("250*")
	}
	k.want("354*")
	if n := server.writes.Load() - before; n != 1 {
		t.Errorf("a batch of 52 commands was answered in %d writes", n)
	}
}

func TestQueueFaults(t *testing.T) {
	full := mail.Defer("4.3.1", "Insufficient system storage").WithReply(452)
	for _, tt := range []struct {
		step string
		err  error
		want string
	}{
		{"open", full, "452 4.3.1 Insufficient system storage"},
		{"open", errors.New("x"), "451 4.3.0 Error: queue file write error"},
		{"start", full, "452 4.3.1 Insufficient system storage"},
		{"write", full, "452 4.3.1 Insufficient system storage"},
		{"write", errors.New("x"), "451 4.3.0 Error: queue file write error"},
		{"commit", full, "452 4.3.1 Insufficient system storage"},
		{"commit", mail.Bounce("5.7.1", "no thanks"), "550 5.7.1 no thanks"},
		{"commit", errors.New("x"), "451 4.3.0 Error: queue file write error"},
	} {
		t.Run(tt.step, func(t *testing.T) {
			w := newWorld()
			w.queue.fail = func(step string) error {
				if step == tt.step {
					return tt.err
				}
				return nil
			}
			w.start(t)
			k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
			k.want("220*")
			k.send("MAIL FROM:<a@b.test>\r\n")
			k.want("250*")
			k.send("RCPT TO:<alice@localhost>\r\n")
			if tt.step == "open" {
				k.want(tt.want)
				return
			}
			k.want("250*")
			k.send("DATA\r\n")
			if tt.step == "start" {
				k.want(tt.want)
				return
			}
			k.want("354*")
			k.send("a: b\r\n\r\n.\r\nMAIL FROM:<a@b.test>\r\n")
			k.want(tt.want, "250*")
			if n := len(w.queue.messages()); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// TestRoom: a message that finds no room is refused at MAIL, with the warning
// that log readers know.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		free, limit, minFree int64
		mail, want           string
	}{
		{300001, 200000, 0, "MAIL FROM:<a@b.test>", "250*"},
		{300000, 200000, 0, "MAIL FROM:<a@b.test>", "452 4.3.1 Insufficient system storage"},
		{300001, 200000, 300001, "MAIL FROM:<a@b.test>", "452*"},
		{10, 0, 0, "MAIL FROM:<a@b.test> SIZE=7", "452*"},
		{11, 0, 0, "MAIL FROM:<a@b.test> SIZE=7", "250*"},
	} {
		w := newWorld()
		w.opts.SizeLimit, w.opts.MinFree = c.limit, c.minFree
		w.deps.Free = func() (int64, error) { return c.free, nil }
		w.start(t)
		k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
		k.want("220*")
		k.send(c.mail + "\r\nRSET\r\n")
		k.want(c.want, "250*")
		warned := strings.Contains(strings.Join(w.log.all(), "\n"), fmt.Sprintf("warning: not enough free space in mail queue: %d bytes < 1.5*message size limit", c.free))
		if warned != (c.want[0] == '4') {
			t.Errorf("%+v: log %q", c, w.log.all())
		}
	}
}

func TestPanicEndsOneSession(t *testing.T) {
	w := newWorld()
	w.queue.fail = func(string) error { panic("secret fault") }
	w.start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	other := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	other.want("220*")
	k.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\n")
	b, _ := io.ReadAll(k.r)
	if !strings.Contains(string(b), "421 4.3.0 mail.example.org Error: internal error\r\n") || strings.Contains(string(b), "secret") {
		t.Errorf("the client got %q", b)
	}
	other.send("NOOP\r\n")
	other.want("250 2.0.0 Ok")
	if !hasLine(w.log.all(), "error: session of unknown[127.0.0.3] ended by a fault in this program: secret fault*") {
		t.Errorf("log is %q", w.log.all())
	}
}

func TestClientLimit(t *testing.T) {
	w := newWorld()
	w.opts.ClientLimit = 2
	w.opts.ClientExempt = []string{"127.0.0.1"}
	w.start(t)
	for range 2 {
		newTalk(t, dialFrom(t, "127.0.0.3", w.addr)).want("220*")
	}
	third := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	third.want("421 4.7.0 mail.example.org Error: too many connections from 127.0.0.3", "EOF")
	newTalk(t, dialFrom(t, "127.0.0.4", w.addr)).want("220*")
	for range 4 {
		newTalk(t, dialFrom(t, "127.0.0.1", w.addr)).want("220*")
	}
	if !hasLine(w.log.all(), "warning: Connection concurrency limit exceeded: 3 from unknown[127.0.0.3] for service smtp") {
		t.Errorf("log is %q", w.log.all())
	}
}

func TestSessionLimit(t *testing.T) {
	w := newWorld()
	w.opts.MaxSessions = 2
	w.start(t)
	a := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	a.want("220*")
	newTalk(t, dialFrom(t, "127.0.0.4", w.addr)).want("220*")
	newTalk(t, dialFrom(t, "127.0.0.5", w.addr)).want("421 4.3.2 All server ports are busy", "EOF")
	a.send("QUIT\r\n")
	a.want("221*", "EOF")
	oracle.Await(func() bool { return w.srv.Sessions() == 1 })
	newTalk(t, dialFrom(t, "127.0.0.5", w.addr)).want("220*")
}

func TestDrain(t *testing.T) {
	w := newWorld().start(t)
	idle := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	busy := newTalk(t, dialFrom(t, "127.0.0.4", w.addr))
	idle.want("220*")
	busy.want("220*")
	busy.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n")
	busy.want("250*", "250*", "354*")
	between := newTalk(t, dialFrom(t, "127.0.0.5", w.addr)) // has a transaction, but no command under way
	between.want("220*")
	between.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\n")
	between.want("250*", "250*")
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), oracle.Patience)
	defer cancel()
	wg.Go(func() { w.srv.Drain(ctx) })
	idle.want("421 4.3.2 mail.example.org Service is shutting down", "EOF")
	busy.send("a: b\r\n\r\n.\r\n")
	busy.want("250 2.0.0 Ok: queued as *", "421 4.3.2*", "EOF")
	between.send("DATA\r\na: b\r\n\r\n.\r\n")
	between.want("354*", "250 2.0.0 Ok: queued as *", "421 4.3.2*", "EOF")
	wg.Wait()
	if len(w.queue.messages()) != 2 {
		t.Error("the message in hand was lost")
	}
}

func TestErrorSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.opts.SoftErrors, w.opts.ErrorSleep = 1, 200*time.Millisecond
		k := w.bubble(t)
		k.want("220*")
		begun := time.Now()
		k.send("FOO\r\nNOOP\r\n")
		k.want("500*", "250*")
		if d := time.Since(begun); d != 0 {
			t.Errorf("first error waited %v", d)
		}
		k.send("FOO\r\n")
		k.want("500*")
		if d := time.Since(begun); d != 200*time.Millisecond {
			t.Errorf("second error waited %v", d)
		}
	})
}

// TestSlowUpload: a client that keeps the least rate is not cut, one that drips
// is.
func TestSlowUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.opts.Timeout, w.opts.MinRate = 400*time.Millisecond, 10
		k := w.bubble(t)
		k.want("220*")
		k.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n")
		k.want("250*", "250*", "354*")
		for range 8 {
			k.send("0123456789\r\n")
			time.Sleep(100 * time.Millisecond)
		}
		k.send(".\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n")
		k.want("250*", "250*", "250*", "354*")
		begun := time.Now()
		var drip sync.WaitGroup
		drip.Go(func() {
			for range 20 {
				k.send("x")
				time.Sleep(50 * time.Millisecond)
			}
		})
		k.want("421 4.4.2*", "EOF")
		if d := time.Since(begun); d > time.Second {
			t.Errorf("a drip held the session for %v", d)
		}
		drip.Wait()
	})
}

// slowResolver answers when it is let.
type slowResolver struct{ gate chan struct{} }

func (s slowResolver) Name(ctx context.Context, _ netip.Addr) (string, string, error) {
	select {
	case <-s.gate:
		return "", "liar.test", &dns.Error{Name: "liar.test", Type: "A", Kind: dns.NoHost}
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
}

// TestSlowName: the greeting does not wait for a name server, the log does.
func TestSlowName(t *testing.T) {
	w := newWorld()
	gate := make(chan struct{})
	w.deps.Resolver = slowResolver{gate}
	w.start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("NOOP\r\n")
	time.Sleep(20 * time.Millisecond)
	if n := len(w.log.all()); n != 0 {
		t.Errorf("logged without a name: %q", w.log.all())
	}
	close(gate)
	k.want("250*")
	got := w.log.all()
	if len(got) != 2 || !like("warning: hostname liar.test does not resolve to address 127.0.0.3: *", got[0]) || got[1] != "connect from unknown[127.0.0.3]" {
		t.Errorf("log is %q", got)
	}
}

func TestEnvelope(t *testing.T) {
	w := newWorld().start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.1", w.addr))
	k.want("220*")
	k.send("EHLO c.test\r\n")
	k.want("250*")
	k.send("MAIL FROM:<a@b.test> SMTPUTF8 BODY=8BITMIME RET=hdrs ENVID=x+2By\r\n" +
		"RCPT TO:<\"al ice\"@else.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+40else.test\r\nDATA\r\n")
	k.want("250*", "250*", "354*")
	k.send("a: b\r\n\r\n.\r\n")
	k.want("250*")
	e := w.queue.messages()[0].env
	got := fmt.Sprint(e.Sender, "|", e.SMTPUTF8, e.Body, e.Ret, e.EnvID, e.UID, "|", e.Rcpts[0].Addr, e.Rcpts[0].Notify, e.Rcpts[0].ORCPT,
		"|", e.Peer.Name, e.Peer.Addr, e.Peer.Helo, e.Peer.Proto, e.Peer.Service, e.Peer.User)
	want := "a@b.test|true 2HDRSx+y-1|al ice@else.test" + fmt.Sprint(mail.NotifySuccess|mail.NotifyDelay) + "rfc822;o@else.test|localhost127.0.0.1c.testESMTPsmtpd"
	if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("envelope is %s\nwant        %s", got, want)
	}
}

func TestDiscardedKeywords(t *testing.T) {
	w := newWorld()
	w.opts.DiscardEHLO = []string{"chunking", "DSN", "smtputf8"}
	w.start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("EHLO x\r\nMAIL FROM:<a@b.test> RET=FULL\r\nMAIL FROM:<a@b.test> SMTPUTF8\r\n")
	k.want("250-mail.example.org", "250-PIPELINING", "250-SIZE 200000", "250-VRFY", "250-ETRN", "250-ENHANCEDSTATUSCODES", "250-8BITMIME", "250 LIMITS RCPTMAX=1000",
		"501 5.7.1 DSN support is disabled", "555 5.5.4 Unsupported option: SMTPUTF8")
	k.send("BDAT 6\r\nRSET\r\n")
	k.want("521 5.5.1 Error: command not implemented", "EOF")
}

func TestRejectBareNewline(t *testing.T) {
	w := newWorld()
	w.opts.BareNewline = "reject"
	w.start(t)
	k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
	k.want("220*")
	k.send("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n")
	k.want("250*", "250*", "354*")
	k.send("a: b\n\r\n.\r\nNOOP\r\n")
	k.want("550 5.5.2 mail.example.org Error: bare <LF> received", "250*")
}
