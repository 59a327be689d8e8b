package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// layDown writes the files of a test script into a folder, DIR standing for it,
// and returns the questions.
func layDown(t testing.TB, script string) (dir, questions string) {
	t.Helper()
	dir = t.TempDir()
	name := ""
	var text strings.Builder
	end := func() {
		if name != "" && name != "questions" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text.String(), "DIR", dir)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text.Reset()
	}
	for line := range strings.Lines(script) {
		if rest, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(rest, " --\n") {
			end()
			name = strings.TrimSuffix(rest, " --\n")
			continue
		}
		text.WriteString(line)
	}
	questions = strings.ReplaceAll(text.String(), "DIR", dir)
	end()
	return dir, questions
}

// TestScripts runs the questions of testdata: "> arguments", then the exit code
// and lines that the answer must hold, in any order.
func TestScripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) < 4 {
		t.Fatal("the scripts are gone")
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			dir, questions := layDown(t, string(b))
			for q := range strings.SplitSeq(questions, "\n> ") {
				ask(t, dir, strings.TrimPrefix(q, "> "))
			}
		})
	}
}

func ask(t *testing.T, dir, q string) {
	t.Helper()
	args, rest, _ := strings.Cut(q, "\n")
	var out bytes.Buffer
	code := Run(append([]string{"-c", dir}, strings.Fields(args)...), &out, &out)
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "exit "):
			if line != fmt.Sprintf("exit %d", code) {
				t.Errorf("> %s: exit %d, want %s\n%s", args, code, line, &out)
			}
		case !strings.Contains(out.String(), strings.TrimSpace(line)):
			t.Errorf("> %s: no line %q in\n%s", args, line, &out)
		}
	}
}

// TestJSON holds that --json says the same as the text, in names that scripts
// can rely on.
func TestJSON(t *testing.T) {
	b, err := os.ReadFile("testdata/virtual.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := layDown(t, string(b))
	var out, errs bytes.Buffer
	if code := Run([]string{"-c", dir, "--json", "info@alias.test"}, &out, &errs); code != 1 || errs.Len() > 0 {
		t.Fatalf("exit %d %s", code, &errs)
	}
	var r struct {
		Accepted, Deliverable bool
		Reply                 string
		Rewriting             []struct {
			From  string
			To    []string
			Entry struct {
				File string
				Line int
			}
		}
		Deliveries []struct{ Address, Class, Transport, Nexthop, Result string }
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Accepted || r.Deliverable || len(r.Rewriting) != 1 || r.Rewriting[0].Entry.Line != 2 || len(r.Deliveries) != 2 ||
		r.Deliveries[0].Result != "sent: 2.0.0 delivers to maildir" || r.Deliveries[1].Class != "virtual mailbox" {
		t.Errorf("%+v", r)
	}
}

// TestClient holds the forms of --client.
func TestClient(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1 ", "192.0.2.1:a.test": "192.0.2.1 a.test", "2001:db8::1": "2001:db8::1 ",
		"[2001:db8::1]:a.test": "2001:db8::1 a.test", "::ffff:192.0.2.1": "192.0.2.1 ", "a.test": "", "1.2.3": "", "fe80::1%eth0": "",
	} {
		var q Question
		err := q.client(in)
		if got := q.Client.String() + " " + q.Name; err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
}
