package road

import (
	"bytes"
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/test/sandbox"
)

// corpus returns the odd mails of other projects, in order.
func corpus(t *testing.T) []string {
	t.Helper()
	files, _ := filepath.Glob("../../../shared/mailcorpus/*")
	var out []string
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && fi.Mode().IsRegular() && filepath.Base(f) != "SOURCES.tsv" && fi.Size() > 0 {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		t.Skip("../shared/mailcorpus is not here")
	}
	return out
}

// TestCorpus sends every mail of the corpus through sendmail and SMTP and holds
// that IMAP and POP3 give it back byte for byte, but for the headers that
// delivery adds and removes.
func TestCorpus(t *testing.T) {
	files := corpus(t)
	s := sandbox.Start(t)
	for _, way := range []struct {
		user string
		send func(file string, body []byte) error
	}{
		{"alice", func(_ string, body []byte) error {
			cmd := s.Command("sendmail", "-i", "-G", "-f", "x@example.org", "alice@sandbox.test")
			cmd.Stdin = bytes.NewReader(body)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			// One after the other, so that the order in the mailbox is the corpus's.
			s.Drained(20 * time.Second)
			return nil
		}},
		{"bob", func(_ string, body []byte) error {
			return send25(s.Addr(25), "bob@sandbox.test", body)
		}},
	} {
		t.Run(way.user, func(t *testing.T) {
			var sent [][]byte
			for _, f := range files {
				body, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if err := way.send(f, body); err != nil {
					t.Errorf("%s: %v", filepath.Base(f), err)
					continue
				}
				sent = append(sent, body)
			}
			s.Drained(60 * time.Second)
			compare(t, s, way.user, sent)
		})
	}
}

// send25 sends body as it is, with line ends and dots as SMTP wants them.
func send25(addr, to string, body []byte) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, err := range []error{c.Hello("corpus.test"), c.Mail("x@example.org"), c.Rcpt(to)} {
		if err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	w.Write(canonical(body))
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// canonical gives body CRLF line ends; stray CRs become what the system makes
// of them.
func canonical(body []byte) []byte {
	body = bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))
}

// compare finds each sent mail among what IMAP and POP3 show.
func compare(t *testing.T, s *sandbox.Sandbox, user string, sent [][]byte) {
	t.Helper()
	got := inbox(t, s, user)
	if len(got) != len(sent) {
		t.Errorf("sent %d, IMAP shows %d", len(sent), len(got))
	}
	p := popLogin(t, s, user)
	have := map[string]int{}
	for i, m := range got {
		if !bytes.Equal(p.message(i+1), m) {
			t.Errorf("message %d: IMAP and POP3 disagree", i+1)
		}
		have[normal(m)]++
	}
	missing := 0
	for i, body := range sent {
		key := normal(canonical(body))
		if have[key] == 0 {
			if missing++; missing <= 5 {
				t.Errorf("mail %d came back changed; sent\n%.600q", i, key)
			}
			continue
		}
		have[key]--
	}
	t.Logf("%d mails of %d came back as they were sent", len(sent)-missing, len(sent))
}

// touched are header fields that delivery adds or must remove.
var touched = []string{"return-path", "x-original-to", "delivered-to", "received", "status", "x-status", "x-keywords",
	"x-uid", "x-imap", "x-imapbase", "content-length", "lines", "bcc", "resent-bcc", "message-id", "date", "from"}

// normal cuts the header fields off that delivery touches, and the end of the
// body's trailing empty lines, which an mbox cannot tell apart from its own.
func normal(m []byte) string {
	lines := strings.SplitAfter(string(m), "\r\n")
	var b strings.Builder
	skip, header := false, true
	for n, l := range lines {
		if header {
			if l == "\r\n" {
				header, skip = false, false
			} else if strings.HasPrefix(l, "From ") && n == 0 {
				continue
			} else if l[:min(1, len(l))] != " " && l[:min(1, len(l))] != "\t" {
				name, _, ok := strings.Cut(l, ":")
				if !ok { // no header line: here the body begins, and the system said so with an empty line
					header, skip = false, false
					b.WriteString("\r\n")
				} else {
					skip = isTouched(strings.ToLower(strings.TrimSpace(name)))
				}
			}
		}
		if !skip {
			b.WriteString(l)
		}
	}
	return strings.TrimRight(b.String(), "\r\n")
}

func isTouched(name string) bool {
	for _, t := range touched {
		if name == t {
			return true
		}
	}
	return false
}
