package trigram

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestHolds: a filter never denies what the text has, however it was cut into
// pieces, and denies most of what it has not.
func TestHolds(t *testing.T) {
	b := new(Builder)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "text")
		b.Reset(rapid.Int64Range(0, 20000).Draw(t, "octets"))
		for from := 0; ; {
			to := min(from+rapid.IntRange(3, 700).Draw(t, "piece"), len(text))
			b.Add(text[from:to])
			if to == len(text) {
				break
			}
			from = to - 2
		}
		filter := b.Append(nil)
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		needle := string(text[from:rapid.IntRange(from, len(text)).Draw(t, "to")])
		if !MayHold(filter, needle) {
			t.Fatalf("%d octets: %q is denied", len(text), needle)
		}
	})
	b.Reset(1 << 20)
	b.Add([]byte(strings.Repeat("the quick brown fox jumps over the lazy dog ", 50)))
	filter, denied := b.Append(nil), 0
	for _, w := range []string{"zebra", "needle", "packet", "mailbox", "filter", "fox jumped", "lazier", "quack"} {
		if !MayHold(filter, w) {
			denied++
		}
	}
	if denied < 7 || len(filter) > 64 {
		t.Errorf("%d of 8 strange words are denied by %d octets", denied, len(filter))
	}
}

// TestNone: what is no filter, and text too short for one, hold everything.
func TestNone(t *testing.T) {
	for _, f := range [][]byte{nil, {1}, make([]byte, 63), make([]byte, 96)} {
		if !MayHold(f, "needle") {
			t.Errorf("a filter of %d octets denies", len(f))
		}
	}
	if !MayHold(make([]byte, 64), "ab") || MayHold(make([]byte, 64), "abc") {
		t.Error("an empty filter")
	}
}

func BenchmarkAdd(b *testing.B) {
	text := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog ", 400))
	x := new(Builder)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		x.Add(text)
	}
}
