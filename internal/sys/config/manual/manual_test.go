package manual

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"packetboat/internal/sys/config"
)

var update = flag.Bool("update", false, "write the page anew")

const pagePath = "../../../../man/postconf.5"

// TestTexts holds that every parameter has a text of one to three sentences,
// and that no text belongs to a parameter that is not there.
func TestTexts(t *testing.T) {
	names := map[string]bool{}
	for _, p := range config.ServiceSuffixes() {
		names["*"+p.Name] = true
	}
	for _, p := range config.Params() {
		names[p.Name] = true
	}
	last := ""
	for line := range strings.Lines(texts) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !names[name] {
			t.Errorf("texts.txt: %s is no parameter, or has two texts", name)
		}
		delete(names, name)
		if name <= last {
			t.Errorf("texts.txt: %s stands after %s", name, last)
		}
		last = name
		if len(text) < 20 || !strings.HasSuffix(text, ".") || strings.Count(text, ". ") > 2 {
			t.Errorf("texts.txt: %s: write one to three sentences: %q", name, text)
		}
	}
	for name := range names {
		t.Errorf("texts.txt: %s has no text: add a line", name)
	}
}

func TestText(t *testing.T) {
	if Text("myhostname") == "" || Text("dovecot_destination_recipient_limit") == "" || Text("no_such_name") != "" {
		t.Error("texts are not found")
	}
}

// stateless takes the states out of a page: they change every day while things
// are built, and the page is made anew for a release.
func stateless(page string) string {
	return regexp.MustCompile(`(?m); (open|done|accepted|refused)\)$`).ReplaceAllString(page, ")")
}

// TestPage holds that the page in man/ is the one of the table.
func TestPage(t *testing.T) {
	page := Page()
	if *update {
		if err := os.WriteFile(pagePath, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	if stateless(string(have)) != stateless(page) {
		t.Error("man/postconf.5 is not of this table; make it with: go test ./internal/sys/config/manual -update")
	}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, ".") && !strings.ContainsAny(line[1:2], "TSBIP\\b") {
			t.Errorf("a line that man(7) would read: %q", line)
		}
	}
}
