package remote

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// script plays an SMTP server on loopback: each line is "s text" (say), "c
// prefix" (expect a command), "d" (read a message up to the dot), "x" (hang
// up), "z" (say nothing more). One connection runs one script.
type script struct {
	t    *testing.T
	l    net.Listener
	mu   sync.Mutex
	data []byte
}

func play(t *testing.T, address string, lines ...string) *script {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip("no such loopback address here:", err)
	}
	s := &script{t: t, l: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.run(c, lines)
		}
	}()
	return s
}

func (s *script) run(c net.Conn, lines []string) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	r := bufio.NewReader(c)
	for _, l := range lines {
		kind, text, _ := strings.Cut(l, " ")
		switch kind {
		case "s":
			io.WriteString(c, strings.ReplaceAll(text, "|", "\r\n")+"\r\n")
		case "c":
			got, err := r.ReadString('\n')
			if err != nil {
				return // the client hung up: what it reports shows whether it should have
			}
			if !strings.HasPrefix(got, text) {
				s.t.Errorf("server expected %q, got %q", text, got)
				return
			}
		case "d":
			s.message(r)
		case "x":
			return
		case "z":
			io.Copy(io.Discard, r)
			return
		}
	}
	io.Copy(io.Discard, r)
}

func (s *script) message(r *bufio.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		b, err := r.ReadBytes('\n')
		if err != nil || string(b) == ".\r\n" {
			return
		}
		s.data = append(s.data, b...)
	}
}

// zone is a name server on loopback with fixed answers; records behind a "+" are
// protected by DNSSEC.
func zone(t *testing.T, records ...string) *dns.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var rrs []mdns.RR
	secure := map[string]bool{}
	for _, s := range records {
		s, ad := strings.CutPrefix(s, "+")
		rr, err := mdns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
		secure[strings.ToLower(rr.Header().Name)] = ad
	}
	srv := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		a := new(mdns.Msg)
		a.SetReply(q)
		a.AuthenticatedData = secure[strings.ToLower(q.Question[0].Name)]
		known := false
		for _, rr := range rrs {
			if strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				known = true
				if rr.Header().Rrtype == q.Question[0].Qtype {
					a.Answer = append(a.Answer, rr)
				}
			}
		}
		if strings.HasPrefix(q.Question[0].Name, "broken.") || strings.Contains(q.Question[0].Name, "_tcp.mx.lazy.") {
			a.Rcode = mdns.RcodeServerFailure
		} else if !known {
			a.Rcode = mdns.RcodeNameError
		}
		w.WriteMsg(a)
	})}
	go srv.ActivateAndServe()
	t.Cleanup(func() { srv.Shutdown() })
	return dns.New(dns.Options{Servers: []string{pc.LocalAddr().String()}, Timeout: time.Second, Tries: 1, Hosts: "/dev/null"})
}

// send delivers one message to rcpts and returns the results.
func send(t *testing.T, o Options, nexthop, body string, env mail.Envelope, rcpts ...mail.Address) []mail.Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	if env.Sender == "" {
		env.Sender = "sender@example.org"
	}
	job := &mail.Job{ID: "0123456", Env: &env, Size: int64(len(body)), Nexthop: nexthop}
	for _, r := range rcpts {
		job.Rcpts = append(job.Rcpts, mail.Rcpt{Addr: r, Notify: mail.NotifyFailure})
	}
	job.Open = func() (mail.Content, error) {
		f, err := os.Open(path)
		return mail.Content{File: f, Len: int64(len(body))}, err
	}
	out := make([]mail.Result, len(rcpts))
	seen := make([]int, len(rcpts))
	job.Report = func(i int, r mail.Result) { out[i] = r; seen[i]++ }
	var log bytes.Buffer
	o.Hostname = "client.example.org"
	o.Log = maillog.To(&log, maillog.Options{})
	New(o).Deliver(t.Context(), job)
	for i, n := range seen {
		if n != 1 {
			t.Errorf("recipient %d was answered %d times", i, n)
		}
	}
	return out
}

func port(s *script) string { _, p, _ := net.SplitHostPort(s.l.Addr().String()); return p }

func at(s *script) string { return "[127.0.0.1]:" + port(s) }

func want(t *testing.T, r mail.Result, outcome mail.Outcome, code, text string) {
	t.Helper()
	if r.Status.Outcome != outcome || r.Status.Code != code || !strings.Contains(r.Status.Text, text) {
		t.Errorf("got %v %s %q, want %v %s %q", r.Status.Outcome, r.Status.Code, r.Status.Text, outcome, code, text)
	}
}

func TestPipelinedDelivery(t *testing.T) {
	s := play(t, "127.0.0.1:0", "s 220 hi", "c EHLO client.example.org", "s 250-x|250-PIPELINING|250-SIZE 1000|250-8BITMIME|250 DSN",
		"c MAIL FROM:<sender@example.org> SIZE=13 BODY=8BITMIME RET=HDRS ENVID=a+20b", "c RCPT TO:<a@b.test> NOTIFY=FAILURE",
		"c RCPT TO:<\"x y\"@b.test>", "c RCPT TO:<no@b.test>", "c DATA",
		"s 250 2.1.0 ok|250 2.1.5 ok|250 ok|550 5.1.1 no such|354 go", "d", "s 250 2.0.0 taken", "c QUIT", "s 221 bye")
	r := send(t, Options{QuoteEnvelope: true}, at(s), "A: b\n\n.dot\nx\n", mail.Envelope{Body: mail.Body8Bit, Ret: "HDRS", EnvID: "a b"}, "a@b.test", "x y@b.test", "no@b.test")
	want(t, r[0], mail.Sent, "2.0.0", "250 2.0.0 taken")
	want(t, r[1], mail.Sent, "2.0.0", "taken")
	want(t, r[2], mail.Bounced, "5.1.1", "said: 550 5.1.1 no such (in reply to RCPT TO command)")
	if r[0].Relay != "127.0.0.1[127.0.0.1]:"+port(s) {
		t.Errorf("relay %q", r[0].Relay)
	}
	if got := string(s.data); got != "A: b\r\n\r\n..dot\r\nx\r\n" {
		t.Errorf("message %q", got)
	}
}

func TestStepwiseHELO(t *testing.T) {
	s := play(t, "127.0.0.1:0", "s 220 old", "c EHLO", "s 500 what", "c HELO client.example.org", "s 250 hello",
		"c MAIL FROM:<sender@example.org>", "s 250 ok", "c RCPT TO:<a@b.test>\r", "s 250 ok", "c DATA", "s 354 go", "d", "s 250 ok")
	want(t, send(t, Options{}, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Sent, "2.0.0", "ok")
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name    string
		lines   []string
		outcome mail.Outcome
		code    string
		text    string
	}{
		{"greeting 4xx", []string{"s 421 4.3.2 busy"}, mail.Deferred, "4.3.2", "refused to talk to me: 421 4.3.2 busy"},
		{"greeting 554", []string{"s 554 go away"}, mail.Deferred, "4.0.0", "refused to talk to me: 554 go away"},
		{"hangs up", []string{"x"}, mail.Deferred, "4.4.2", "while receiving the initial server greeting"},
		{"garbage", []string{"s hello there"}, mail.Deferred, "4.5.0", "malformed"},
		{"mail 5xx", []string{"s 220 x", "c EHLO", "s 250-x|250 PIPELINING", "c MAIL", "c RCPT", "c DATA", "s 550 5.7.1 spam|503 x|503 x"},
			mail.Bounced, "5.7.1", "(in reply to MAIL FROM command)"},
		{"size", []string{"s 220 x", "c EHLO", "s 250-x|250 SIZE 1"}, mail.Bounced, "5.3.4", "message size 2 exceeds size limit 1"},
		{"data 4xx", []string{"s 220 x", "c EHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 451 later"},
			mail.Deferred, "4.0.0", "(in reply to DATA command)"},
		{"after dot", []string{"s 220 x", "c EHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 354 x", "d", "s 554 5.6.0 bad"},
			mail.Bounced, "5.6.0", "(in reply to end of DATA command)"},
		{"dies after dot", []string{"s 220 x", "c EHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 354 x", "d", "x"},
			mail.Deferred, "4.4.2", "message may be sent more than once"},
		{"endless reply", append([]string{"s 220 x", "c EHLO"}, "s "+strings.Repeat("250-x|", 5000)+"250 x"), mail.Deferred, "4.5.0", "endless"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := play(t, "127.0.0.1:0", tc.lines...)
			want(t, send(t, Options{Skip5xxGreeting: true}, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], tc.outcome, tc.code, tc.text)
		})
	}
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	r := send(t, Options{}, fmt.Sprintf("[127.0.0.1]:%d", addr.Port), "x\n", mail.Envelope{}, "a@b.test")
	want(t, r[0], mail.Deferred, "4.4.1", fmt.Sprintf("connect to 127.0.0.1[127.0.0.1]:%d: Connection refused", addr.Port))
	if r[0].Relay != "none" {
		t.Errorf("relay %q", r[0].Relay)
	}
}

// TestSlowServer holds that a server which says nothing is left.
func TestSlowServer(t *testing.T) {
	s := play(t, "127.0.0.1:0", "z")
	r := send(t, Options{HeloTimeout: 100 * time.Millisecond}, at(s), "x\n", mail.Envelope{}, "a@b.test")
	want(t, r[0], mail.Deferred, "4.4.2", "timed out while receiving the initial server greeting")
}

// TestMXOrder: the best MX refuses connections, the second defers one recipient,
// the third takes it: each recipient ends where a host had the last word.
func TestMXOrder(t *testing.T) {
	b := play(t, "127.0.0.22:0", "s 220 b", "c EHLO", "s 250 b", "c MAIL", "s 250 ok", "c RCPT TO:<one@", "s 250 ok",
		"c RCPT TO:<two@", "s 450 4.2.1 later", "c DATA", "s 354 go", "d", "s 250 2.0.0 b took it")
	p := port(b)
	c := play(t, "127.0.0.23:"+p, "s 220 c", "c EHLO", "s 250 c", "c MAIL", "s 250 ok", "c RCPT TO:<two@", "s 250 ok",
		"c DATA", "s 354 go", "d", "s 250 2.0.0 c took it")
	_ = c
	res := zone(t, "many.test. MX 10 a.many.test.", "many.test. MX 20 b.many.test.", "many.test. MX 30 c.many.test.",
		"a.many.test. A 127.0.0.21", "b.many.test. A 127.0.0.22", "c.many.test. A 127.0.0.23")
	r := send(t, Options{Resolver: res, Port: p, SessionLimit: 3}, "many.test", "x\n", mail.Envelope{}, "one@many.test", "two@many.test")
	want(t, r[0], mail.Sent, "2.0.0", "b took it")
	want(t, r[1], mail.Sent, "2.0.0", "c took it")
}

func TestNames(t *testing.T) {
	s := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c DATA", "s 354 x", "d", "s 250 2.0.0 implicit")
	res := zone(t, "plain.test. A 127.0.0.1", "null.test. MX 0 .", "empty.test. TXT x", "noaddr.test. MX 10 gone.test.")
	o := Options{Resolver: res, Port: port(s)}
	for _, tc := range []struct {
		domain  string
		outcome mail.Outcome
		code    string
		text    string
	}{
		{"plain.test", mail.Sent, "2.0.0", "implicit"},
		{"null.test", mail.Bounced, "5.1.0", "Domain null.test does not accept mail (nullMX)"},
		{"nxdomain.test", mail.Bounced, "5.4.4", "Name service error for name=nxdomain.test type=A: Host not found"},
		{"empty.test", mail.Bounced, "5.4.4", "type=A: Host found but no data record of requested type"},
		{"broken.test", mail.Deferred, "4.4.3", "type=MX: Host not found, try again"},
		{"noaddr.test", mail.Bounced, "5.4.4", "name=gone.test"},
	} {
		want(t, send(t, o, tc.domain, "x\n", mail.Envelope{}, "a@"+mail.Address(tc.domain))[0], tc.outcome, tc.code, tc.text)
	}
}

func TestSTARTTLSInjection(t *testing.T) {
	lines := []string{"s 220 x", "c EHLO", "s 250-x|250 STARTTLS", "c STARTTLS", "s 220 ready|250 injected"}
	s := play(t, "127.0.0.1:0", lines...)
	want(t, send(t, Options{TLSLevel: "may"}, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Deferred, "4.7.0", "in the clear behind its answer")
}

func TestEncryptIsNeverLowered(t *testing.T) {
	for _, l := range []string{"s 250 x", "s 250-x|250 STARTTLS"} {
		s := play(t, "127.0.0.1:0", "s 220 x", "c EHLO", l, "c STARTTLS", "s 454 4.7.4 no")
		if l == "s 250 x" {
			s = play(t, "127.0.0.1:0", "s 220 x", "c EHLO", l, "c QUIT")
		}
		want(t, send(t, Options{TLSLevel: "encrypt"}, at(s), "x\n", mail.Envelope{}, "a@b.test")[0], mail.Deferred, "4.7.4", "TLS is required")
	}
}

func TestLMTP(t *testing.T) {
	s := play(t, "127.0.0.1:0", "s 220 x", "c LHLO client.example.org", "s 250 x", "c MAIL", "s 250 x", "c RCPT", "s 250 x", "c RCPT", "s 250 x",
		"c DATA", "s 354 x", "d", "s 250 2.0.0 one", "s 452 4.2.2 full")
	r := send(t, Options{LMTP: true}, "inet:127.0.0.1:"+port(s), "x\n", mail.Envelope{}, "one@b.test", "two@b.test")
	want(t, r[0], mail.Sent, "2.0.0", "one")
	want(t, r[1], mail.Deferred, "4.2.2", "full")
}

// TestReuse: messages that follow each other closely share a connection, and a
// connection that died meanwhile is replaced without harm.
func TestReuse(t *testing.T) {
	one := []string{"c MAIL", "s 250 ok", "c RCPT", "s 250 ok", "c DATA", "s 354 go", "d", "s 250 2.0.0 ok"}
	lines := append([]string{"s 220 x", "c EHLO", "s 250 x"}, one...)
	lines = append(append(lines, "c ", "s 250 ok"), one...) // RSET; QUIT of the first
	s := play(t, "127.0.0.1:0", append(lines, "x")...)
	tr := New(Options{Hostname: "client.example.org", Log: maillog.To(io.Discard, maillog.Options{})})
	var uses []int
	for range 4 {
		path := filepath.Join(t.TempDir(), "m")
		os.WriteFile(path, []byte("x\n"), 0o600)
		job := &mail.Job{Env: &mail.Envelope{Sender: "a@b.test"}, Size: 2, Nexthop: at(s), Rcpts: []mail.Rcpt{{Addr: "c@d.test"}}}
		job.Open = func() (mail.Content, error) { f, err := os.Open(path); return mail.Content{File: f, Len: 2}, err }
		job.Report = func(_ int, r mail.Result) {
			want(t, r, mail.Sent, "2.0.0", "ok")
			uses = append(uses, r.Reuse)
		}
		tr.Deliver(t.Context(), job)
	}
	// The first is alone; the second opens a connection worth keeping, the third
	// uses it (the script hangs up then), the fourth finds it dead and dials.
	if fmt.Sprint(uses) != "[1 1 2 1]" {
		t.Errorf("uses %v", uses)
	}
}

func TestDeliverEndsWithContext(t *testing.T) {
	s := play(t, "127.0.0.1:0", "s 220 x", "z")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	env := &mail.Envelope{Sender: "a@b"}
	var got mail.Result
	job := &mail.Job{Env: env, Nexthop: at(s), Rcpts: []mail.Rcpt{{Addr: "x@y"}}, Report: func(_ int, r mail.Result) { got = r }}
	New(Options{Hostname: "me", Log: maillog.To(io.Discard, maillog.Options{})}).Deliver(ctx, job)
	if !got.Status.Temporary() {
		t.Errorf("%+v", got.Status)
	}
}
