package postconf

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/sys/config"
)

const shared = "../../../../shared"

// postconf runs the command in a scratch directory with the files given.
func run(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	code = Run(append([]string{"-c", dir}, args...), &out, &err)
	return out.String(), err.String(), code
}

// lay writes the files of a configuration directory, not hot any more.
func lay(t *testing.T, main, master string) string {
	t.Helper()
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for name, text := range map[string]string{"main.cf": main, "master.cf": master} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(path, old, old)
	}
	return dir
}

// warnings returns the different lines of a text, sorted, without exit codes.
func warnings(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "exit=") {
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
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

// corpus calls fn for each file of a folder of the corpus.
func corpus(t *testing.T, folder string, fn func(name, text string)) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(shared, "corpus", folder))
	if err != nil {
		t.Skip("the corpus of public configurations is not here: ", err)
	}
	for _, e := range list {
		text, err := os.ReadFile(filepath.Join(shared, "corpus", folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fn(e.Name(), string(text))
	}
}

func expected(t *testing.T, folder, name, what string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(shared, "corpus/expected", folder, name+"."+what))
	return string(b), err == nil
}

// hotDir lays a directory whose main.cf was just written, as it was when the
// expected answers were recorded, and whose name is put back to /tmp/c.
func hotDir(t *testing.T, main, master string) string {
	dir := lay(t, main, master)
	now := time.Now().Add(time.Second)
	os.Chtimes(filepath.Join(dir, "main.cf"), now, now)
	return dir
}

func TestCorpusMain(t *testing.T) {
	agree, files := 0, 0
	corpus(t, "main.cf", func(name, text string) {
		dir := hotDir(t, text, masterOf(t))
		var errs string
		ok := true
		files++
		for _, what := range []string{"n", "nx"} {
			want, found := expected(t, "main.cf", name, "postconf-"+what)
			if !found {
				t.Logf("%s: no expected answer", name)
				files--
				return
			}
			out, stderr, _ := run(t, dir, "-"+what)
			errs = stderr
			if got := portable(out, dir, text); got != portable(want, dir, text) {
				ok = false
				t.Errorf("%s -%s:\n%s", name, what, diff(got, portable(want, dir, text)))
			}
		}
		want, _ := expected(t, "main.cf", name, "stderr")
		got, exp := warnings(strings.ReplaceAll(errs, dir, "/tmp/c")), warnings(want)
		if !slices.Equal(got, exp) {
			ok = false
			t.Errorf("%s stderr:\n%s", name, diff(strings.Join(got, "\n"), strings.Join(exp, "\n")))
		}
		if ok {
			agree++
		}
	})
	t.Logf("%d of %d main.cf agree", agree, files)
}

// pid is the process number in the value of debugger_command.
var pid = regexp.MustCompile(`postconf \d+ &`)

// portable takes the names of this machine, and of the one where the answers
// were recorded, out of a text.
func portable(text, dir, main string) string {
	m, _, err := config.ParseMain(dir, "main.cf", main)
	if err != nil {
		return text
	}
	host, _ := m.Default("myhostname")
	nets, _ := m.Default("mynetworks")
	text = strings.NewReplacer(dir, "/tmp/c", host, "HOST", "mail.example.org", "HOST", nets, "NETS ", "127.0.0.0/8 [::1]/128 ", "NETS ").Replace(text)
	return pid.ReplaceAllString(text, "postconf PID &")
}

// masterOf returns the master.cf beside which the main.cf were looked at.
func masterOf(t *testing.T) string {
	b, err := os.ReadFile("/usr/share/postfix/master.cf.dist")
	if err != nil {
		return ""
	}
	return string(b)
}

func TestCorpusMaster(t *testing.T) {
	agree, files := 0, 0
	corpus(t, "master.cf", func(name, text string) {
		dir := hotDir(t, "", text)
		ok := true
		files++
		var errs string
		for _, what := range []string{"M", "F", "P"} {
			want, found := expected(t, "master.cf", name, "postconf-"+what)
			if !found {
				t.Logf("%s: no expected answer", name)
				files--
				return
			}
			out, stderr, _ := run(t, dir, "-"+what)
			errs += stderr
			if got := strings.ReplaceAll(out, dir, "/tmp/c"); got != want {
				ok = false
				t.Errorf("%s -%s:\n%s", name, what, diff(got, want))
			}
		}
		want, _ := expected(t, "master.cf", name, "stderr")
		got, exp := warnings(strings.ReplaceAll(errs, dir, "/tmp/c")), warnings(want)
		if !slices.Equal(got, exp) {
			ok = false
			t.Errorf("%s stderr:\n%s", name, diff(strings.Join(got, "\n"), strings.Join(exp, "\n")))
		}
		if ok {
			agree++
		}
	})
	t.Logf("%d of %d master.cf agree", agree, files)
}

// TestGoldenDefaults compares postconf -d with the recorded one, but for what
// comes from the machine.
func TestGoldenDefaults(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(shared, "golden/postconf-d.txt"))
	if err != nil {
		t.Skip("the golden files are not here: ", err)
	}
	master := masterOf(t)
	if master == "" {
		t.Skip("the recorded defaults belong to Debian's master.cf, which is not here")
	}
	machine := regexp.MustCompile(`(?m)^(myhostname|mydomain|mynetworks|process_id|config_directory) =.*$`)
	out, _, _ := run(t, lay(t, "", master), "-d")
	got, want := machine.ReplaceAllString(out, "$1"), machine.ReplaceAllString(string(b), "$1")
	if got != want {
		t.Error(diff(got, want))
	}
}

// TestWarningsBeforeFatal: lines before the one that ends the reading are warned
// of, lines behind it are not, as Postfix reads them.
func TestWarningsBeforeFatal(t *testing.T) {
	dir := lay(t, "relayhost = a\nrelayhost = b\nno assignment\nrelayhost = c\n", "")
	_, stderr, code := run(t, dir, "-n")
	want := "postconf: warning: " + dir + "/main.cf, line 2: overriding earlier entry: relayhost=a\n" +
		"postconf: fatal: " + dir + "/main.cf, line 3: missing '=' after attribute name: \"no assignment\"\n"
	if stderr != want || code != 1 {
		t.Errorf("%d %q, want %q", code, stderr, want)
	}
}
