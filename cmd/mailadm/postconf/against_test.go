package postconf

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// oracle is the original, where it is installed.
const oracle = "/usr/sbin/postconf"

// answer is what a postconf did: its output, the different lines of its
// standard error, its exit code and the files that it left.
type answer struct {
	out, errs, main, master string
	code                    int
}

// question is one call over one configuration.
type question struct {
	main, master string
	args         []string
}

// ask runs the original, or ours, in a fresh directory.
func (q question) ask(t *testing.T, real bool) answer {
	t.Helper()
	dir := lay(t, q.main, q.master)
	var a answer
	if real {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(ctx, oracle, append([]string{"-c", dir}, q.args...)...)
		cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
		err := cmd.Run()
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) {
			t.Error("the original does not run: ", err)
			return a
		}
		a.out, a.errs, a.code = out.String(), strings.ReplaceAll(errs.String(), oracle, "postconf"), cmd.ProcessState.ExitCode()
	} else {
		a.out, a.errs, a.code = run(t, dir, q.args...)
	}
	clean := func(s string) string {
		s = pid.ReplaceAllString(strings.ReplaceAll(s, dir, "DIR"), "postconf PID &")
		return regexp.MustCompile(`(?m)^((?:process_id = )?)\d+$`).ReplaceAllString(s, "${1}N")
	}
	b, _ := os.ReadFile(filepath.Join(dir, "main.cf"))
	c, _ := os.ReadFile(filepath.Join(dir, "master.cf"))
	lines := strings.Split(clean(a.errs), "\n")
	slices.Sort(lines)
	a.out, a.errs, a.main, a.master = clean(a.out), strings.Join(slices.Compact(lines), "\n"), clean(string(b)), clean(string(c))
	return a
}

// agree asks all the questions of both and compares. The original sleeps for a
// second before it ends with an error, so many of it run at once.
func agree(t *testing.T, list []question) {
	if _, err := os.Stat(oracle); err != nil {
		t.Skip("no postconf of Postfix here")
	}
	if b, err := exec.Command(oracle, "-dh", "mail_version").Output(); err != nil || !strings.HasPrefix(string(b), "3.7.") {
		t.Skip("the installed Postfix is not 3.7: ", string(b))
	}
	theirs := make([]answer, len(list))
	slots := make(chan struct{}, 20)
	var all sync.WaitGroup
	for i, q := range list {
		slots <- struct{}{}
		all.Go(func() {
			theirs[i] = q.ask(t, true)
			<-slots
		})
	}
	all.Wait()
	for i, q := range list {
		ours, theirs := q.ask(t, false), theirs[i]
		if ours.code != theirs.code || ours.out != theirs.out || ours.errs != theirs.errs {
			t.Errorf("%q %s: exit %d, the original's %d\n%s\n%s", q.main, q.args, ours.code, theirs.code, diff(ours.out, theirs.out), diff(ours.errs, theirs.errs))
		}
		if ours.main != theirs.main || ours.master != theirs.master {
			t.Errorf("%q %s leaves\n%s\n%s", q.main, q.args, diff(ours.main, theirs.main), diff(ours.master, theirs.master))
		}
	}
}

const (
	oddMain = "# head\n\xef\xbb\xbfbom = x\nmyhostname\t= a.b\r\nmydestination = $myhostname,\n# inside\n\n   /etc/hosts, !x,\n\t$(foo) ${foo?{A}:{B}}\n" +
		"foo = bar\nfoo = baz\nstrict = reject\nsmtpd_restriction_classes = strict\nvirtual_alias_maps = ldap:people pipemap:{mysql:a,hash:/b}\n" +
		"people_search_base = x\npeople_oops = y\nnosuch_name = ${{10} > {9} ? {gt} : {le}} $undefined\nrelayhost = \xe9 tail"
	oddMaster = "# head\nsmtp inet n - y - - smtpd\n# inside\n  -o a=b\n -o { c = d  e }\n\n  -v\r\n" +
		"x unix - n n - - pipe\n\tflags=R user=a argv=/bin/x ${sender} {a b} -- { d  e }\npickup unix n - y 60 1 pickup"
)

// TestAgainstOriginal asks the installed original the same, over odd files: what
// it prints, warns of, returns and leaves in the files must agree.
func TestAgainstOriginal(t *testing.T) {
	var list []question
	for args := range strings.FieldsSeq(`-n -nx -nf -nH -nh -d -p -C|user -C|service|-n -C|user|-M -M -Mf -Mx -M|smtp -M|*/inet -M|nosuch -M|/x
		-F -Fh -Ff -F|x/unix/command -F|*/*/bad -P -Px -Ph -P|smtp/inet/a -l -T|x nosuch -x|mydestination -o|foo=q|-x|foo -o|foo|x -d|-n -z -c
		-h|-H -e -X -# -e|relayhost=new -e|mydestination=z -e|x=1|x=2 -e|=x -e|x -e|#a=b -X|mydestination -X|a=b -X|nosuch -#|mydestination foo=1
		-M|smtp/inet=smtp|-M|new/unix=new -MX|smtp/inet -M#|smtp/inet -MX|*/* -MX|nosuch/inet -F|smtp/inet/chroot=n -F|*/inet/wakeup=5 -F|smtp/inet/bad=1
		-P|smtp/inet/new=1 -P|smtp/inet/a=z -PX|smtp/inet/a -P|*/inet/q=1 -P|smtp/inet/*=1 -M|-n -f|-e|a=b`) {
		list = append(list, question{oddMain, oddMaster, strings.Split(args, "|")})
	}
	agree(t, list)
}

// TestMainAgainstOriginal compares small files, one oddity each.
func TestMainAgainstOriginal(t *testing.T) {
	var list []question
	for _, main := range []string{"=x\n", "a\n", "  x\n= y\n", "myhostname = ${a\n", "a = $b\nb = $a\nmyhostname = $a\n", "myhostname = ${{a} = {b}?x}\n",
		"a=1\nmyhostname = ${a?{${b?{c}:{d}}}:{e}} ${ a ? {x} : {y} } ${a ?x}\n", "a=10\nb=9\nmyhostname = ${{$a}>{$b}?{gt}:{le}} ${{a}!={b}?x:y}\n",
		"relayhost = a\x00b\nmyhostname = c\n", "relayhost = a\n\x0b b\n\x0c\nmyhostname=x\n", "compatibility_level = x\n", "mynetworks_style = class\ninet_protocols = ipv4\n",
		"relayhost = ${{99999999999999999999}>{1}?{x}:{y}}\n", "relayhost = ${a?{x}{y}}\n", "relayhost = ${a?{x}:{y}z}\n", "relayhost = ${}\n", "relayhost = $()\n",
		"relayhost = $$$$x a$b$c.d\n", "virtual_maps = hash:/x\npostscreen_blacklist_action = drop\n", "process_id = 3\nmail_version = 9\nservice_name = x\n",
		"myorigin = /nosuch\n", "mynetworks_style = bad\n", "inet_protocols = IPV4, x\n", "inet_protocols = IPV4\n", "mynetworks_style = Host, class\n", "a{b} = c\nrelayhost = $a{b}\n", "mydomain = ex.org\nmyhostname = mail.$mydomain\n", "relayhost = ${x?}${x:}$(x?{a}:{b})\n"} {
		list = append(list, question{main, "", []string{"-n"}}, question{main, "", []string{"-nx"}})
	}
	for _, options := range []string{"-", "- x", "-v - x -o q=r", "-o y=z - w"} {
		list = append(list, question{"", "x inet n - n - - smtpd " + options + " -o a=b\n", []string{"-P"}})
	}
	agree(t, list)
}
