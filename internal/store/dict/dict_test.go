package dict

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func str(s string) *string { return &s }

// TestFile: the form on disk is Dovecot's; a change by others is seen.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "attributes")
	f := Open(path)
	if _, ok, err := f.Get("x"); ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := f.Change(map[string]*string{"priv/1/comment": str("a\r\n\tb\x01"), "shared/1/x": str("")}); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	if want := "priv/1/comment\na\x01r\x01n\x01tb\x011\nshared/1/x\n\n"; string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
	if err := os.WriteFile(path, append(b, "priv/1/a\nnew\nhalf"...), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := f.Below("priv/")
	if err != nil || len(list) != 2 || list[0] != [2]string{"priv/1/a", "new"} || list[1][1] != "a\r\n\tb\x01" {
		t.Errorf("%q %v", list, err)
	}
	if err := f.Change(map[string]*string{"priv/1/a": nil}); err != nil {
		t.Fatal(err)
	}
	if v, ok, _ := Open(path).Get("shared/1/x"); !ok || v != "" {
		t.Errorf("%q %v", v, ok)
	}
	if err := f.Change(map[string]*string{"big": str(strings.Repeat("x", MaxFile))}); err != ErrFull {
		t.Errorf("%v", err)
	}
}

// TestWriters: what several write at once is all there.
func TestWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attributes")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			f := Open(path)
			for k := range 10 {
				if err := f.Change(map[string]*string{string(rune('a'+i)) + string(rune('0'+k)): str("v")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if list, err := Open(path).Below(""); len(list) != 40 || err != nil {
		t.Errorf("%d %v", len(list), err)
	}
}

// TestRoundTrip: parse(write(x)) = x.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, value := rapid.String().Draw(t, "name"), rapid.String().Draw(t, "value")
		text := escape.Replace(name) + "\n" + escape.Replace(value) + "\n"
		if got := parse(text); len(got) != 1 || got[name] != value {
			t.Fatalf("%q %q: %q", name, value, got)
		}
	})
}
