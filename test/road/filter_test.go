package road

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"packetboat/test/sandbox"
)

// relayFilter is a content filter as amavis is one: it takes mail over SMTP, adds
// a header, and gives it back on another port.
func relayFilter(t *testing.T, l net.Listener, back string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			io.WriteString(c, "220 filter ESMTP\r\n")
			var from string
			var to []string
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				switch verb := strings.ToUpper(strings.TrimSpace(line)); {
				case strings.HasPrefix(verb, "MAIL FROM:"):
					from, to = between(line), nil
				case strings.HasPrefix(verb, "RCPT TO:"):
					to = append(to, between(line))
				case verb == "DATA":
					io.WriteString(c, "354 go on\r\n")
					text := readDots(r)
					var failed error
					for _, a := range to {
						if err := plainSMTP(back, from, a, []byte("X-Filtered: yes\r\n"+text)); err != nil {
							failed = err
						}
					}
					if failed != nil {
						fmt.Fprintf(c, "451 4.5.0 %v\r\n", failed)
						continue
					}
					io.WriteString(c, "250 2.0.0 passed on\r\n")
					continue
				case verb == "QUIT":
					io.WriteString(c, "221 bye\r\n")
					return
				}
				io.WriteString(c, "250 ok\r\n")
			}
		}()
	}
}

func between(line string) string {
	_, rest, _ := strings.Cut(line, "<")
	a, _, _ := strings.Cut(rest, ">")
	return a
}

func readDots(r *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

// TestContentFilter: mail goes out to a filter and comes back on a port where
// nothing is filtered, checked or mapped again (FILTER_README, "advanced").
func TestContentFilter(t *testing.T) {
	s := sandbox.Start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	back, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	backAddr := back.Addr().String()
	back.Close()
	go relayFilter(t, l, backAddr)
	edit := func(file, text string) {
		f, err := os.OpenFile(s.Dir+"/etc/postfix/"+file, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = io.WriteString(f, text)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	edit("main.cf", "content_filter = scan:["+strings.Replace(l.Addr().String(), ":", "]:", 1)+
		"\nheader_checks = regexp:"+s.Dir+"/etc/postfix/hc\nalways_bcc = bob@sandbox.test\n")
	if err := os.WriteFile(s.Dir+"/etc/postfix/hc", []byte("/^Subject: (.*)/ PREPEND X-Checked: $1\n/^X-Bad/ REJECT not here\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	edit("master.cf", "scan unix - - n - 2 smtp\n"+backAddr+" inet n - n - 10 smtpd\n  -o content_filter=\n"+
		"  -o receive_override_options=no_address_mappings,no_header_body_checks,no_unknown_recipient_checks,no_milters\n")
	if out, err := s.Command("postfix", "reload").CombinedOutput(); err != nil {
		t.Fatalf("reload: %v %s", err, out)
	}
	s.Wait(10*time.Second, "the second port", func() bool {
		c, err := net.Dial("tcp", backAddr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	viaSMTP(t, s, "x@example.org", []string{"alice@sandbox.test"}, "Subject: in\r\n\r\nhello\r\n")
	if err := plainSMTP(s.Addr(25), "x@example.org", "alice@sandbox.test", []byte("X-Bad: y\r\n\r\nhello\r\n")); err == nil || !strings.Contains(err.Error(), "5.7.1 not here") {
		t.Errorf("X-Bad: %v", err)
	}
	sendmail(t, s, "Subject: local\n\nfrom here\n", "alice@sandbox.test")
	s.Drained(20 * time.Second)
	got := inbox(t, s, "alice")
	if len(got) != 2 || len(inbox(t, s, "bob")) != 2 {
		t.Fatalf("alice has %d messages, bob %d", len(got), len(inbox(t, s, "bob")))
	}
	for _, m := range got {
		text := string(m)
		if strings.Count(text, "X-Filtered: yes") != 1 || strings.Count(text, "X-Checked: ") != 1 {
			t.Errorf("not filtered and checked once:\n%s", text)
		}
	}
}
