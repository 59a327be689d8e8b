package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"packetboat/internal/sys/config"
)

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	main := "smtp_sasl_password_maps = hash:/etc/a, static:x, proxy:btree:/etc/b, inline:{{x=hash:/etc/no}}\nlmtp_tls_policy_maps = texthash:/etc/c\nalias_maps = hash:/etc/d\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	m, _, err := config.LoadMain(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := secretFiles(m); !slices.Equal(got, []string{"/etc/a", "/etc/b", "/etc/c"}) {
		t.Errorf("%q", got)
	}
}

// TestSecretTable holds that a table that only another may read answers, and
// that a change is seen, and that trouble is never "no password".
func TestSecretTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	write := func(s string, age time.Duration) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(path, time.Now().Add(-age), time.Now().Add(-age))
	}
	write("# secrets\n[Smart.test]:587 user:pa:ss word\n[smart.test]:587 second:one\n", time.Hour)
	var broken error
	s, err := openSecret("hash:"+path, path, func(p string) ([]byte, error) {
		if broken != nil {
			return nil, broken
		}
		return os.ReadFile(p)
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := s.Lookup(t.Context(), "[smart.TEST]:587"); v != "user:pa:ss word" || !ok || err != nil {
		t.Error(v, ok, err)
	}
	if _, ok, err := s.Lookup(t.Context(), "smart.test"); ok || err != nil {
		t.Error(ok, err)
	}
	write("smart.test new:one\n", time.Minute)
	if v, _, err := s.Lookup(t.Context(), "smart.test"); v != "new:one" || err != nil {
		t.Error(v, err)
	}
	write("smart.test newer:one\n", time.Second)
	broken = errors.New("the parent process is gone")
	if _, _, err := s.Lookup(t.Context(), "smart.test"); err == nil {
		t.Error("an unreadable table answers")
	}
}
