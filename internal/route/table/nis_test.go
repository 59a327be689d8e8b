package table

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestNIS holds that a machine without a NIS domain has empty NIS tables, and
// that one with a domain does not take "cannot ask" for "not there".
func TestNIS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "domainname")
	for domain, want := range map[string]error{"(none)\n": nil, "": nil, "example\n": errNIS} {
		if err := os.WriteFile(file, []byte(domain), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := nisTable("nis:mail.aliases", file).Lookup(t.Context(), "root"); ok || !errors.Is(err, want) {
			t.Errorf("%q: %v", domain, err)
		}
	}
	maps, err := OpenAll([]string{"nis:mail.aliases"}, Options{})
	if err != nil || maps[0].Name() != "nis:mail.aliases" {
		t.Error(maps, err)
	}
}
