package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// mtad listens where mtad takes messages, and answers each conversation with
// answer; "" closes it without a word. What came is sent to the channel.
func mtad(t *testing.T, s *sandbox, answer string) <-chan string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(s.dir, "spool", submitSocket))
	if err != nil {
		t.Fatal(err)
	}
	came, done := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetReadDeadline(time.Now().Add(oracle.Patience))
			var got bytes.Buffer
			for b := make([]byte, 32<<10); !bytes.HasSuffix(got.Bytes(), []byte("E\x00")); {
				n, err := c.Read(b)
				got.Write(b[:n])
				if err != nil {
					break
				}
			}
			came <- got.String()
			io.WriteString(c, answer)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return came
}

const taken = "status\x000\x00reason\x00\x00\x00"

// TestDirect: mtad gets the records that postdrop would, and maildrop nothing.
func TestDirect(t *testing.T) {
	const text = "To: bob\nSubject: x\n\nbody\n"
	without := newSandbox(t)
	if code, out := without.sendmail(t, text, "-t", "-F", "Full", "-N", "never"); code != 0 {
		t.Fatal(code, out)
	}
	s := newSandbox(t)
	came := mtad(t, s, taken)
	if code, out := s.sendmail(t, text, "-t", "-F", "Full", "-N", "never"); code != 0 || out != "" {
		t.Fatal(code, out)
	}
	files := without.maildrop(t)
	if want, got := records(t, files[0]), records(t, <-came); len(files) != 1 || !reflect.DeepEqual(want, got) {
		t.Errorf("%v\nmaildrop has\n%v", got, want)
	}
	if left := s.maildrop(t); len(left) != 0 {
		t.Errorf("in maildrop: %q", left)
	}
}

// TestNotTaken: whatever mtad answers but success, and for messages that are not
// given to it, the way leads through maildrop.
func TestNotTaken(t *testing.T) {
	const short, long = "Subject: x\n\nbody\n", maxDirect + 1000
	for name, c := range map[string]struct {
		answer, text string
		asked        int
	}{
		"refused": {"status\x001\x00reason\x00no\x00\x00", short, 1},
		"dead":    {"", short, 1},
		"garbage": {"220 mail.example.org ESMTP\r\n", short, 1},
		"endless": {strings.Repeat("status\x000\x00", 1000), short, 1},
		"long":    {taken, "Subject: x\n\n" + strings.Repeat("0123456789abcde\n", long/16), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			came := mtad(t, s, c.answer)
			if code, out := s.sendmail(t, c.text, "bob"); code != 0 || out != "" {
				t.Fatal(code, out)
			}
			files := s.maildrop(t)
			if len(files) != 1 || len(came) != c.asked {
				t.Fatalf("%d files, asked %d times", len(files), len(came))
			}
			if lines := of(records(t, files[0]), 'N'); strings.Join(lines, "\n")+"\n" != c.text {
				t.Errorf("%.200q", lines)
			}
		})
	}
}

// TestTooLong: message_size_limit holds on both ways.
func TestTooLong(t *testing.T) {
	s := newSandbox(t, "message_size_limit = 1000")
	came := mtad(t, s, taken)
	code, out := s.sendmail(t, "Subject: x\n\n"+strings.Repeat("0123456789abcde\n", 100), "bob")
	if code == 0 || !strings.Contains(out, "message file too big") || len(came) != 0 || len(s.maildrop(t)) != 0 {
		t.Error(fmt.Sprint(code, " ", out))
	}
}
