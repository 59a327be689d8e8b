package main

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// TestKick holds that doveadm kick ends the sessions that it means, and no other.
func TestKick(t *testing.T) {
	s := launch(t, "no")
	a, b := s.dial(t, "imap"), s.dial(t, "pop3")
	a.do("", "* OK")
	a.do("a LOGIN alice secret", "a ")
	b.do("", "+OK")
	b.do("USER alice", "+OK")
	b.do("PASS secret", "+OK")
	for _, c := range []struct{ mask, network, want string }{
		{"bob", "", "\n"}, {"alice", "10.0.0.0/8", "\n"}, {"alice", "nonsense", "\n"}, {"a*", "127.0.0.0/8", "alice\n\n"},
	} {
		if got := s.askAnvil(t, "KICK\t"+c.mask+"\t"+c.network); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
	if got := a.do("", "never"); !strings.Contains(got, "* BYE Server shutting down.") {
		t.Errorf("%q", got)
	}
	b.do("", "never")
	for end := time.Now().Add(oracle.Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s.askAnvil(t, "CONNECT-DUMP") == "\n" {
			break
		}
	}
	if got := s.askAnvil(t, "CONNECT-DUMP"); got != "\n" {
		t.Errorf("still there: %q", got)
	}
	if n := strings.Count(s.log(), "Disconnected: Server shutting down. "); n != 2 {
		t.Errorf("%d lines of the log say so\n%s", n, s.log())
	}
}

// askAnvil asks the anvil socket.
func (s *system) askAnvil(t *testing.T, question string) string {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(s.dir, "run/anvil"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	fmt.Fprintf(c, "VERSION\tanvil\t1\t0\n%s\n", question)
	all := ""
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		all += line
		if err != nil {
			return all
		}
	}
}
