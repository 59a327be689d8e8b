package smtpd

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"packetboat/test/oracle"
)

// The figures of package smtpd's documentation, in octets a session, with what
// the test's own end of the connection costs (about 1 KiB).
const (
	waitingCost = 20 << 10
	dataCost    = waitingCost + 68<<10
	tlsCost     = waitingCost + 44<<10
)

// crowd is how many sessions there are at once.
const crowd = 1000

// memory is what the heap and the stacks hold when all garbage is gone.
func memory() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC() // pools let go of what they hold only at the second time
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestMemory: a thousand sessions that wait, that are within a message, or that
// speak TLS hold no more memory than the documentation says, whatever they sent.
func TestMemory(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		name string
		tls  bool
		say  string
		want []string
		most int64
		n    int
	}{
		{"waiting", false, "EHLO " + long + "\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nNOOP " + long, []string{"250*", "250*", "250*"}, waitingCost, crowd},
		{"within a message", false, "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n", []string{"250*", "250*", "250*", "354*"}, dataCost, crowd},
		{"TLS", true, "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\n", []string{"250*", "250*", "250*"}, tlsCost, crowd / 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := tlsWorld(t, func(w *world) { w.opts.MaxSessions, w.opts.Timeout = 2*crowd, oracle.Patience })
			begin := memory()
			var all []net.Conn
			for range c.n {
				k := newTalk(t, dialFrom(t, "127.0.0.3", w.addr))
				k.want("220*")
				if c.tls {
					k.send("STARTTLS\r\n")
					k.want("220*")
					k.startTLS()
				}
				k.send(c.say)
				k.want(c.want...)
				if strings.HasSuffix(c.say, "DATA\r\n") {
					io.WriteString(k.c, "a: b\r\n\r\n"+long) // a line without end stays in the buffer
				}
				all = append(all, k.c) // the reader is not kept
			}
			each := (memory() - begin) / int64(c.n)
			t.Logf("%d octets a session", each)
			if each > c.most {
				t.Errorf("a session holds %d octets, more than the %d that are promised", each, c.most)
			}
			if n := w.srv.Sessions(); n != c.n {
				t.Errorf("only %d sessions were there", n)
			}
			for _, conn := range all {
				conn.Close()
			}
			if !oracle.Await(func() bool { return w.srv.Sessions() == 0 }) {
				t.Errorf("%d sessions are left", w.srv.Sessions())
			}
			if left := memory() - begin; left > 4<<20 {
				t.Errorf("after the last session %d octets are still held", left)
			}
		})
	}
}
