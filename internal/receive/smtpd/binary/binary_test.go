package binary

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"

	"pgregory.net/rapid"

	pbmail "packetboat/internal/mail"
)

// convert gives in to a Writer in pieces of n octets.
func convert(in string, n int) (string, error) {
	var out bytes.Buffer
	w := NewWriter(&out)
	for len(in) > 0 {
		k := min(n, len(in))
		w.Write([]byte(in[:k]))
		in = in[k:]
	}
	err := w.Close()
	return out.String(), err
}

func TestConvert(t *testing.T) {
	long := strings.Repeat("\xfe\n", 5000)
	for _, c := range []struct{ name, in, out string }{
		{"text stays", "A: b\r\n\r\nhi\r\n", "A: b\n\nhi\n"},
		{"no header", "hi\r\n", "hi\n"},
		{"nothing", "", ""},
		{"header alone", "Content-Transfer-Encoding: binary\r\n", "Content-Transfer-Encoding: base64\n"},
		{"empty body", "Content-Transfer-Encoding: binary\r\n\r\n", "Content-Transfer-Encoding: base64\n\n"},
		{"no end of line", "Content-Transfer-Encoding: binary\r\n\r\na\r", "Content-Transfer-Encoding: base64\n\nYQ0=\n"},
		{"a line end at the end", "Content-Transfer-Encoding: binary\r\n\r\na\r\n", "Content-Transfer-Encoding: base64\n\nYQ0K\n"},
		{"folded field", "Content-Transfer-Encoding:\r\n binary\r\nA: b\r\n\r\n\n", "A: b\nContent-Transfer-Encoding: base64\n\nCg==\n"},
		{"another encoding", "content-transfer-encoding : 8bit\r\nA:  b\r\n\r\nx\r\n", "A:  b\ncontent-transfer-encoding : 8bit\n\nx\n"},
		{"two encodings", "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: binary\r\n\r\nx", "Content-Transfer-Encoding: base64\n\neA==\n"},
		{"message inside", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nContent-Transfer-Encoding: binary\r\nB: c\r\n\r\n\x00\n",
			"Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nB: c\nContent-Transfer-Encoding: base64\n\nAAo=\n"},
		{"header without an empty line", "Content-Transfer-Encoding: binary\r\nx\r\n", "Content-Transfer-Encoding: base64\n\neA0K\n"},
		{"no boundary at the end", "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x01\r\n",
			"Content-Type: multipart/x; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\nAQ0K\n"},
		{"stray CR in text", "A: b\rc\r\n\r\nd\re\r\r\n", "A: b c\n\nd e \n"},
		{"long binary line", "Content-Transfer-Encoding: binary\r\n\r\n" + long, "Content-Transfer-Encoding: base64\n\n" + lines(base64.StdEncoding.EncodeToString([]byte(long)))},
		{"long line of text", "A: " + strings.Repeat("x", 9000) + "\r\n\r\n" + strings.Repeat("y", 9000), "A: " + strings.Repeat("x", 9000) + "\n\n" + strings.Repeat("y", 9000) + "\n"},
	} {
		for _, n := range []int{1, 2, 7, 1000, 1 << 20} {
			out, err := convert(c.in, n)
			if out != c.out || err != nil {
				t.Errorf("%s in pieces of %d: %.300q %v, want %.300q", c.name, n, out, err, c.out)
			}
		}
	}
}

func lines(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(76, len(s))
		b.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	return b.String()
}

// TestRefused: what cannot be understood is refused for good, and holds no memory.
func TestRefused(t *testing.T) {
	var deep strings.Builder
	for i := range 200 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for _, in := range []string{deep.String(), "Content-Transfer-Encoding: " + strings.Repeat("x\r\n ", 5000) + "\r\n\r\n"} {
		_, err := convert(in, 1000)
		var st *pbmail.Status
		if !errors.As(err, &st) || st.Temporary() || st.Code != "5.6.0" {
			t.Errorf("%.40q: %v", in, err)
		}
	}
	w := NewWriter(failing{})
	w.Write([]byte("x\r\n"))
	if err := w.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("an error of the queue file is lost: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestProperty: every part comes out as it went in, whatever octets it holds, and
// whatever pieces the message comes in. The reader is one that others wrote.
func TestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]string{"\r\n", "\n", "\r", "--b", "\n--b--\n", "x", "\x00", "\xff", "A: b", "=", "."}), 0, 12), 1, 5).Draw(t, "parts")
		var in strings.Builder
		in.WriteString("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n")
		var want []string
		for _, p := range parts {
			text := strings.Join(p, "")
			if strings.HasPrefix(text, "--b") || strings.Contains(text, "\r\n--b") {
				continue // a boundary: nobody may send that
			}
			want = append(want, text)
			in.WriteString("--b\r\nContent-Transfer-Encoding: binary\r\n\r\n" + text + "\r\n")
		}
		in.WriteString("--b--\r\n")
		out, err := convert(in.String(), rapid.IntRange(1, 40).Draw(t, "piece"))
		if err != nil || strings.Contains(out, "\r") {
			t.Fatalf("%q %v", out, err)
		}
		if len(want) == 0 {
			return
		}
		m, err := mail.ReadMessage(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		_, params, _ := mime.ParseMediaType(m.Header.Get("Content-Type"))
		r := multipart.NewReader(m.Body, params["boundary"])
		for i, text := range want {
			p, err := r.NextPart()
			if err != nil {
				t.Fatalf("part %d: %v in %q", i, err, out)
			}
			got, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
			if string(got) != text || err != nil {
				t.Fatalf("part %d is %q (%v), was %q", i, got, err, text)
			}
		}
		if _, err := r.NextPart(); err != io.EOF {
			t.Fatalf("there are more parts: %v", err)
		}
	})
}

// FuzzWriter: whatever comes, no CR goes out, the memory stays bounded and pieces
// make no difference.
func FuzzWriter(f *testing.F) {
	for _, s := range []string{"Content-Transfer-Encoding: binary\r\n\r\na\n\r\n\r", "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n--b--\r\n",
		"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\nA: b\r\n\r\n", "\r\r\n\n \r\n", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(1, min(n, 5000))
		out, err := convert(s, n)
		whole, err2 := convert(s, len(s)+1)
		if out != whole || (err == nil) != (err2 == nil) {
			t.Fatalf("pieces matter: %q %v, %q %v", out, err, whole, err2)
		}
		if strings.Contains(out, "\r") {
			t.Fatalf("CR in %q", out)
		}
	})
}
