package convert

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mime/quotedprintable"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
	"packetboat/internal/route/checks"
	"packetboat/internal/route/table"
)

// open returns checks whose table has the given lines.
func open(t *testing.T, param, text string) *checks.Maps {
	t.Helper()
	path := filepath.Join(t.TempDir(), param)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := checks.Open(param, []string{"regexp:" + path}, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const headerTable = `/^X-Ignore:/ IGNORE
/^X-Strip:/ STRIP gone
/^X-Replace:/ REPLACE X-New: replaced
/^X-Prepend:/ PREPEND X-Before: prepended
/^X-Warn:/ WARN be careful
/^X-Info:/ INFO
/^X-Reject:/ REJECT no
/^X-Hold:/ HOLD
/^X-Bad:/ FROB x
/^X-Dunno:/ DUNNO
`

// What Postfix 3.7 made of testdata/message.eml, for a host without 8BITMIME, and
// what it wrote into its log.
func TestLikePostfix(t *testing.T) {
	var log strings.Builder
	o := Options{
		Header: open(t, "smtp_header_checks", headerTable),
		MIME:   open(t, "smtp_mime_header_checks", "/^Content-Disposition:/ REPLACE Content-Disposition: inline\n"),
		Nested: open(t, "smtp_nested_header_checks", "/^X-Nested:/ REPLACE X-Nested: seen\n"),
		Body:   open(t, "smtp_body_checks", "/^secret/ REPLACE public\n/^gone/ IGNORE\n/^before/ PREPEND put before\n/^warnme/ WARN body text\n/^strip/ STRIP why\n"),
		Generic: func(a mail.Address) (mail.Address, error) {
			local, domain := a.Split()
			switch {
			case strings.HasPrefix(local, "alice") && domain == "mail.example.org":
				return "alice.public@example.com", nil
			case a == "bob@mail.example.org":
				return "robert@example.com", nil
			case domain == "hidden.example.org":
				return mail.Address(local + "@example.net"), nil
			}
			return a, nil
		},
		Action: func(action, where, line, text string) {
			if text != "" {
				text = ": " + text
			}
			log.WriteString(action + ": " + where + " " + line + text + "\n")
		},
		Warn: func(text string) { log.WriteString("warning: " + text + "\n") },
	}
	in, err := os.ReadFile("testdata/message.eml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(New(context.Background(), bytes.NewReader(in), o, true))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "postfix.eml", string(got))
	compare(t, "postfix.log", log.String())
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	w, g := strings.Split(string(b), "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			t.Fatalf("%s line %d:\n got %q\nwant %q", file, i+1, b, a)
		}
	}
}

// What says nothing of 8-bit text passes through without a change.
func TestUntouched(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := rapid.StringMatching(`((--a(--)?|[A-C]: x| y|Content-Type: (message/rfc822|multipart/mixed; boundary=a)|z{0,9})?\n){0,12}`).Draw(rt, "in")
		got, err := io.ReadAll(New(context.Background(), strings.NewReader(in), Options{}, true))
		if err != nil || string(got) != in {
			rt.Fatalf("got %q, %v\nwant %q", got, err, in)
		}
	})
}

// What was encoded is the same once it is decoded, and no line is too long.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		body := strings.ReplaceAll(string(rapid.SliceOfN(rapid.Byte(), 0, 6000).Draw(rt, "body")), "\r", "") + "\n"
		in := "Content-Transfer-Encoding: 8bit\nContent-Type: text/plain\n\n" + body
		got, err := io.ReadAll(New(context.Background(), strings.NewReader(in), Options{}, true))
		if err != nil {
			rt.Fatal(err)
		}
		_, enc, _ := strings.Cut(string(got), "\n\n")
		for line := range strings.Lines(enc) {
			if len(line) > 77 {
				rt.Fatalf("%d octets: %q", len(line), line)
			}
		}
		dec, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(enc)))
		if err != nil || string(dec) != body {
			rt.Fatalf("%q became %q, %v", body, dec, err)
		}
	})
}

func FuzzConvert(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"a\\\"b\"\nContent-Transfer-Encoding: 8bit\n\n--a\nX: y\n\n--a--\n"))
	f.Add([]byte(strings.Repeat("x", 5000)))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := io.ReadAll(New(context.Background(), bytes.NewReader(in), Options{}, true))
		if err == nil && len(out) > 4*len(in)+1000 {
			t.Errorf("%d octets became %d", len(in), len(out))
		}
	})
}
