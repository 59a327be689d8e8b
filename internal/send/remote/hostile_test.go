package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"packetboat/internal/mail"
	"packetboat/internal/sys/dns"
)

// hostile starts a server that does to each connection what fn does.
func hostile(t *testing.T, fn func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				fn(c)
			}()
		}
	}()
	return "[127.0.0.1]:" + l.Addr().(*net.TCPAddr).AddrPort().String()[len("127.0.0.1:"):]
}

// flood writes text until nobody reads it.
func flood(c net.Conn, text string) {
	b := bytes.Repeat([]byte(text), 64<<10/len(text)+1)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// polite answers commands up to the one that begins with until, and returns then.
func polite(c net.Conn, until string) {
	io.WriteString(c, "220 x\r\n")
	r, data := bufio.NewReader(c), false
	for {
		line, err := r.ReadString('\n')
		switch {
		case err != nil || strings.HasPrefix(line, until):
			return
		case data:
		case strings.HasPrefix(line, "DATA"):
			data = true
			io.WriteString(c, "354 x\r\n")
		default:
			io.WriteString(c, "250 x\r\n")
		}
	}
}

// TestHostile: whatever a host does, delivery ends soon, with one answer that tries
// again and that a log can hold.
func TestHostile(t *testing.T) {
	short := Options{ConnectTimeout: time.Second, HeloTimeout: time.Second, MailTimeout: time.Second, RcptTimeout: time.Second,
		DataInitTimeout: time.Second, DataXferTimeout: time.Second, DataDoneTimeout: time.Second, QuitTimeout: time.Second, StartTLSTimeout: time.Second}
	for name, fn := range map[string]func(c net.Conn){
		"silent":           func(c net.Conn) { io.Copy(io.Discard, c) },
		"gone":             func(net.Conn) {},
		"endless line":     func(c net.Conn) { flood(c, "x") },
		"endless greeting": func(c net.Conn) { flood(c, "220-x\r\n") },
		"NULs":             func(c net.Conn) { flood(c, "\x00") },
		"NUL lines":        func(c net.Conn) { flood(c, "220-\x00\x1b[2J\r\n") },
		"line ends":        func(c net.Conn) { flood(c, "\r\n") },
		"no number":        func(c net.Conn) { io.WriteString(c, "hello\r\n"); io.Copy(io.Discard, c) },
		"odd number":       func(c net.Conn) { io.WriteString(c, "999 x\r\n"); io.Copy(io.Discard, c) },
		"negative":         func(c net.Conn) { io.WriteString(c, "-22 x\r\n"); io.Copy(io.Discard, c) },
		"HTTP":             func(c net.Conn) { io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n"); io.Copy(io.Discard, c) },
		"drip":             func(c net.Conn) { drip(c, "220-"+strings.Repeat("slowly ", 1000)) },
		"endless EHLO":     func(c net.Conn) { polite(c, "EHLO"); flood(c, "250-X"+strings.Repeat("y", 500)+"\r\n") },
		"endless AUTH":     func(c net.Conn) { polite(c, "EHLO"); flood(c, "250-AUTH "+strings.Repeat("PLAIN ", 80)+"\r\n") },
		"long EHLO": func(c net.Conn) {
			polite(c, "EHLO")
			io.WriteString(c, "250 "+strings.Repeat("x", 60<<10)+"\r\n")
			polite(c, "MAIL")
		},
		"drops at MAIL":     func(c net.Conn) { polite(c, "MAIL") },
		"endless MAIL":      func(c net.Conn) { polite(c, "MAIL"); flood(c, "250-x\r\n") },
		"challenge to MAIL": func(c net.Conn) { polite(c, "MAIL"); io.WriteString(c, "334 eA==\r\n") },
		"drops at RCPT":     func(c net.Conn) { polite(c, "RCPT") },
		"silent at RCPT":    func(c net.Conn) { polite(c, "RCPT"); io.Copy(io.Discard, c) },
		"drops at DATA":     func(c net.Conn) { polite(c, "DATA") },
		"250 to DATA":       func(c net.Conn) { polite(c, "DATA"); io.WriteString(c, "250 x\r\n"); io.Copy(io.Discard, c) },
		"drops in DATA":     func(c net.Conn) { polite(c, "Subject") },
		"reads nothing":     func(c net.Conn) { polite(c, "Subject"); time.Sleep(5 * time.Second) },
		"silent at the dot": func(c net.Conn) { polite(c, "."); io.Copy(io.Discard, c) },
		"endless dot":       func(c net.Conn) { polite(c, "."); flood(c, "250-2.0.0 x\r\n") },
		"drip at the dot":   func(c net.Conn) { polite(c, "."); drip(c, "250-"+strings.Repeat("slowly ", 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := hostile(t, fn)
			start := time.Now()
			body := "Subject: x\n\n" + strings.Repeat("a line of text that fills the buffers\n", 100_000)
			r := send(t, short, at, body, mail.Envelope{}, "a@b.test")[0]
			// A second for each step at most; the rest is for a machine that is busy.
			if took := time.Since(start); took > 25*time.Second {
				t.Errorf("took %v", took)
			}
			if r.Status.Outcome != mail.Deferred || len(r.Status.Text) > maxReplyText+500 || strings.ContainsFunc(r.Status.Text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
				t.Errorf("%.200q: %+v", r.Status.Text, r.Status.Outcome)
			}
		})
	}
}

// drip sends a byte now and then.
func drip(c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestFloodMemory: what an endless reply costs has nothing to do with its length.
func TestFloodMemory(t *testing.T) {
	at := hostile(t, func(c net.Conn) { polite(c, "MAIL"); flood(c, "250-"+strings.Repeat("x", 2000)+"\r\n") })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	send(t, Options{}, at, "x\n", mail.Envelope{}, "a@b.test")
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes", n)
	}
}

// nameServer answers with what fn makes of a question.
func nameServer(t *testing.T, fn func(q mdns.Question, a *mdns.Msg)) (*dns.Resolver, *atomic.Int64) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Skip("the port is taken for TCP: ", err)
	}
	var asked atomic.Int64
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		asked.Add(1)
		a := new(mdns.Msg)
		a.SetReply(q)
		fn(q.Question[0], a)
		a.Compress = true
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			a.Truncate(1232)
		}
		w.WriteMsg(a)
	})
	for _, s := range []*mdns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return dns.New(dns.Options{Servers: []string{pc.LocalAddr().String()}, Timeout: time.Second, Tries: 1, Hosts: "/dev/null"}), &asked
}

// TestHostileDNS: sets of thousands, aliases in a circle, and hosts without number that
// do not exist cost few questions, and mail waits or is refused as it should.
func TestHostileDNS(t *testing.T) {
	rr := func(format string, args ...any) mdns.RR {
		r, err := mdns.NewRR(fmt.Sprintf(format, args...))
		if err != nil {
			panic(err)
		}
		return r
	}
	thousands := func(a *mdns.Msg, target string) {
		for i := range 2500 { // about what one answer can hold
			a.Answer = append(a.Answer, rr("big.test. 60 IN MX 10 "+target+".", i))
		}
	}
	for name, c := range map[string]struct {
		answer  func(q mdns.Question, a *mdns.Msg)
		outcome mail.Outcome
		text    string
		asked   int64
	}{
		"thousands of hosts": {func(q mdns.Question, a *mdns.Msg) {
			switch q.Qtype {
			case mdns.TypeMX:
				thousands(a, "mx%d.test")
			case mdns.TypeA:
				a.Answer = append(a.Answer, rr("%s 60 IN A 127.0.0.99", q.Name))
			}
		}, mail.Deferred, "connect to", 50},
		"thousands that answer nothing": {func(q mdns.Question, a *mdns.Msg) {
			if q.Qtype == mdns.TypeMX {
				thousands(a, "mx%d.test")
				return
			}
			a.Rcode = mdns.RcodeServerFailure
		}, mail.Deferred, "try again", 20},
		"thousands of addresses": {func(q mdns.Question, a *mdns.Msg) {
			switch q.Qtype {
			case mdns.TypeMX:
				a.Answer = append(a.Answer, rr("big.test. 60 IN MX 10 mx.test."))
			case mdns.TypeA:
				for i := range 3000 {
					a.Answer = append(a.Answer, rr("%s 60 IN A 127.0.%d.%d", q.Name, 1+i/250, 1+i%250))
				}
			}
		}, mail.Deferred, "connect to", 10},
		"a circle of aliases": {func(q mdns.Question, a *mdns.Msg) {
			a.Answer = append(a.Answer, rr("big.test. 60 IN CNAME b.test."), rr("b.test. 60 IN CNAME big.test."))
		}, mail.Bounced, "no data record", 10},
		"a long chain of aliases": {func(q mdns.Question, a *mdns.Msg) {
			for i := range 1000 {
				a.Answer = append(a.Answer, rr("c%d.test. 60 IN CNAME c%d.test.", i, i+1))
			}
			a.Answer = append(a.Answer, rr("big.test. 60 IN CNAME c0.test."), rr("c1000.test. 60 IN MX 1 mx.test."))
		}, mail.Bounced, "no data record", 10},
		"an MX that is an alias of itself": {func(q mdns.Question, a *mdns.Msg) {
			if q.Qtype == mdns.TypeMX {
				a.Answer = append(a.Answer, rr("big.test. 60 IN MX 1 mx.test."))
				return
			}
			a.Answer = append(a.Answer, rr("mx.test. 60 IN CNAME mx.test."))
		}, mail.Bounced, "no data record", 10},
	} {
		t.Run(name, func(t *testing.T) {
			r, asked := nameServer(t, c.answer)
			// Port 9 of a loopback address that nobody has: refused at once.
			got := send(t, Options{Resolver: r, ConnectTimeout: time.Second}, "big.test:9", "x\n", mail.Envelope{}, "a@big.test")[0]
			if got.Status.Outcome != c.outcome || !strings.Contains(got.Status.Text, c.text) {
				t.Errorf("%+v", got.Status)
			}
			if n := asked.Load(); n > c.asked {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
