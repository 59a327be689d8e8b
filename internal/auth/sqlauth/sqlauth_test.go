package sqlauth

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestOpen: what is wrong with a settings file is told with its name, and without
// the password in it.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sql.conf")
	for text, want := range map[string]string{
		"driver = mysql\nconnect = host=h user=u password=hunter2\n":                              "",
		"driver = mysql\nconnect = host=/a host=b port=1 ssl_ca=/x maxconns=9 password=hunter2\n": "",
		"driver = pgsql\nconnect = host=a host=b user=u password='hunter2 x' dbname=m\n":          "",
		"driver = sqlite\nconnect = /nowhere/db\n":                                                "",
		"driver = mysql\nconnect = user=u password=hunter2\n":                                     "no host",
		"driver = mysql\nconnect = host=h pass word=hunter2\n":                                    "without \"=\"",
		"driver = mysql\nconnect = host=h secret=hunter2\n":                                       "unknown word secret",
		"driver = mysql\nconnect = host=h option_file=/x password=hunter2\n":                      "option_file is not supported",
		"driver = pgsql\nconnect = host=h password='hunter2\n":                                    "a quote is not closed",
		"driver = pgsql\nconnect = host=h sslmode=hunter2\n":                                      "not understood",
		"driver = oracle\nconnect = host=h\n":                                                     "the drivers are",
		"connect = host=h\n":                                                                      "(none)",
		"driver = mysql\n":                                                                        "connect is not set",
		"driver = mysql\nconect = hunter2\n":                                                      ":2: unknown setting: conect",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path)):
			t.Errorf("%q: %v, want %s", text, err, want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("a secret is in an error: %v", err)
		}
	}
	if _, err := Open(path + ".none"); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestWords: what is quoted for libpq is read as it was.
func TestWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.StringMatching(`[ -~]*`), 1, 4).Draw(t, "values")
		var text strings.Builder
		for i, v := range values {
			fmt.Fprintf(&text, " n%d=%s ", i, quotePg(v))
		}
		got, err := words(text.String(), true)
		if err != nil || len(got) != len(values) {
			t.Fatal(got, err)
		}
		for i, v := range values {
			if got[i] != [2]string{fmt.Sprintf("n%d", i), v} {
				t.Fatalf("%q became %q", v, got[i])
			}
		}
	})
}

func TestWordsOfMySQL(t *testing.T) {
	got, err := words(" host=a  password='x'=y\tuser=", false)
	if want := [][2]string{{"host", "a"}, {"password", "'x'=y"}, {"user", ""}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzWords(f *testing.F) {
	f.Add("host=a user='b c' password=")
	f.Add("a='\\")
	f.Fuzz(func(t *testing.T, text string) { words(text, true); words(text, false) })
}
