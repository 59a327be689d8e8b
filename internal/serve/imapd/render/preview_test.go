package render

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPreview(t *testing.T) {
	for _, c := range []struct{ subtype, in, want string }{
		{"plain", "Hello\r\n\r\n  there\tyou \r\n", "Hello there you"},
		{"plain", "> quoted\r\nmine\r\n", "mine"},
		{"plain", "> quoted\r\n", "> quoted"},
		{"html", "<html><head><title>x</title></head><style>p{}</style><p>a&amp;b<br>c<!-- no --></p>", "a&b c"},
		{"html", "<", ""}, {"html", "<>x</>", "x"}, {"html", "a < b", "a"},
		{"plain", strings.Repeat("x", 500), strings.Repeat("x", 200)},
		{"plain", "\xff", "\uFFFD"}, {"plain", "", ""},
	} {
		if got := string(Preview([]byte(c.in), c.subtype)); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzPreview(f *testing.F) {
	f.Add([]byte("<a <b> <!-- <script>"), true)
	f.Add([]byte("> a\n\xff\x00b"), false)
	f.Fuzz(func(t *testing.T, in []byte, html bool) {
		got := Preview(in, map[bool]string{true: "html", false: "plain"}[html])
		if !utf8.Valid(got) || utf8.RuneCount(got) > 200 {
			t.Errorf("%q", got)
		}
	})
}
