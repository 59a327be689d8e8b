package stream

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// decodeAll feeds s in pieces of n bytes and returns what was written, what was
// left behind the end, and whether there was an end.
func decodeAll(s string, n int, limit int64) (out, rest string, d *Decoder, done bool) {
	var b bytes.Buffer
	d = &Decoder{W: &b, Limit: limit}
	var buf []byte
	for len(s) > 0 || len(buf) > 0 {
		k := min(n, len(s))
		buf = append(buf, s[:k]...)
		s = s[k:]
		used, end := d.Decode(buf)
		buf = buf[used:]
		if end {
			return b.String(), string(buf) + s, d, true
		}
		if k == 0 {
			break
		}
	}
	return b.String(), string(buf), d, false
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct{ in, out, rest string }{
		{"a\r\n.\r\nQUIT\r\n", "a\n", "QUIT\r\n"},
		{".\r\n", "", ""},
		{"..\r\n...\r\n.x\r\n.\r\n", ".\n..\nx\n", ""},
		{"a\r\n\r\n.\r\n", "a\n\n", ""},
		{"a\n.\nb\r\n.\r\n", "a\nb\n", ""},
		{"a\n.\r\nb\r\n.\r\n", "a\nb\n", ""},
		{"a\r\n.\nb\r\n.\r\n", "a\nb\n", ""},
		{"a\r.\rb\r\n.\r\n", "a . b\n", ""},
		{"a\r\n.\r\r\nb\r\n.\r\n", "a\n \nb\n", ""},
		{"a\x00b\r\n.\x00\r\n.\r\n", "a\x00b\n\x00\n", ""},
		{"From x\r\n>From y\r\nA: b\r\n.\r\n", "X-Mailbox-Line: From x\nX-Mailbox-Line: >From y\nA: b\n", ""},
		{"A: b\r\nFrom x\r\n.\r\n", "A: b\nFrom x\n", ""},
		{" a\r\n.\r\n", "\n a\n", ""},
		{"\xff\xfe\r\n.\r\n", "\xff\xfe\n", ""},
	} {
		for _, n := range []int{1, 2, 3, 7, 1000} {
			out, rest, _, done := decodeAll(tt.in, n, 0)
			if out != tt.out || rest != tt.rest || !done {
				t.Errorf("%q in pieces of %d: %q, rest %q, done %v; want %q, rest %q", tt.in, n, out, rest, done, tt.out, tt.rest)
			}
		}
	}
}

func TestDecodeHasNoEnd(t *testing.T) {
	for _, s := range []string{"a\n.\n", "a\n.\r\n", "a\r\n.\n", "\r.\r", "a\r\n.\r\r\n", ".\x00\r\n", "\x00.\r\n", "a\r\n. \r\n", "a\r\n.\r"} {
		if out, _, _, done := decodeAll(s, 100, 0); done {
			t.Errorf("%q ended a message: %q", s, out)
		}
	}
}

func TestDecodeSize(t *testing.T) {
	// Postfix counts two octets for each line end.
	if _, _, d, _ := decodeAll("ab\r\ncd\r\n.\r\n", 100, 8); d.TooBig || d.Size != 8 {
		t.Errorf("size is %d, too big %v", d.Size, d.TooBig)
	}
	out, _, d, done := decodeAll("ab\r\ncd\r\nef\r\n.\r\n", 5, 8)
	if !d.TooBig || !done || strings.Contains(out, "ef") {
		t.Errorf("limit of 8: %q, too big %v", out, d.TooBig)
	}
}

// encode dot-stuffs lines, as a client does.
func encode(s string) string {
	var b strings.Builder
	for l := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		if strings.HasPrefix(l, ".") {
			b.WriteByte('.')
		}
		b.WriteString(l + "\r\n")
	}
	return b.String() + ".\r\n"
}

// TestDecodeProperty: what a client encodes comes back, whatever the pieces,
// by DATA and by BDAT.
func TestDecodeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[.>aF\x00 \xe4-]{0,6}`), 1, 20).Draw(t, "lines")
		text := "H: x\n" + strings.Join(lines, "\n") + "\n"
		n := rapid.IntRange(1, 50).Draw(t, "piece")
		out, rest, _, done := decodeAll(encode(text)+"NOOP\r\n", n, 0)
		if out != text || rest != "NOOP\r\n" || !done {
			t.Fatalf("DATA: got %q rest %q, want %q", out, rest, text)
		}
		if got := chunks(strings.ReplaceAll(text, "\n", "\r\n"), n); got != text {
			t.Fatalf("BDAT: got %q, want %q", got, text)
		}
	})
}

// chunks feeds s as BDAT chunks of n bytes.
func chunks(s string, n int) string {
	var b bytes.Buffer
	d := &Decoder{W: &b, Chunked: true}
	for len(s) > 0 {
		p := []byte(s[:min(n, len(s))])
		s = s[len(p):]
		used, _ := d.Decode(p)
		d.Piece(p[used:])
	}
	d.Last()
	return b.String()
}

// FuzzDecode: whatever comes, the output has no CR, a message ends only at
// CRLF.CRLF, and the pieces it comes in make no difference.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "a\n.\nb\r\n.\r\nMAIL\r\n", "\r.\r", "..\r\n", "From x\r\n\r\n.\r\n", " \r\n.\r\n", "a\r\r\n.\r\r\n.\r\n"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(1, min(n, 1000))
		out, rest, _, done := decodeAll(s, n, 0)
		out2, rest2, _, done2 := decodeAll(s, len(s)+1, 0)
		if out != out2 || rest != rest2 || done != done2 {
			t.Fatalf("pieces matter: %q %q, %q %q", out, rest, out2, rest2)
		}
		if strings.Contains(out, "\r") {
			t.Fatalf("CR in %q", out)
		}
		if done {
			used := s[:len(s)-len(rest)]
			if used != ".\r\n" && !strings.HasSuffix(used, "\r\n.\r\n") {
				t.Fatalf("message ended by %q", used[max(0, len(used)-8):])
			}
		}
		if got := chunks(s, n); strings.Contains(got, "\r") {
			t.Fatalf("CR in chunks %q", got)
		}
	})
}
