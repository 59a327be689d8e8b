package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const corpusDir = "../../../../shared/corpus"

// floor is the share of assignments, in percent, that the corpus must have done
// or accepted; it only ever rises.
const floor = 97

// tally counts the assignments of a configuration by what is done with them.
type tally struct{ done, accepted, refused, unknown int }

func (n *tally) add(o tally) {
	n.done += o.done
	n.accepted += o.accepted
	n.refused += o.refused
	n.unknown += o.unknown
}

func (n *tally) share() float64 {
	all := n.done + n.accepted + n.refused + n.unknown
	if all == 0 {
		return 100
	}
	return 100 * float64(n.done+n.accepted) / float64(all)
}

// count looks at each assignment of main.cf and each -o option of master.cf. A
// line at its default counts as done: it asks for nothing.
func count(main, master string) (n tally, misses map[string]bool) {
	misses = map[string]bool{}
	bad := map[string]Severity{}
	for _, p := range CheckText("/c", main, master) {
		if p.Severity == SeverityRefused || strings.HasPrefix(p.Text, "unknown parameter") {
			bad[fmt.Sprintf("%s:%s", filepath.Base(p.File), p.Name)] = p.Severity
		}
	}
	each := func(file string, s Setting) {
		p, _ := LookupParam(s.Name)
		switch bad[file+":"+s.Name] {
		case SeverityRefused:
			n.refused++
			misses[s.Name] = true
		case SeverityWarning:
			n.unknown++
			misses[s.Name+"?"] = true
		default:
			if p.State == StateAccepted {
				n.accepted++
			} else {
				n.done++
			}
		}
	}
	m, _, _ := parseMain("/c", "main.cf", main)
	for _, s := range m.Settings() {
		each("main.cf", s)
	}
	services, _, _ := parseMaster("master.cf", master, true)
	for _, s := range services {
		for _, o := range s.Options {
			each("master.cf", o)
		}
	}
	return n, misses
}

// TestCorpusStates prints for each public configuration how many of its settings
// are done, accepted and refused, and demands the share that is reached.
func TestCorpusStates(t *testing.T) {
	var all tally
	missed := map[string]int{}
	for _, folder := range []string{"main.cf", "master.cf"} {
		list, err := os.ReadDir(filepath.Join(corpusDir, folder))
		if err != nil {
			t.Skip("the corpus of public configurations is not here: ", err)
		}
		for _, e := range list {
			text, err := os.ReadFile(filepath.Join(corpusDir, folder, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			main, master := string(text), "smtp inet n - y - - smtpd\n"
			if folder == "master.cf" {
				main, master = "", string(text)
			}
			n, misses := count(main, master)
			all.add(n)
			var names []string
			for name := range misses {
				missed[name]++
				names = append(names, name)
			}
			t.Logf("%5.1f %% done %3d accepted %3d refused %3d unknown %3d  %s %s", n.share(), n.done, n.accepted, n.refused, n.unknown, e.Name(), strings.Join(names, " "))
		}
	}
	t.Logf("all: %.1f %% done %d accepted %d refused %d unknown %d", all.share(), all.done, all.accepted, all.refused, all.unknown)
	for name, files := range missed {
		if files > 3 {
			t.Logf("missed in %d files: %s", files, name)
		}
	}
	if all.share() < floor {
		t.Errorf("%.1f %% of all assignments are done or accepted, fewer than %d %%", all.share(), floor)
	}
}
