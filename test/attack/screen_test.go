package attack

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
	"packetboat/test/sandbox"
)

// TestScreen puts postscreen's functions in front of smtpd: a reload opens the
// port, a client that waits is handed over, one that does not is sent away.
func TestScreen(t *testing.T) {
	s := sandbox.Start(t)
	master, _ := filepath.Glob(s.Dir + "/*/postfix/master.cf")
	if len(master) == 0 {
		master, _ = filepath.Glob(s.Dir + "/*/master.cf")
	}
	if len(master) == 0 {
		t.Fatal("no master.cf")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	f, err := os.OpenFile(master[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%s inet n - n - 1 postscreen\n  -o postscreen_access_list=\n  -o postscreen_greet_wait=1s -o postscreen_greet_action=drop\nsmtpd pass - - n - - smtpd\n", addr)
	f.Close()
	syscall.Kill(s.PID("spool/pid/master.pid"), syscall.SIGHUP)
	first := func(early string) string {
		for range 50 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(oracle.Patience))
			fmt.Fprint(c, early)
			r := bufio.NewReader(c)
			for {
				line, err := r.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, "220-") {
					return line
				}
			}
		}
		return "no port"
	}
	if r := first("EHLO early\r\n"); !strings.HasPrefix(r, "521 5.5.1 Protocol error") {
		t.Errorf("an early client gets %q", r)
	}
	if r := first(""); !strings.HasPrefix(r, "220 ") {
		t.Errorf("a patient client gets %q", r)
	}
	s.Wait(5*time.Second, "PASS NEW", func() bool {
		return strings.Contains(s.Log(), "postscreen[") && strings.Contains(s.Log(), "]: PASS NEW [127.0.0.1]:")
	})
}
