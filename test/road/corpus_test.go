package road

import (
	"bytes"
	"fmt"
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
// delivery adds and removes. The envelope sender says which mail it was.
func TestCorpus(t *testing.T) { throughAndBack(t, corpus(t)) }

// TestCorpusMaildir is TestCorpus over Maildirs.
func TestCorpusMaildir(t *testing.T) {
	t.Setenv("SANDBOX_MAIL", "maildir:~/Maildir")
	throughAndBack(t, corpus(t))
}

func throughAndBack(t *testing.T, files []string) {
	s := sandbox.Start(t)
	// Headers of local clients are completed (local_header_rewrite_clients of
	// postconf(5)); a stranger's are not, and those are meant here.
	if out, err := s.Command("postconf", "-e", "local_header_rewrite_clients=").CombinedOutput(); err != nil {
		t.Fatalf("postconf: %v\n%s", err, out)
	}
	s.Stop()
	s.Start()
	for _, way := range []struct {
		user  string
		lines func(body []byte) []byte // what the way in does to line ends
		send  func(from string, body []byte) error
	}{
		{"alice", withoutCRs, func(from string, body []byte) error {
			cmd := s.Command("sendmail", "-i", "-G", "-f", from, "alice@sandbox.test")
			cmd.Stdin = bytes.NewReader(body)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}},
		{"bob", bytes.Clone, func(from string, body []byte) error {
			return plainSMTP(s.Addr(25), from, "bob@sandbox.test", canonical(body))
		}},
	} {
		t.Run(way.user, func(t *testing.T) {
			sent := map[string][]byte{}
			for i, f := range files {
				body, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				from := fmt.Sprintf("c%d@example.org", i)
				if err := way.send(from, body); err != nil {
					t.Errorf("%s: %v", filepath.Base(f), err)
					continue
				}
				if strings.HasSuffix(f, "-stack-overflow.txt") {
					continue // a To: of 139 kB: header_size_limit (102400) cuts it, as Postfix does
				}
				sent[from] = canonical(way.lines(body))
			}
			s.Drained(60 * time.Second)
			compare(t, s, way.user, sent)
		})
	}
}

// withoutCRs takes every CR at the end of a line away, as sendmail does.
func withoutCRs(body []byte) []byte {
	body = bytes.TrimRight(body, "\r")
	for bytes.Contains(body, []byte("\r\n")) {
		body = bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	}
	return body
}

// canonical gives body CRLF line ends, the last line too.
func canonical(body []byte) []byte {
	body = bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	// A stray CR is no line end and never travels: it becomes a space.
	body = bytes.ReplaceAll(body, []byte{'\r'}, []byte{' '})
	if len(body) > 0 && body[len(body)-1] != '\n' {
		body = append(body, '\n')
	}
	// IMAP cannot show NUL (RFC 9051 section 4.3): it stands there as 0x80, as in Dovecot.
	body = bytes.ReplaceAll(body, []byte{0}, []byte{0x80})
	return bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))
}

// compare finds each sent mail among what IMAP and POP3 show.
func compare(t *testing.T, s *sandbox.Sandbox, user string, sent map[string][]byte) {
	t.Helper()
	got := inbox(t, s, user)
	if len(got) != len(sent)+1 {
		t.Errorf("sent %d, IMAP shows %d", len(sent), len(got))
	}
	p := popLogin(t, s, user)
	changed, seen := 0, map[string]bool{}
	for i, m := range got {
		if q := bytes.ReplaceAll(p.message(i+1), []byte{0}, []byte{0x80}); !bytes.Equal(q, m) {
			t.Errorf("message %d: IMAP and POP3 disagree: %s", i+1, difference(string(m), string(q)))
		}
		from, _, _ := strings.Cut(strings.TrimPrefix(string(m), "Return-Path: <"), ">")
		if sent[from] == nil && from != "" && !seen[from] {
			seen[from] = true // one that cannot come back whole, see above
			continue
		}
		if seen[from] || sent[from] == nil {
			t.Errorf("message %d: from %q twice or unknown", i+1, from)
			continue
		}
		seen[from] = true
		if a, b := normal(sent[from]), normal(m); a != b {
			if changed++; changed <= 12 {
				t.Errorf("mail %s came back changed: %s", from, difference(a, b))
			}
		}
	}
	t.Logf("%d mails of %d came back as they were sent", len(seen)-changed, len(sent))
}

// difference shows where two texts part.
func difference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-60)
	return fmt.Sprintf("at %d of %d and %d:\n%q\n%q", i, len(a), len(b), a[from:min(len(a), i+60)], b[from:min(len(b), i+60)])
}

// touched are header fields that delivery adds or must remove.
var touched = []string{"return-path", "x-original-to", "delivered-to", "received", "status", "x-status", "x-keywords",
	"x-uid", "x-imap", "x-imapbase", "content-length", "lines", "bcc", "resent-bcc", "message-id", "date", "from", "x-mailbox-line"}

// normal cuts the header fields off that delivery touches, and the trailing
// empty lines of the body, which an mbox cannot tell apart from its own. What
// cannot be a header field ends the header, as it does for the system.
func normal(m []byte) string {
	var b strings.Builder
	skip, header := false, true
	for _, l := range strings.SplitAfter(string(m), "\r\n") {
		switch {
		case !header:
		case l == "\r\n":
			header, skip = false, false
		case strings.HasPrefix(l, "From ") && b.Len() == 0:
			continue // an mbox's From_ line; over SMTP it comes back as X-Mailbox-Line
		case l != "" && (l[0] == ' ' || l[0] == '\t') && (b.Len() > 0 || skip):
		default:
			name, value, ok := strings.Cut(l, ":")
			name = strings.TrimRight(name, " \t") // cleanup(8) takes blanks before the colon away
			if !ok || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
				header, skip = false, false
				b.WriteString("\r\n")
				break
			}
			skip, l = isTouched(strings.ToLower(name)), name+":"+value
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
