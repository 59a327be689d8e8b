package checks

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/route/table"
)

// What tables answer, and what is wrong with it, in Postfix's words.
func TestFind(t *testing.T) {
	for value, want := range map[string]string{
		"REJECT": "7 5.7.1 message content rejected", "reject go away": "7 5.7.1 go away", "REJECT 4.2.1 later": "7 4.2.1 later",
		"REJECT 5.1234.1 odd": "7 5.7.1 5.1234.1 odd", "REJECT 2.0.0 x": "7 4.0.0 x!bad DSN action in 2.0.0 x -- need 4.x.x or 5.x.x",
		"FILTER": "0 !missing FILTER command argument in header_checks map", "FILTER x": "0 !bad FILTER command x in header_checks -- need transport:destination",
		"FILTER smtp:x": "11 smtp:x", "PREPEND X: y": "4 X: y", "PREPEND x": "0 !bad PREPEND header text \"x\" in header_checks map -- need \"headername: headervalue\"",
		"REPLACE": "0 !REPLACE action without text in header_checks map", "REDIRECT a": "0 !bad REDIRECT target \"a\" in header_checks map -- need user@domain",
		"BCC a@b": "13 a@b", "OK": "0 ", "DUNNO x": "0 x", "nonsense": "0 !unknown command in header_checks map: nonsense",
	} {
		m, err := Open("header_checks", []string{"static:{" + value + "}"}, table.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a, warning, err := m.Find(context.Background(), "Subject: x")
		got := fmt.Sprintf("%d %s", a.Verb, a.Text)
		if warning != "" {
			got += "!" + warning
		}
		if err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", value, got, err, want)
		}
	}
	if a, w, err := (*Maps)(nil).Find(context.Background(), "x"); a != (Action{}) || w != "" || err != nil {
		t.Error("no tables match something")
	}
	m, err := Open("body_checks", []string{"fail:x"}, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Find(context.Background(), "x"); err == nil {
		t.Error("a table that fails says nothing")
	}
}

// seen is a Sink that writes down what it is given.
type seen struct {
	text   bytes.Buffer // fields and lines as they were
	notes  []string
	faults Fault
}

func (s *seen) MIMEField(class Class, field []byte) {
	s.notes = append(s.notes, fmt.Sprintf("%d:%s", class, field))
	s.text.Write(append(field[:len(field):len(field)], '\n'))
}

func (s *seen) MIMELine(line []byte, full bool, _ int64) {
	s.text.Write(line)
	if full {
		s.text.WriteByte('\n')
	}
}

func (s *seen) MIMEFault(f Fault, _ []byte) { s.faults |= f }

// walk gives a body to a Walker, its lines in pieces of n octets at most.
func walk(o MIMEOptions, ctype, body string, n int) *seen {
	s := &seen{}
	w := NewWalker(o, s)
	w.Primary([]byte("Content-Type: " + ctype))
	w.EndPrimary(true)
	w.Line(nil, true)
	for line := range strings.Lines(body) {
		line, full := strings.CutSuffix(line, "\n")
		for len(line) >= n {
			w.Line([]byte(line[:n]), false)
			line = line[n:]
		}
		w.Line([]byte(line), full)
	}
	w.End()
	return s
}

func TestWalker(t *testing.T) {
	for _, c := range []struct{ ctype, body, want string }{
		{"text/plain", "X: y\n\nz\n", ""},
		{"multipart/mixed; boundary=a", "pre: x\n--a\nA: 1\n 2\n\nB: no\n--a \nC : 3\nno header\nD: no\n--a--\nE: no\n", "1:A: 1\n 2 1:C: 3"},
		{"multipart/mixed; boundary=\"a b\" (c)", "--a b\nX: 1\n\n", "1:X: 1"},
		{"message/rfc822", "S: 1\nContent-Type: multipart/x; boundary=q\n\n--q\nT: 2\n\n--q--\n", "2:S: 1 2:Content-Type: multipart/x; boundary=q 1:T: 2"},
		{"multipart/digest; boundary=d", "--d\n\nS: 1\n\nx\n--d--\n", "2:S: 1"},
		{"multipart/mixed; boundary=a", "--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nX: 1\n\n--a\nY: 2\n\n", "1:Content-Type: multipart/mixed; boundary=b 1:X: 1 1:Y: 2"},
		{"message/partial", "S: 1\n\n", ""}, {"x; boundary=a", "--a\nX: 1\n\n", ""},
	} {
		s := walk(MIMEOptions{}, c.ctype, c.body, 2048)
		if got := strings.Join(s.notes, " "); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.ctype, c.body, got, c.want)
		}
	}
	deep := ""
	for i := range 40 {
		deep += fmt.Sprintf("--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", i, i+1)
	}
	if s := walk(MIMEOptions{Nesting: 20, Report: FaultNesting}, "multipart/mixed; boundary=b0", deep, 2048); s.faults != FaultNesting {
		t.Errorf("faults %v", s.faults)
	}
}

// Nothing of a body is lost or added, but blanks before a colon.
func TestWalkerKeeps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.StringMatching(`((--a(--)?|[A-C]: x| y|Content-Type: (message/rfc822|multipart/mixed; boundary=b)|--b|z{0,9})?\n){0,12}`).Draw(rt, "body")
		n := rapid.IntRange(5, 3000).Draw(rt, "piece")
		if got := walk(MIMEOptions{}, "multipart/mixed; boundary=a", body, n).text.String(); got != "\n"+body {
			rt.Fatalf("got %q\nwant %q", got, "\n"+body)
		}
	})
}

func FuzzWalker(f *testing.F) {
	f.Add("multipart/mixed; boundary=\"a\\\"b\"", "--a\nX: y\n\n--a--\n")
	f.Add("message/rfc822 (((", "Content-Type: multipart/;;;boundary==\n")
	f.Fuzz(func(t *testing.T, ctype, body string) {
		s := walk(MIMEOptions{Nesting: 3, Header: 100, Report: 15}, ctype, body, 50)
		if s.text.Len() > 2*len(body)+100 {
			t.Errorf("%d octets became %d", len(body), s.text.Len())
		}
	})
}
