package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// tree writes a message's structure as text.
func tree(p *Part) string {
	s := fmt.Sprintf("%s/%s %d+%d+%d/%d", p.Type, p.Subtype, p.Pos, p.HeaderSize, p.BodySize, p.Lines)
	for _, c := range p.Children {
		s += " (" + tree(c) + ")"
	}
	return s
}

func TestTree(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "text/plain 0+0+0/0",
		"\n":                          "text/plain 0+2+0/0",
		"a: b\n\nx\ny":                "text/plain 0+8+4/1",
		"a: b":                        "text/plain 0+4+0/0",
		"Content-Type: text/html\n\n": "text/html 0+27+0/0",
		"Content-Type: multipart/x; boundary=b\n\npre\n--b\n\none\n--b\nA: b\n\ntwo\n\n--b--\nepi\n": "multipart/x 0+41+49/11 (text/plain 51+2+3/0) (text/plain 63+8+5/1)",
		"Content-Type: message/rfc822\n\nSubject: x\n\nbody\n":                                       "message/rfc822 0+32+20/3 (text/plain 32+14+6/1)",
		"Content-Type: multipart/digest; boundary=b\n\n--b\n\nS: x\n\nbody\n--b--\n":                 "multipart/digest 0+46+28/6 (message/rfc822 51+2+12/2 (text/plain 53+8+4/0))",
		"Content-Type: text; x\n\n": "/ 0+25+0/0",
	} {
		p, err := Parse(strings.NewReader(crlf(in)))
		if got := tree(p); err != nil || got != want {
			t.Errorf("%q:\n got %s\nwant %s (%v)", in, got, want, err)
		}
	}
}

// TestChunks: how the octets arrive makes no difference.
func TestChunks(t *testing.T) {
	in := crlf("Subject: a\n folded\nContent-Type: multipart/mixed; boundary=\"b b\"\n\n--b b\nContent-Type: message/rfc822\n\nFrom: x\n\n" +
		strings.Repeat("a long line of a body ", 3000) + "\n--b b\n\n--b b--\n")
	whole, _ := Parse(strings.NewReader(in))
	one, _ := Parse(oneByte{strings.NewReader(in)})
	if tree(whole) != tree(one) {
		t.Errorf("%s\n%s", tree(whole), tree(one))
	}
	if string(whole.Envelope.Subject) != "a\n folded" {
		t.Errorf("%q", whole.Envelope.Subject)
	}
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

// TestLimits: what is too much is left out, and does not take time or memory.
func TestLimits(t *testing.T) {
	var nested strings.Builder
	for i := range 300 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=b%dx\r\n\r\n--b%dx\r\n", i, i)
	}
	p, err := Parse(strings.NewReader(nested.String()))
	if d := depth(p); err != nil || d > MaxNesting+1 {
		t.Errorf("%d levels, %v", d, err)
	}
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", 50000)
	if p, _ = Parse(strings.NewReader(many)); len(p.Children) > MaxParts {
		t.Errorf("%d parts", len(p.Children))
	}
	params := "Content-Type: text/plain" + strings.Repeat("; name*1=x", 100000) + "\r\n\r\n"
	if p, _ = Parse(strings.NewReader(params)); len(p.Params) > maxField {
		t.Errorf("%d parameters", len(p.Params))
	}
	if _, err = Parse(broken{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if _, err = Parse(lazy{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

type lazy struct{}

func (lazy) Read([]byte) (int, error) { return 0, nil }

func depth(p *Part) (d int) {
	for _, c := range p.Children {
		d = max(d, depth(c))
	}
	return d + 1
}

// addresses writes an address field as Dovecot shows it.
func addresses(field string) string {
	var b strings.Builder
	text := func(x []byte) string {
		if x == nil {
			return "-"
		}
		return string(x)
	}
	EachEnvAddress([]byte(field), func(a EnvAddress) bool {
		fmt.Fprintf(&b, "[%s|%s|%s|%s]", text(a.Name), text(a.Route), text(a.Mailbox), text(a.Host))
		return true
	})
	return b.String()
}

// TestEnvAddresses: the answers are Dovecot 2.3.19's to the same fields.
func TestEnvAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"a@b":                      "[-|-|a|b]",
		"A B <a@b>, c@d (C)":       "[A B|-|a|b][C|-|c|d]",
		`"A, B" <a@b>`:             "[A, B|-|a|b]",
		"g: a@b, c@d;":             "[-|-|g|-][-|-|a|b][-|-|c|d][-|-|-|-]",
		"undisclosed-recipients:;": "[-|-|undisclosed-recipients|-][-|-|-|-]",
		"undisclosed-recipients;;": "[-|-|undisclosed-recipients|MISSING_DOMAIN]",
		"Mary Smith":               "[Mary Smith|-|MISSING_MAILBOX|MISSING_DOMAIN]",
		"M <@x.y:m@z>, , j@t . e":  "[M|@x.y|m|z][-|-|MISSING_MAILBOX|MISSING_DOMAIN][-|-|j|t.e]",
		"<U:@m.com;>":              "[-|-|U|SYNTAX_ERROR]",
		"a@b c@d":                  "[-|-|a|b]",
		"s..p@e.com":               "[-|-|s..p|e.com]",
	} {
		if got := addresses(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestSizesAddUp: header and body of every part lie within its parent, one
// behind the other.
func TestSizesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.SampledFrom([]string{
			"--b", "--b--", "--c", "--c--", "", "text", "Content-Type: multipart/mixed; boundary=b", "Content-Type: multipart/digest; boundary=\"c\"",
			"Content-Type: message/rfc822", "Content-Type: text/plain", "Subject: x", " folded", "--bc",
		})).Draw(t, "lines")
		in := strings.Join(lines, "\r\n")
		p, err := Parse(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if p.HeaderSize+p.BodySize != int64(len(in)) {
			t.Fatalf("%d octets, but %s", len(in), tree(p))
		}
		within(t, p)
	})
}

func within(t *rapid.T, p *Part) {
	pos := p.BodyPos()
	for _, c := range p.Children {
		end := c.BodyPos() + c.BodySize
		if c.Pos < pos || end > p.BodyPos()+p.BodySize || c.HeaderSize < 0 || c.BodySize < 0 || c.Lines < 0 {
			t.Fatal(tree(p))
		}
		pos = end
		within(t, c)
	}
}

// FuzzMIME: any octets have a tree, and its root covers them all.
func FuzzMIME(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: text/plain; name*0*=utf-8''a; name*1=b; x=\"\\\r\n"))
	f.Add([]byte("From: \"a\" (b (c)) <@d:e@[f]>, g: h;\r\nContent-Disposition: x; y\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := Parse(bytes.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if p.HeaderSize+p.BodySize != int64(len(in)) {
			t.Fatalf("%d octets, but %s", len(in), tree(p))
		}
		for _, field := range [][]byte{p.Envelope.From, p.Envelope.To, in} {
			EachEnvAddress(field, func(EnvAddress) bool { return true })
		}
	})
}
