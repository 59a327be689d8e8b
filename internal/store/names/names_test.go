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

// TestWire holds RFC 3501's examples, and that a name has one encoding only.
func TestUTF7(t *testing.T) {
	for wire, name := range map[string]string{
		"INBOX": "INBOX", "&AOk-": "\u00e9", "R&-D": "R&D", "~peter/mail/&U,BTFw-/&ZeVnLIqe-": "~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e",
		"&2D3cjA-": "\U0001F48C",
	} {
		if got, ok := Decode(wire); !ok || got != name {
			t.Errorf("%s: %q", wire, got)
		}
		if got := Encode(name); got != wire {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, wire := range []string{"&", "&AOk", "&AGE-", "&-&", "a\x80", "&2D0-", "&A-", "&AOk-&AOk-", "&!!-"} {
		if got, ok := Decode(wire); ok {
			t.Errorf("%s is %q", wire, got)
		}
	}
}
