package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// readAll returns what a HeaderReader finds.
func readAll(r io.Reader, size int, l HeaderLimits) (fields []Field, blank bool, rest string, err error) {
	br := bufio.NewReaderSize(r, size)
	h := NewHeaderReader(br, l)
	for {
		f, err := h.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fields, false, "", err
		}
		f.Raw, f.Name, f.Body = bytes.Clone(f.Raw), bytes.Clone(f.Name), bytes.Clone(f.Body)
		fields = append(fields, f)
	}
	b, err := io.ReadAll(br)
	return fields, h.Blank(), string(h.Rest()) + string(b), err
}

func TestHeaderReader(t *testing.T) {
	for _, c := range []struct {
		in, fields, rest string
		blank            bool
	}{
		{"", "", "", false},
		{"\n", "", "", true},
		{"\r\nbody", "", "body", true},
		{"A: 1\nB:2\n\nbody\n", "A=1|B=2|", "body\n", true},
		{"A: 1\r\n b\r\n\tc\r\n\r\nbody", "A=1 b\tc|", "body", true},
		{"A : x\n", "A=x|", "", false},
		{"A: x", "A=x|", "", false},
		{"A: x\nno header\nB: y\n", "A=x|", "no header\nB: y\n", false},
		{" begins with a blank\nA: x\n", "", " begins with a blank\nA: x\n", false},
		{"A:\n\n", "A=|", "", true},
		{"From x y\nA: z\n\n", "", "From x y\nA: z\n\n", false},
		{"\xffA: x\n\n", "", "\xffA: x\n\n", false},
		{strings.Repeat("long", 10) + ": v\n\nb", strings.Repeat("long", 10) + "=v|", "b", true},
		{strings.Repeat("long", 10) + "\n\nb", "", strings.Repeat("long", 10) + "\n\nb", false},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			fields, blank, rest, err := readAll(r, 16, HeaderLimits{})
			var b strings.Builder
			for _, f := range fields {
				b.WriteString(string(f.Name) + "=" + f.Value() + "|")
			}
			if err != nil || b.String() != c.fields || blank != c.blank || rest != c.rest {
				t.Errorf("%q: got %s blank=%v rest=%q err=%v", c.in, b.String(), blank, rest, err)
			}
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	in := "A: " + strings.Repeat("x", 1000) + "\nB: y\n\nbody"
	fields, blank, rest, err := readAll(strings.NewReader(in), 64, HeaderLimits{Field: 100})
	if err != nil || len(fields) != 2 || !blank || rest != "body" {
		t.Fatalf("%d fields, blank %v, rest %q, %v", len(fields), blank, rest, err)
	}
	if !fields[0].Truncated || len(fields[0].Raw) > 100 || fields[1].Value() != "y" {
		t.Errorf("field of %d octets, truncated %v", len(fields[0].Raw), fields[0].Truncated)
	}
	fields, _, _, err = readAll(strings.NewReader(strings.Repeat("A: b\n", 1000)), 64, HeaderLimits{Header: 100})
	if err != nil || len(fields) > 30 {
		t.Errorf("%d fields over the limit of the header: %v", len(fields), err)
	}
}

func TestHeaderReadError(t *testing.T) {
	broken := errors.New("broken")
	_, _, _, err := readAll(io.MultiReader(strings.NewReader("A: b\nB: "), iotest.ErrReader(broken)), 64, HeaderLimits{})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// The bytes of all fields, the separator and the rest are the input.
func TestHeaderBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching(`([A-Z][a-z-]{0,3} ?: ?[ -~]{0,40}\r?\n([ \t][!-~]{0,20}\r?\n){0,2}){0,5}(\r?\n)?[ -~\n]{0,20}`).Draw(t, "message")
		fields, blank, rest, err := readAll(strings.NewReader(in), 16, HeaderLimits{})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, f := range fields {
			b.Write(f.Raw)
		}
		got := b.String() + rest
		if blank {
			at := len(b.String())
			if got != in[:at]+strings.TrimPrefix(strings.TrimPrefix(in[at:], "\r"), "\n") {
				t.Fatalf("%q became %q", in, got)
			}
			return
		}
		if got != in {
			t.Fatalf("%q became %q", in, got)
		}
	})
}

func FuzzHeaderReader(f *testing.F) {
	f.Add([]byte("A: b\r\n c\r\n\r\nbody"))
	f.Add([]byte("A : b\nno\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, _, err := readAll(bytes.NewReader(in), 16, HeaderLimits{Field: 64, Header: 256})
		if err != nil {
			t.Fatal(err)
		}
	})
}
