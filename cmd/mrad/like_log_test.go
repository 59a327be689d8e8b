package main

import (
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// both starts mrad, and Dovecot where it is installed, with the same configuration.
func both(t *testing.T, conf string, prepare func(dir string)) []likeSystem {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root starts a system for several users")
	}
	systems := []likeSystem{startLike(t, false, conf, prepare)}
	if _, err := os.Stat("/usr/sbin/dovecot"); err == nil {
		systems = append(systems, startLike(t, true, conf, prepare))
	}
	return systems
}

// TestLoginLogFormat: login_log_format and its elements, as Dovecot fills them in.
func TestLoginLogFormat(t *testing.T) {
	t.Parallel()
	conf := "login_log_format = [%$] %s|\n" +
		"login_log_format_elements = \"%Uu=<%u> n=%n d=%d m=%m r=%r l=%l a=%a e=%e c=%c k=%k p%%q %{real_rip} %s s=<%{session}> x\"\n" +
		"passdb {\n  driver = passwd-file\n  args = DIR/users\n}\nuserdb {\n  driver = passwd-file\n  args = DIR/users\n}\n"
	users := func(dir string) { file(t, dir+"/users", "ann@x.y:{PLAIN}sa:8:8::"+dir+"/a\n") }
	for i, s := range both(t, conf, users) {
		s.login(t, "ann@x.y", "sa")
		c, err := net.Dial("tcp4", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "a LOGOUT\r\n")
		io.Copy(io.Discard, c)
		c.Close()
		_, port, _ := net.SplitHostPort(s.addr)
		for _, want := range []string{
			`imap-login: \[Login\] ANN@X.Y=<ann@x.y>, n=ann, d=x.y, m=PLAIN, r=127.0.0.1, l=127.0.0.1, a=` + port + `, e=\d+, c=secured, 127.0.0.1, imap, s=<[^>]+>\|\n`,
			`imap-login: \[(Aborted login|Disconnected: [^\]]*) \(no auth attempts in \d+ secs\)\] =<>, r=127.0.0.1, l=127.0.0.1, a=` + port + `, c=secured, 127.0.0.1, imap, s=<[^>]+>\|\n`} {
			found := false
			for end := time.Now().Add(10 * time.Second); !found && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				found = regexp.MustCompile(want).MatchString(s.log())
			}
			if !found {
				t.Errorf("%d: no line like %s\n%s", i, want, s.log())
			}
		}
	}
}

// TestBalancerTimeout: who may tell a client's address and says nothing is sent
// away after haproxy_timeout, without a greeting.
func TestBalancerTimeout(t *testing.T) {
	t.Parallel()
	conf := "haproxy_trusted_networks = 127.0.0.0/8\nhaproxy_timeout = TIME\nservice imap-login {\n  inet_listener imap {\n    haproxy = yes\n  }\n}\n" +
		"passdb {\n  driver = passwd-file\n  args = DIR/users\n}\nuserdb {\n  driver = passwd-file\n  args = DIR/users\n}\n"
	users := func(dir string) { file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a\n") }
	for _, limit := range []string{"1s", "1h"} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			for i, s := range both(t, strings.ReplaceAll(conf, "TIME", limit), users) {
				c, err := net.Dial("tcp4", s.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				wait := 20 * time.Second // far above the limit of a second
				if limit == "1h" {
					wait = 4 * time.Second // above the default of three
				}
				c.SetReadDeadline(time.Now().Add(wait))
				n, err := c.Read(make([]byte, 1))
				if e, ok := err.(net.Error); n != 0 || limit == "1h" != (ok && e.Timeout()) {
					t.Errorf("%d: read %d, %v\n%s", i, n, err, s.log())
				}
			}
		})
	}
}
