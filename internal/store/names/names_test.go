package names

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/store"
)

func TestOnDisk(t *testing.T) {
	for name, want := range map[string]string{
		"Entwürfe": "Entw&APw-rfe", "A & B": "A &- B", "Lists/go": "Lists/go", "台北": "&U,BTFw-", "📬": "&2D3c7A-",
		"..": "", "a/../b": "", "/x": "", "x/": "", ".hidden": "", "~x": "", "a\x00": "", "box.lock": "", "*": "", strings.Repeat("x", 300): "",
	} {
		got, err := OnDisk(name)
		if got != want || (want == "") != errors.Is(err, store.ErrBadName) {
			t.Errorf("%.20q: %q %v, want %q", name, got, err, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "name")
		if got, ok := Decode(Encode(s)); !ok || got != s {
			t.Fatalf("%q: %q %v", s, got, ok)
		}
		raw := rapid.StringMatching(`[a-z&A-Z,+-]{0,12}`).Draw(t, "raw")
		if name, ok := Decode(raw); ok && Encode(name) != raw {
			t.Fatalf("%q and %q are one name", raw, Encode(name))
		}
	})
}
