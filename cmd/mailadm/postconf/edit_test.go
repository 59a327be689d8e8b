package postconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
