package pieces

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is spliced, the view reads as a string that was spliced likewise.
func TestSplice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.StringMatching(`[a-z]{0,40}`).Draw(rt, "text")
		tab := New(strings.NewReader(want), int64(len(want)))
		changed := false
		for range rapid.IntRange(0, 12).Draw(rt, "changes") {
			off := rapid.IntRange(0, len(want)).Draw(rt, "off")
			cut := rapid.IntRange(0, len(want)-off).Draw(rt, "cut")
			in := rapid.StringMatching(`[A-Z]{0,8}`).Draw(rt, "in")
			old := tab.Reader(0)
			tab.Splice(int64(off), int64(cut), strings.NewReader(in), int64(len(in)))
			changed = changed || cut > 0 || in != ""
			if b, err := io.ReadAll(old); string(b) != want || err != nil {
				rt.Fatalf("a reader sees later changes: %q, want %q", b, want)
			}
			want = want[:off] + in + want[off+cut:]
		}
		from := rapid.IntRange(0, len(want)).Draw(rt, "from")
		got, err := io.ReadAll(tab.Reader(int64(from)))
		if err != nil || string(got) != want[from:] || tab.Size() != int64(len(want)) || tab.Changed() != changed {
			rt.Fatalf("got %q %v size %d changed %v, want %q", got, err, tab.Size(), tab.Changed(), want[from:])
		}
	})
}

// A source that is shorter than it was said to be is an error, not an end.
func TestTorn(t *testing.T) {
	tab := New(bytes.NewReader([]byte("abc")), 5)
	if b, err := io.ReadAll(tab.Reader(0)); err != io.ErrUnexpectedEOF || string(b) != "abc" {
		t.Errorf("%q %v", b, err)
	}
	if tab.Splice(9, 9, nil, 0); tab.Size() != 5 || tab.Pieces() != 1 {
		t.Errorf("cut outside of the text: size %d", tab.Size())
	}
}
