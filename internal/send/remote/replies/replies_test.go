package replies

import "testing"

func FuzzReplyLine(f *testing.F) {
	for _, s := range []string{"250 ok", "250-ok", "250", "2", "550 5.1.1 x", "999 x", "250x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		code, _, ok := Parse(b)
		if ok && (code < 200 || code > 599) {
			t.Fatalf("%q: code %d", b, code)
		}
		if e := Enhanced(b); e != "" && e[0] != b[0] {
			t.Fatalf("%q: %q", b, e)
		}
	})
}
