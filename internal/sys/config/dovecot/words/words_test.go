package words

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
)

var update = flag.Bool("update", false, "write the page anew")

const pagePath = "../../../../../man/dovecot.conf.5"

// TestTexts holds that every setting has a text of one or two sentences, none is
// left without a state, and that no text belongs to a setting that is not there.
func TestTexts(t *testing.T) {
	rows := 0
	for _, s := range blocks {
		for _, p := range dovecot.Params(s.path) {
			rows++
			text := Of(s.path, p.Name)
			if len(text) < 12 || !strings.HasSuffix(text, ".") || strings.Count(text, ". ") > 2 {
				t.Errorf("%s %s: write one or two sentences: %q", s.path, p.Name, text)
			}
			if p.State != base.StateDone && p.State != base.StateAccepted && p.State != base.StateRefused {
				t.Errorf("%s %s: state %q", s.path, p.Name, p.State)
			}
		}
	}
	if n := strings.Count(texts, "\n"); n != rows {
		t.Errorf("%d texts for %d settings", n, rows)
	}
}

// stateless takes the states out of a page: they change while things are built,
// and the page is made anew for a release.
func stateless(page string) string {
	return regexp.MustCompile(`(?m); (open|done|accepted|refused)\)$`).ReplaceAllString(page, ")")
}

// TestPage holds that the page in man/ is the one of the table.
func TestPage(t *testing.T) {
	if *update {
		if err := os.WriteFile(pagePath, []byte(Page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(pagePath)
	if err != nil || stateless(string(page)) != stateless(Page()) {
		t.Errorf("%s is not the page of the table (%v): run go test ./internal/sys/config/dovecot/words -update", pagePath, err)
	}
}
