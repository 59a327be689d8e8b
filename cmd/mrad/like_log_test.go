package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"packetboat/internal/auth/wire"
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
			`imap-login: (?:Info: )?\[Login\] ANN@X.Y=<ann@x.y>, n=ann, d=x.y, m=PLAIN, r=127.0.0.1, l=127.0.0.1, a=` + port + `, e=\d+, c=secured, 127.0.0.1, imap, s=<[^>]+>\|\n`,
			`imap-login: (?:Info: )?\[(Aborted login|Disconnected: [^\]]*) \(no auth attempts in \d+ secs\)\] =<>, n=, r=127.0.0.1, l=127.0.0.1, a=` + port + `, c=secured, 127.0.0.1, imap, s=<[^>]+>\|\n`} {
			found := false
			for end := time.Now().Add(15 * time.Second); !found && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
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

// TestNetworks: what sections remote, local and protocol say of passwords in the
// clear, for clients of three addresses; the sections stand in an odd order.
func TestNetworks(t *testing.T) {
	t.Parallel()
	conf := "disable_plaintext_auth = yes\nremote 127.0.0.0/8 {\n  disable_plaintext_auth = no\n}\nremote 127.0.0.3 {\n  disable_plaintext_auth = yes\n}\n" +
		"protocol pop3 {\n  disable_plaintext_auth = no\n}\nremote 127.0.0.4/31 {\n  disable_plaintext_auth = yes\n}\n" +
		"passdb {\n  driver = passwd-file\n  args = DIR/users\n}\nuserdb {\n  driver = passwd-file\n  args = DIR/users\n}\n"
	users := func(dir string) { file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a\n") }
	for i, s := range both(t, conf, users) {
		for from, want := range map[string]string{"127.0.0.2": "a OK", "127.0.0.3": "a NO [PRIVACYREQUIRED]", "127.0.0.4": "a NO [PRIVACYREQUIRED]", "127.0.0.1": "a OK"} {
			c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp4", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(15 * time.Second))
			k := &talk{c, bufio.NewReader(c)}
			greeting := k.do("", "* OK")
			if disabled := strings.Contains(greeting, "LOGINDISABLED"); disabled != strings.Contains(want, "NO") {
				t.Errorf("%d: %s is greeted with %s", i, from, greeting)
			}
			got := k.do("a LOGIN ann sa", "a ")
			if !strings.Contains("\n"+got, "\n"+want) {
				t.Errorf("%d: %s gets %q, want %s", i, from, got, want)
			}
			c.Close()
		}
	}
}

// TestAuthPort: service auth with a port answers an SMTP server of another machine.
func TestAuthPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	conf := "service auth {\n  inet_listener {\n    address = ADDR\n    port = " + port + "\n  }\n}\n" +
		"passdb {\n  driver = passwd-file\n  args = DIR/users\n}\nuserdb {\n  driver = passwd-file\n  args = DIR/users\n}\n"
	users := func(dir string) { file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a\n") }
	if os.Geteuid() != 0 {
		t.Skip("only root starts a system for several users")
	}
	addrs := []string{"127.0.0.11"}
	systems := []likeSystem{startLike(t, false, strings.ReplaceAll(conf, "ADDR", addrs[0]), users)}
	if _, err := os.Stat("/usr/sbin/dovecot"); err == nil {
		addrs = append(addrs, "127.0.0.12")
		systems = append(systems, startLike(t, true, strings.ReplaceAll(conf, "ADDR", addrs[1]), users))
	}
	for i := range systems {
		client := wire.New(func(ctx context.Context) (net.Conn, error) {
			for { // Dovecot's IMAP answers before it listens here
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort(addrs[i], port))
				if err == nil || ctx.Err() != nil {
					return c, err
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		for password, want := range map[string]wire.State{"sa": wire.OK, "sb": wire.Fail} {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			_, a, err := client.Start(ctx, wire.Request{Service: "smtp", Mech: "PLAIN", Initial: []byte("\x00ann\x00" + password), Secured: true,
				Remote: netip.MustParseAddrPort("192.0.2.1:25")})
			cancel()
			if err != nil || a.State != want {
				t.Errorf("%d: %s gives %+v, %v\n%s", i, password, a, err, systems[i].log())
			}
		}
		client.Close()
	}
}
