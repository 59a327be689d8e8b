package service

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve answers questions with what answer makes of them; "" closes the connection.
func serve(t *testing.T, answer func(question string) string) (addr string, conns *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conns = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for q := ""; ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if q += line; line != "\n" {
						continue
					}
					a := answer(q)
					if a == "" {
						return
					}
					fmt.Fprint(c, a)
					q = ""
				}
			}()
		}
	}()
	return "inet:" + l.Addr().String(), conns
}

func client(t *testing.T, spec string) (*Client, *[]string) {
	said := &[]string{}
	c, err := New(spec, Options{Timeout: time.Second, RetryDelay: time.Millisecond}, t.TempDir(), func(f string, a ...any) { *said = append(*said, fmt.Sprintf(f, a...)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, said
}

func TestAsk(t *testing.T) {
	for _, tt := range []struct {
		answer, want, said string
	}{
		{"action=DUNNO\n\n", "DUNNO", ""},
		{"x=y\naction=REJECT no\naction=OK\n\n", "REJECT no", ""},
		{"action=\n\n", "", ""},
		{"nothing=1\n\n", "error", "problem talking to server"},
		{"", "error", "problem talking to server"},
		{"action=\xff\n\n", "error", "malformed UTF-8"},
		{strings.Repeat("x", maxReply+10), "error", "problem talking to server"},
	} {
		addr, _ := serve(t, func(string) string { return tt.answer })
		c, said := client(t, addr)
		got, err := c.Ask(context.Background(), []byte("request=x\n\n"))
		if err != nil {
			got = "error"
		}
		if got != tt.want || tt.said != "" && !strings.Contains(strings.Join(*said, "\n"), tt.said) || tt.said == "" && len(*said) > 0 {
			t.Errorf("%.20q: %q, %q", tt.answer, got, *said)
		}
	}
}

// TestConnections: one is used again, up to its limits, and a server that has
// closed it meanwhile is asked again at once.
func TestConnections(t *testing.T) {
	var n atomic.Int32
	addr, conns := serve(t, func(string) string {
		if n.Add(1)%3 == 0 {
			return ""
		}
		return "action=DUNNO\n\n"
	})
	c, said := client(t, addr)
	for range 10 {
		if _, err := c.Ask(context.Background(), []byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
	if len(*said) > 0 || conns.Load() > 6 {
		t.Errorf("%d connections, %q", conns.Load(), *said)
	}
	addr, conns = serve(t, func(string) string { return "action=DUNNO\n\n" })
	c, _ = client(t, "{"+addr+", request_limit=2, { max_ttl = 1h } policy_context=x}")
	for range 10 {
		c.Ask(context.Background(), []byte("\n"))
	}
	if conns.Load() != 5 || c.Context != "x" || c.MaxTTL != time.Hour {
		t.Errorf("%d connections of 2 questions, %+v", conns.Load(), c.Options)
	}
}

func TestSlowServer(t *testing.T) {
	block := make(chan bool)
	defer close(block)
	addr, _ := serve(t, func(string) string { <-block; return "" })
	c, said := client(t, "{"+addr+", try_limit=1}")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Ask(ctx, []byte("\n")); err == nil {
		t.Error("a session that is over waits")
	}
	if _, err := c.Ask(context.Background(), []byte("\n")); err == nil || !strings.Contains(strings.Join(*said, ""), "timed out") {
		t.Errorf("%v %q", err, *said)
	}
}

func TestBadSpecs(t *testing.T) {
	for _, spec := range []string{"", "inet", "inet:", "smtp:x", "{}", "{ }", "{inet:x:1, foo=1}", "{inet:x:1, timeout=0}", "{inet:x:1, timeout=x}", "{inet:x:1, try_limit=0}", "{inet:x:1, word}"} {
		if _, err := New(spec, Options{}, "/q", nil); err == nil {
			t.Errorf("%q was taken", spec)
		}
	}
	c, err := New("unix:private/policy", Options{}, "/q", nil)
	if err != nil || c.addr != "/q/private/policy" || c.TryLimit != 2 || c.DefaultAction != DefaultAction {
		t.Errorf("%+v %v", c, err)
	}
}

func FuzzSpec(f *testing.F) {
	f.Add("{ inet:127.0.0.1:9, timeout = 3s, { default_action = 450 x, y } }")
	f.Add("{{}}{")
	f.Fuzz(func(t *testing.T, s string) {
		New(s, Options{}, "/q", func(string, ...any) {})
	})
}

// TestSPF asks Debian's postfix-policyd-spf-python, the most used policy server
// beside postgrey.
func TestSPF(t *testing.T) {
	path, err := exec.LookPath("policyd-spf")
	if err != nil {
		t.Skip("policyd-spf is not installed")
	}
	conf := t.TempDir() + "/conf"
	if err := os.WriteFile(conf, []byte("debugLevel = 0\nskip_addresses = 127.0.0.0/8\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		cmd := exec.Command(path, conf) // spawn(8) of Postfix runs it so
		cmd.Stdin, cmd.Stdout = c, c
		cmd.Run()
	}()
	c, said := client(t, "{inet:"+l.Addr().String()+", timeout=20s, try_limit=1}")
	got, err := c.Ask(context.Background(), []byte("request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"+
		"client_address=127.0.0.1\nclient_name=localhost\nhelo_name=x\nsender=a@example.test\nrecipient=b@here.test\ninstance=1.2.3\n\n"))
	if err != nil || !strings.HasPrefix(got, "PREPEND X-Comment: SPF") && !strings.HasPrefix(got, "prepend X-Comment: SPF") {
		t.Errorf("%q %v %q", got, err, *said)
	}
}
