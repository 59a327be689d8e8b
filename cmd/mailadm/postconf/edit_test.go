package postconf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/sys/disk"
)

const (
	mainBefore   = "# head\nmyhostname = a.b\nmydestination = x,\n# inside\n  y\nrelayhost =\n"
	masterBefore = "# head\nsmtp inet n - y - - smtpd\n# inside\n  -o a=b\npickup unix n - y 60 1 pickup\n"
)

// TestEdit holds what editing leaves; the files after it are those that
// Postfix's postconf makes of the same.
func TestEdit(t *testing.T) {
	cases := []struct {
		name, args, main, master, stderr string
		code                             int
	}{
		{name: "change", args: "-e|relayhost = [x]:25 ", main: strings.Replace(mainBefore, "relayhost =", "relayhost = [x]:25", 1)},
		{name: "without -e", args: "relayhost=x", main: strings.Replace(mainBefore, "relayhost =", "relayhost = x", 1)},
		{name: "add", args: "-e|new=1", main: mainBefore + "new = 1\n"},
		{name: "over lines", args: "-e|mydestination=z", main: "# head\nmyhostname = a.b\nmydestination = z\n# inside\nrelayhost =\n"},
		{name: "remove", args: "-X|mydestination", main: "# head\nmyhostname = a.b\n# inside\nrelayhost =\n"},
		{name: "comment", args: "-#|mydestination", main: "# head\nmyhostname = a.b\n#mydestination = x,\n# inside\n#  y\nrelayhost =\n"},
		{name: "no name", args: "-X|a=b", code: 1, stderr: "postconf: fatal: specify one of -e -X\n"},
		{name: "nothing", args: "-e", code: 1, stderr: "postconf: fatal: -e requires name=value argument\n"},
		{name: "twice", args: "-e|a=1|a=2", main: mainBefore + "a = 2\n", stderr: "postconf: warning: ignoring earlier request: 'a = 1'\n"},
		{name: "column", args: "-F|smtp/inet/chroot=n", master: "# head\n# inside\nsmtp       inet  n       -       n       -       -       smtpd\n    -o a=b\npickup unix n - y 60 1 pickup\n"},
		{name: "bad column", args: "-F|smtp/inet/chroot=q", code: 1, stderr: "postconf: fatal: invalid chroot field \"q\" in \"q\"\n"},
		{name: "parameter", args: "-P|smtp/inet/c=d", master: "# head\n# inside\nsmtp       inet  n       -       y       -       -       smtpd\n    -o a=b\n    -o c=d\npickup unix n - y 60 1 pickup\n"},
		{name: "parameter away", args: "-PX|smtp/inet/a", master: "# head\n# inside\nsmtp       inet  n       -       y       -       -       smtpd\npickup unix n - y 60 1 pickup\n"},
		{name: "service away", args: "-MX|smtp/inet", master: "# head\n# inside\npickup unix n - y 60 1 pickup\n"},
		{name: "new service", args: "-M|x/unix=x unix - n n - 10 pipe argv=/bin/x {a b}", master: masterBefore + "x          unix  -       n       n       -       10      pipe argv=/bin/x {a b}\n"},
		{name: "unmatched", args: "-P|nosuch/inet/a=b", stderr: "postconf: warning: unmatched service_name/type: \"nosuch/inet/a=b\"\n"},
		{name: "contradiction", args: "-n|-d", code: 1, stderr: "postconf: fatal: specify one of -d -n\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := lay(t, mainBefore, masterBefore)
			_, stderr, code := run(t, dir, strings.Split(c.args, "|")...)
			if code != c.code || stderr != c.stderr {
				t.Errorf("exit %d, %q", code, stderr)
			}
			same(t, filepath.Join(dir, "main.cf"), c.main, mainBefore)
			same(t, filepath.Join(dir, "master.cf"), c.master, masterBefore)
			if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
				t.Error("left behind: ", left)
			}
		})
	}
}

func same(t *testing.T, path, want, before string) {
	t.Helper()
	if want == "" {
		want = before
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != want {
		t.Errorf("%v\ngot  %q\nwant %q", err, b, want)
	}
}

// TestEditKeeps holds that a file keeps its mode, its owner and its link.
func TestEditKeeps(t *testing.T) {
	dir := lay(t, "a = 1\n", "")
	path := filepath.Join(dir, "main.cf")
	target := filepath.Join(t.TempDir(), "real.cf")
	if err := errors.Join(os.Rename(path, target), os.Chmod(target, 0o640), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = 12345
		if err := os.Chown(target, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, code := run(t, dir, "-e", "a=2"); code != 0 {
		t.Fatal(stderr)
	}
	same(t, target, "a = 2\n", "")
	st, err := disk.StatPath(target)
	if link, err2 := os.Readlink(path); err != nil || err2 != nil || link != target || st.UID != uid || st.Mode != 0o640 {
		t.Errorf("%+v %v %v", st, err, err2)
	}
}

// TestJSON holds the form of -j.
func TestJSON(t *testing.T) {
	dir := lay(t, "myhostname = a.b\nfoo = $myhostname\nbiff = no\nrelayhost = $foo\n", "smtp inet n - y - - smtpd -o a=$foo {b c}\n")
	out, stderr, code := run(t, dir, "-j", "-x", "-n", "foo", "biff")
	want := `{"name":"foo","value":"a.b","default":"","class":"user","file":"` + dir + `/main.cf","line":2}` + "\n" +
		`{"name":"biff","value":"no","default":"yes","type":"bool","class":"builtin","state":"accepted","file":"` + dir + `/main.cf","line":3,"text":`
	if code != 0 || !strings.HasPrefix(out, want) {
		t.Errorf("exit %d %s\ngot  %s\nwant %s", code, stderr, out, want)
	}
	out, _, _ = run(t, dir, "-M", "-j", "-x")
	want = `{"service":"smtp","type":"inet","private":"n","unprivileged":"-","chroot":"y","wakeup":"-","process_limit":"-","command":"smtpd",` +
		`"arguments":["-o","a=$foo","b c"],"options":[{"name":"a","value":"a.b"}],"file":"` + dir + `/master.cf","line":1}` + "\n"
	if out != want {
		t.Errorf("\ngot  %s\nwant %s", out, want)
	}
	if _, stderr, code := run(t, dir, "-j", "-F"); code != 1 || stderr != "postconf: fatal: specify one of -F -j\n" {
		t.Error(code, stderr)
	}
}

// TestTemplates holds what -t and -b print of a file of templates; the answers
// are those of Postfix's postconf.
func TestTemplates(t *testing.T) {
	dir := lay(t, "myhostname = a.b\ndelay_warning_time = 4h\n", "")
	file := filepath.Join(dir, "templates")
	for text, want := range map[string]string{
		"": "expanded_delay_text = <<EOF\nThis is the mail system at host a.b.\n",
		"delay_template = <<X\nSubject: s\n\n$delay_warning_time_hours ${myhostname} $maximal_queue_lifetime_days\nX\n": "expanded_delay_text = <<EOF\n4 a.b 5\nEOF\n",
		"delay_template = <<X\nBad: s\n\nx\nX\n":    "postfix/bounce: warning: " + file + ": unknown \"Bad\" header label in delay template -- ignoring this template\n",
		"delay_template = <<X\nSubject: s\nX\n":     "postfix/bounce: warning: " + file + ": missing message text in delay template -- ignoring this template\n",
		"delay_template = <<X\n\n$nosuch\nX\n":      "postfix/bounce: fatal: " + file + ": undefined $name in delay template: $nosuch\n",
		"other_template = <<X\n\nx\nX\n":            "postfix/bounce: warning: " + file + ", line 5: unknown template name: other_template -- ignoring this template\n",
		"delay_template = <<X\nsomething\nmore\n":   "postfix/bounce: warning: " + file + ", line 4: missing \"X\" end marker\n",
		"delay_template\n":                          "postfix/bounce: fatal: " + file + ", line 2: missing '=' after attribute name: \"delay_template\"\n",
		"delay_template = <<\n":                     "postfix/bounce: fatal: " + file + ", line 2: missing end marker after <<\n",
		"# c\n\ndelay_template = <<X\nat once\nX\n": "expanded_delay_text = <<EOF\nat once\nEOF\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, stderr, _ := run(t, dir, "-b", file)
		if !strings.Contains(out+stderr, want) {
			t.Errorf("%q: no %q in %s%s", text, want, out, stderr)
		}
	}
}

// TestShow holds the forms of output, without any file of another system.
func TestShow(t *testing.T) {
	main := "  lead = 1\nfoo = x\nmydestination = $foo ${foo} $$foo ${bar?yes} z\nno_such = 1\nmyhostname = a.b\n"
	master := "smtp inet n - y - - smtpd -o{ a = b  c } -v -oq=$foo\nx unix - n n - - pipe\n  argv={a b}\n"
	for args, want := range map[string]string{
		"-n|-x|mydestination":              "mydestination = x x $foo z\n",
		"mydestination":                    "mydestination = $foo ${foo} $$foo ${bar?yes} z\n",
		"-h|myhostname|mydomain":           "a.b\nb\n",
		"-H|myhostname":                    "myhostname\n",
		"-o|myhostname=c.d|-h|-x|myorigin": "c.d\n",
		"-M":                               "smtp       inet  n       -       y       -       -       smtpd -o {a=b  c} -v -o q=$foo\nx          unix  -       n       n       -       -       pipe argv={a b}\n",
		"-Mf|smtp":                         "smtp       inet  n       -       y       -       -       smtpd\n    -o {a=b  c}\n    -v\n    -o q=$foo\n",
		"-P|-x":                            "smtp/inet/a = b c\nsmtp/inet/q = x\n",
		"-F|x/unix/command":                "x/unix/command = pipe argv={a b}\n",
		"-C|user|-n":                       "foo = x\n",
	} {
		out, _, code := run(t, lay(t, main, master), strings.Split(args, "|")...)
		if out != want || code != 0 {
			t.Errorf("%s: exit %d\ngot  %q\nwant %q", args, code, out, want)
		}
	}
	_, stderr, _ := run(t, lay(t, main, master), "-n")
	for _, want := range []string{"main.cf: undefined parameter: bar\n", "main.cf: unused parameter: no_such=1\n",
		"main.cf: logical line must not start with whitespace: \"  lead = 1\"\n", "master.cf: unused parameter: a=b  c\n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %s", want, stderr)
		}
	}
}
