package extconf

import (
	"maps"
	"strings"
	"testing"
)

var names = []string{"driver", "connect", "password_query"}

func TestParse(t *testing.T) {
	for text, want := range map[string]Settings{
		"driver = mysql\n#connect = x\n":                          {"driver": "mysql"},
		"connect=host=a user=b # why\n":                           {"connect": "host=a user=b"},
		"password_query = SELECT a \\\n  FROM b \\\n WHERE c\n":   {"password_query": "SELECT a FROM b WHERE c"},
		"connect = \"a \\\" # b\"\n":                              {"connect": `a " # b`},
		"password_query = SELECT '#' AS x":                        {"password_query": "SELECT '#' AS x"},
		"\r\ndriver = pgsql\r\ndriver = sqlite\r\n":               {"driver": "sqlite"},
		"password_query = SELECT '%u' WHERE x = 'y'\nconnect =\n": {"password_query": "SELECT '%u' WHERE x = 'y'", "connect": ""},
	} {
		got, err := Parse(text, names)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"driver = a\nhunter2\n":      "2: no \"=\"",
		"\n\npassword = hunter2\n":   "3: unknown setting: password",
		"driver = \\\n a\nfoo = b\n": "3: unknown setting: foo",
	} {
		_, err := Parse(text, names)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("driver = mysql\nconnect = \"a\\\"b\" # c\n")
	f.Add("a \\\n = 'b\n")
	f.Fuzz(func(t *testing.T, text string) { Parse(text, names) })
}
