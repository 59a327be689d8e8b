package doveconf

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const shared = "../../../../shared"

// lay puts a directory of the corpus, whose files carry their path in their
// name, into a scratch directory; /etc/dovecot in the texts becomes it.
func lay(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	// The answers were recorded over Debian's *.ext files, and with a dovecot.conf
	// that is the one file or includes conf.d where a directory has none of its own.
	os.Mkdir(filepath.Join(dir, "conf.d"), 0o755)
	ext, _ := filepath.Glob("/etc/dovecot/conf.d/*.ext")
	for _, path := range ext {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Skip("Debian's own configuration cannot be read: ", err)
		}
		os.WriteFile(filepath.Join(dir, "conf.d", filepath.Base(path)), text, 0o644)
	}
	os.WriteFile(filepath.Join(dir, "dovecot.conf"), []byte("!include_try conf.d/*.conf\n"), 0o644)
	os.Mkdir(filepath.Join(dir, "protocols.d"), 0o755)
	for file, p := range map[string]string{"imapd": "imap", "lmtpd": "lmtp", "managesieved": "sieve", "pop3d": "pop3"} {
		os.WriteFile(filepath.Join(dir, "protocols.d", file+".protocol"), []byte("protocols = $protocols "+p+"\n"), 0o644)
	}
	list, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range list {
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 && !slices.ContainsFunc(list, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), "conf.d__") }) {
			os.WriteFile(filepath.Join(dir, "dovecot.conf"), text, 0o644)
		}
		if e.Name() == "dovecot-dict-auth.conf" { // one directory was recorded with this file as the whole
			os.WriteFile(filepath.Join(dir, "dovecot.conf"), text, 0o644)
		}
		path := filepath.Join(dir, strings.ReplaceAll(e.Name(), "__", "/"))
		os.MkdirAll(filepath.Dir(path), 0o755)
		os.Remove(path)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(t, dir)
	return dir
}

// rewrite points the includes of Debian's directories into dir.
func rewrite(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s := include.ReplaceAllString(string(text), "${1}"+dir+"/")
		return os.WriteFile(path, []byte(s), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

var include = regexp.MustCompile(`(?m)^(\s*!include(?:_try)?\s+)/(?:etc/dovecot|usr/share/dovecot)/`)

// settings takes out the comment lines, which name machine and version.
func settings(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		// The capability string depends on the Sieve plugins that are loaded.
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "managesieve_sieve_capability") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// messages are the lines about the configuration, not about Dovecot's own
// helper programs.
func messages(text, dir string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(text, dir, "/etc/dovecot")) {
		if !strings.Contains(line, "dump-capability") && !strings.HasPrefix(line, "exit=") && !strings.HasPrefix(line, "doveconf: Hint") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestCorpus(t *testing.T) {
	root := filepath.Join(shared, "corpus/dovecot")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Skip("the corpus of public configurations is not here: ", err)
	}
	accepted, agree, refused := 0, 0, 0
	for _, d := range dirs {
		want, err := os.ReadFile(filepath.Join(shared, "corpus/expected/dovecot", d.Name()+".doveconf-n"))
		stderr, _ := os.ReadFile(filepath.Join(shared, "corpus/expected/dovecot", d.Name()+".stderr"))
		if err != nil {
			continue
		}
		dir := lay(t, filepath.Join(root, d.Name()))
		var out, errs bytes.Buffer
		code := Run([]string{"-n", "-c", filepath.Join(dir, "dovecot.conf")}, &out, &errs)
		if strings.Contains(string(stderr), "Fatal:") {
			refused++
			refusedToo(t, d.Name(), code, messages(errs.String(), dir), messages(string(stderr), dir))
			continue
		}
		accepted++
		got := strings.ReplaceAll(settings(out.String()), dir, "/etc/dovecot")
		switch exp := settings(string(want)); {
		case code != 0:
			t.Errorf("%s: exit %d, %s", d.Name(), code, errs.String())
		case got != exp:
			t.Errorf("%s:\n%s", d.Name(), diff(got, exp))
		case messages(errs.String(), dir) != unique(messages(string(stderr), dir)):
			t.Errorf("%s:\n%s", d.Name(), diff(messages(errs.String(), dir), unique(messages(string(stderr), dir))))
		default:
			agree++
		}
	}
	t.Logf("%d of %d accepted directories agree; %d refused", agree, accepted, refused)
}

// atLine is an error that names its file and line.
var atLine = regexp.MustCompile(`Fatal: Error in configuration file \S+ line \d+: `)

// refusedToo holds a directory that Dovecot 2.3 refuses: the first error is the
// same. Those in the syntax of 2.4, which it cannot read, are read here, or the error
// names its place.
func refusedToo(t *testing.T, name string, code int, got, want string) {
	t.Helper()
	if strings.Contains(want, "Unknown setting: dovecot_config_version") {
		if code != 0 && !atLine.MatchString(got) {
			t.Errorf("%s: exit %d, %s", name, code, got)
		}
		return
	}
	first := func(s string) string { return strings.SplitAfter(s[strings.Index(s, "doveconf: Fatal"):], "\n")[0] }
	if code != exitConfig || !atLine.MatchString(got) || first(got) != first(want) {
		t.Errorf("%s: exit %d\ngot  %swant %s", name, code, got, want)
	}
}

// unique leaves out repeated lines: Dovecot's helper programs repeat them.
func unique(text string) string {
	seen := map[string]bool{}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !seen[line] {
			b.WriteString(line)
		}
		seen[line] = true
	}
	return b.String()
}

// diff names the first line in which two texts differ.
func diff(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return "got  " + a + "\nwant " + b
		}
	}
	return ""
}
