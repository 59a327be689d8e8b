package postconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// probes are the files behind the recorded answers in syntax-micro.txt.
var probes = map[string]string{
	"main.cf: cont":         "mydestination = a,\n b\n\tc\n",
	"main.cf: commentmid":   "mydestination = a,\n# comment\n b\n  # comment\n e\n",
	"main.cf: blankmid":     "mydestination = a,\n\n b\n   \n c\n",
	"main.cf: trail":        "mydestination = a # not comment\n",
	"main.cf: eqval":        "mydestination = a = b\n",
	"main.cf: noeq":         "mydestination a\n",
	"main.cf: leadws":       "  mydestination = a\nmyhostname = x.y\n",
	"main.cf: dup":          "mydestination = a\nmydestination = b\n",
	"main.cf: empty":        "mydestination =\n",
	"main.cf: nospace":      "mydestination=a\n",
	"main.cf: dollar":       "foo = x\nmydestination = $foo ${foo} $(foo) $$foo ${nosuch} z\n",
	"main.cf: cond":         "foo = x\nmydestination = ${foo?yes} ${foo:no} ${bar?yes} ${bar:no}\n",
	"main.cf: tern":         "foo = x\nmydestination = ${foo?{A}:{B}} ${{$foo}=={x}?{eq}:{ne}} ${{1} < {2}?{lt}:{ge}}\n",
	"main.cf: nested":       "a = 1\nb = $a\nmydestination = $b.$a\n",
	"main.cf: recur":        "mydestination = $mydestination\n",
	"main.cf: quotes":       "mydestination = \"a b\", {c d}\n",
	"main.cf: unk":          "no_such_param = 1\nmyhostname = q.q\n",
	"main.cf: bs":           "mydestination = a \\\n b\n",
	"main.cf: file":         "mydestination = /etc/hosts, localhost\n",
	"main.cf: include":      "include = /x\n",
	"main.cf: time":         "maximal_queue_lifetime = 2w\nqueue_run_delay = 5m\ndelay_warning_time = 4\n",
	"main.cf: bool":         "soft_bounce = YES\nbiff = maybe\n",
	"main.cf: badint":       "message_size_limit = 10M\n",
	"main.cf: crlf":         "mydestination = a\r\nmyhostname = b.c\r\n",
	"main.cf: tabs":         "mydestination\t=\ta\n",
	"main.cf: upper":        "MyDestination = a\n",
	"main.cf: deprecated":   "virtual_maps = hash:/x\nsmtpd_use_tls = yes\n",
	"master.cf: basic":      "smtp inet n - y - - smtpd\n -o a=b\n -o c=d,e\n -v\n",
	"master.cf: brace":      "smtp inet n - y - - smtpd\n -o { a = b c }\n",
	"master.cf: commentmid": "smtp inet n - y - - smtpd\n -o a=b\n# comment\n -o c=d\n",
	"master.cf: short":      "smtp inet n\n",
	"master.cf: pipe":       "dovecot unix - n n - - pipe\n flags=DRhu user=vmail:vmail argv=/bin/x -f ${sender} {a b}\n",
	"master.cf: dup":        "smtp inet n - y - - smtpd\nsmtp inet n - n - - smtpd\n",
	"master.cf: badtype":    "smtp foo n - y - - smtpd\n",
	"master.cf: port":       "127.0.0.1:10025 inet n - y - - smtpd\n[::1]:25 inet n - y - - smtpd\n",
}

// TestSyntaxProbes holds the recorded answers: the first half of each is that of
// -n or -M with "$" at the end of lines, the other that of -x or -P.
func TestSyntaxProbes(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(shared, "golden/syntax-micro.txt"))
	if err != nil {
		t.Skip("the golden files are not here: ", err)
	}
	seen := 0
	for probe := range strings.SplitSeq(string(b), "--- ") {
		name, want, _ := strings.Cut(probe, "\n")
		text, ok := probes[name]
		if !ok {
			if strings.Contains(name, "ster.cf:") || strings.HasPrefix(name, "main.cf:") {
				t.Errorf("no file for %s", name)
			}
			continue
		}
		seen++
		dir, calls := hotDir(t, text, ""), [][]string{{"-n"}, {"-x", "mydestination"}}
		if strings.HasPrefix(name, "master") {
			dir, calls = hotDir(t, "", text), [][]string{{"-M"}, {"-P"}}
		}
		got := map[string]bool{}
		for _, args := range calls {
			out, errs, _ := run(t, dir, args...)
			for line := range strings.Lines(strings.ReplaceAll(out+errs, dir, "/tmp/p")) {
				got[strings.TrimSpace(line)] = true
			}
		}
		for line := range strings.Lines(want) {
			line = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "x: "), "$"))
			if line != "" && !got[line] && !strings.Contains(line, "example.org") {
				t.Errorf("%s: no line %q in\n%v", name, line, got)
			}
		}
	}
	if seen != len(probes) {
		t.Errorf("%d of %d probes", seen, len(probes))
	}
}
