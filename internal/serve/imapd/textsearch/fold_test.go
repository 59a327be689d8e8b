package textsearch

import (
	"testing"

	"pgregory.net/rapid"
)

// TestFoldInto holds that folding piece by piece is folding.
func TestFoldInto(t *testing.T) {
	words := []string{"A", "e\u0301\u0323", "\u00c4", "\u0130", "\ufb01", "\u1e9e", "\u0323\u0301", "\xff\xfe", "\xe2\x82", "Z ", "\uac00", "\u03a3", "\u212b", "@[`{", "\u0439", "\u1e0b\u0323", "\u2026", "\u2028", "\u0344", "\u0958", "\u06e4\u0654"}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(words)-1)).Draw(t, "words") {
			text += words[i]
		}
		if got, want := string(new(folder).fold(nil, []byte(text))), Fold(text); got != want {
			t.Fatalf("%q becomes %q, want %q", text, got, want)
		}
	})
}
