// Package agents compares local(8), pipe(8) and virtual(8) with the originals: the
// same configuration, accounts, aliases and .forward files under a real Postfix
// and under ours, and then the log lines, the mailboxes and what commands saw.
package agents

import (
	"fmt"
	"io/fs"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"packetboat/test/oracle"
)

// world is the folder in which both systems live, one after the other. It is the
// same path for both, since commands see it.
type world struct {
	t   *testing.T
	dir string
	bin string // of ours
}

// inner is the environment variable that says that we are inside a mount and
// network namespace of our own.
const inner = "PACKETBOAT_AGENTS"

// TestAgentsAgree starts itself again in namespaces of its own, where the list of
// accounts is a private one.
func TestAgentsAgree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: accounts are made in a mount namespace")
	}
	if testing.Short() {
		t.Skip("-short: no comparison with Postfix")
	}
	if b, err := exec.Command("postconf", "-d", "-h", "mail_version").Output(); err != nil || !strings.HasPrefix(string(b), "3.") {
		t.Skip("no real Postfix here")
	}
	if os.Getenv(inner) != "" {
		t.Skip("runs outside")
	}
	bin := filepath.Dir(oracle.Built(t, "mtad"))
	dir, err := os.MkdirTemp("/var/tmp", "pb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	cmd := exec.Command("unshare", "-m", "-n", "--propagation", "private", os.Args[0], "-test.run=^TestInside$", "-test.v="+fmt.Sprint(testing.Verbose()))
	cmd.Env = append(os.Environ(), inner+"="+dir, "PACKETBOAT_BIN="+bin)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "unshare failed") {
		t.Skipf("no namespaces here: %s", out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// TestInside is the comparison itself.
func TestInside(t *testing.T) {
	dir := os.Getenv(inner)
	if dir == "" {
		t.Skip("started by TestAgentsAgree")
	}
	w := &world{t: t, dir: dir, bin: os.Getenv("PACKETBOAT_BIN")}
	w.accounts()
	w.must("ip", "link", "set", "lo", "up")
	theirs := w.run("postfix")
	ours := w.run("packetboat")
	w.compare(theirs, ours)
}

// users are the accounts; the third field of those with one is their home's mode.
func (w *world) users() []string {
	var names []string
	for _, c := range cases() {
		names = append(names, c.user)
	}
	return append(names, "filter", "other", "friend", "sink")
}

// accounts puts a private passwd and group in the place of the machine's.
func (w *world) accounts() {
	passwd, group := read("/etc/passwd"), read("/etc/group")
	for i, name := range w.users() {
		passwd += fmt.Sprintf("%s:x:%d:%d::%s/home/%s:/bin/sh\n", name, 20000+i, 20000+i, w.dir, name)
		group += fmt.Sprintf("%s:x:%d:\n", name, 20000+i)
	}
	group += "extra:x:29999:filter,plain\n"
	for file, text := range map[string]string{"passwd": passwd, "group": group} {
		path := filepath.Join(w.dir, file)
		w.write(path, text, 0, 0o644)
		w.must("mount", "--bind", path, "/etc/"+file)
	}
}

func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

func (w *world) must(name string, args ...string) string {
	w.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

func (w *world) write(path, text string, uid int, mode fs.FileMode) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", w.dir)), 0o644); err != nil {
		w.t.Fatal(err)
	}
	os.Chown(path, uid, uid)
	os.Chmod(path, mode)
}

// layDown makes everything anew.
func (w *world) layDown(system string) {
	for _, d := range []string{"etc", "q", "data", "home", "mail", "out", "v"} {
		os.RemoveAll(filepath.Join(w.dir, d))
		os.Mkdir(filepath.Join(w.dir, d), 0o755)
	}
	os.Remove(w.dir + "/mail.log")
	os.Chmod(w.dir+"/mail", 0o2775|fs.ModeSetgid)
	w.must("chgrp", "mail", w.dir+"/mail")
	os.Chmod(w.dir+"/mail", fs.ModeSetgid|0o775)
	os.Chmod(w.dir+"/out", fs.ModeSticky|0o777)
	os.Chown(w.dir+"/v", 20000, 20000)
	w.must("chown", "postfix", w.dir+"/data")
	for i, name := range w.users() {
		home := filepath.Join(w.dir, "home", name)
		os.Mkdir(home, 0o755)
		os.Chown(home, 20000+i, 20000+i)
	}
	w.write(w.dir+"/bin/show", showCommand, 0, 0o755)
	w.write(w.dir+"/bin/exit", exitCommand, 0, 0o755)
	w.write(w.dir+"/etc/main.cf", mainCF, 0, 0o644)
	w.write(w.dir+"/etc/master.cf", masterCF+services(), 0, 0o644)
	w.write(w.dir+"/etc/postfix-files", read("/etc/postfix/postfix-files"), 0, 0o644)
	var aliases, transports strings.Builder
	aliases.WriteString("postmaster: sink\nmailer-daemon: sink\n")
	for i, c := range cases() {
		for name, value := range c.aliases {
			fmt.Fprintf(&aliases, "%s: %s\n", name, strings.ReplaceAll(value, "DIR", w.dir))
		}
		for name, text := range c.files {
			path := name
			if !strings.HasPrefix(name, "/") {
				path = "/home/" + c.user + "/" + name
			}
			w.write(w.dir+path, text, 20000+i, 0o644)
		}
		if c.options != "" || c.pipe != "" {
			fmt.Fprintf(&transports, "%s@mail.test x%s:hop.Test\n", c.user, c.user)
		}
		if c.change != nil {
			c.change(w, filepath.Join(w.dir, "home", c.user), 20000+i)
		}
	}
	w.write(w.dir+"/etc/aliases", aliases.String(), 0, 0o644)
	w.write(w.dir+"/etc/transport", transports.String(), 0, 0o644)
	w.must("postalias", "-c", w.dir+"/etc", "hash:"+w.dir+"/etc/aliases")
}

// services are the transports of cases with options or commands of their own.
func services() string {
	var b strings.Builder
	for _, c := range cases() {
		switch {
		case c.pipe != "":
			fmt.Fprintf(&b, "x%s unix - n n - - pipe\n  %s\n", c.user, c.pipe)
		case c.options != "":
			fmt.Fprintf(&b, "x%s unix - n n - - %s\n  %s\n", c.user, c.agent(), c.options)
		}
	}
	return b.String()
}

// run starts a system, sends every case's mail, and returns what came of it.
func (w *world) run(system string) map[string]string {
	w.layDown(system)
	exec.Command("umount", "/etc/postfix").Run() // of the system before
	w.must("mount", "--bind", w.dir+"/etc", "/etc/postfix")
	sendmail := "/usr/sbin/sendmail"
	if system == "packetboat" {
		sendmail = filepath.Join(w.bin, "sendmail")
	}
	w.write(w.dir+"/bin/resend", "#!/bin/sh\nunset MAIL_CONFIG\n(echo 'X-Filtered: yes'; cat) | "+sendmail+" -G -i \"$@\"\n", 0, 0o755)
	stop := w.start(system)
	for _, c := range cases() {
		w.send(c)
	}
	w.settle()
	stop()
	got := w.snapshot()
	got["log"] = read(w.dir + "/mail.log")
	return got
}

// start starts a system and returns what stops it, with a log that is complete.
func (w *world) start(system string) (stop func()) {
	env := []string{"PATH=" + os.Getenv("PATH"), "TZ=UTC", "LANG=C", "MAIL_CONFIG=" + w.dir + "/etc"}
	if system == "postfix" {
		p := oracle.At(w.t, w.dir)
		p.Env = env
		p.Start()
		return func() { p.Logged(); p.Stop() }
	}
	cmd := exec.Command(filepath.Join(w.bin, "mtad"), "-c", w.dir+"/etc")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%s does not start: %v %s %s", system, err, out, read(w.dir+"/mail.log"))
	}
	oracle.Answers("127.0.0.1:2525")
	return func() {
		pid := strings.TrimSpace(read(w.dir + "/q/pid/master.pid"))
		w.must("kill", pid)
		if !oracle.Await(func() bool { _, err := os.Stat("/proc/" + pid); return err != nil }) {
			w.t.Error("mtad does not end")
		}
	}
}

// send sends the mail of one case by SMTP.
func (w *world) send(c testCase) {
	port := "2525"
	if c.filtered {
		port = "2526"
	}
	conn, err := textproto.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	say := func(code int, format string, args ...any) {
		if format != "" {
			conn.PrintfLine(format, args...)
		}
		if _, _, err := conn.ReadResponse(code); err != nil {
			w.t.Errorf("%s: %s: %v", c.user, format, err)
		}
	}
	say(220, "")
	say(250, "EHLO client.test")
	say(250, "MAIL FROM:<%s>", c.sender())
	for _, r := range c.rcpts() {
		say(250, "RCPT TO:<%s>", strings.ReplaceAll(r, "DIR", w.dir))
	}
	say(354, "DATA")
	d := conn.DotWriter()
	fmt.Fprintf(d, "%sSubject: %s\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nFrom: Snd@client.test\nTo: x@mail.test\nMessage-ID: <%s@client.test>\n\nFrom here on\n.dot\nend\n",
		c.header, c.user, c.user)
	d.Close()
	say(250, "")
	say(221, "QUIT")
}

// settle waits until no message is on its way any more: each is delivered, or waits
// in deferred. A message that another one leads to (a bounce, a copy that a command
// sent) stands in the queue before the other leaves it, but maybe not where this
// looks next; so it looks several times.
func (w *world) settle() {
	still := 0
	if !oracle.Await(func() bool {
		still++
		for _, folder := range []string{"maildrop", "incoming", "active"} {
			if list, _ := os.ReadDir(filepath.Join(w.dir, "q", folder)); len(list) > 0 {
				still = 0
			}
		}
		return still >= 5 && complete(read(w.dir+"/mail.log"))
	}) {
		w.t.Errorf("mail is still on its way:\n%s", read(w.dir+"/mail.log"))
	}
}

// complete tells whether every case has come to an end.
func complete(log string) bool {
	got := deliveries(log)
	for _, c := range cases() {
		if c.differs == "" && len(got[strings.ToLower(c.user)]) == 0 {
			return false
		}
	}
	return true
}

// snapshot reads all mailboxes and whatever commands left. The order in which
// mails come into one mailbox is chance: each system delivers many at once.
func (w *world) snapshot() map[string]string {
	found := map[string][]string{}
	for _, d := range []string{"home", "mail", "out", "v"} {
		filepath.WalkDir(filepath.Join(w.dir, d), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil
			}
			fi, err := e.Info()
			if err != nil || !fi.Mode().IsRegular() {
				return nil
			}
			rel := maildirName.ReplaceAllString(strings.TrimPrefix(path, w.dir), "/FILE")
			found[rel] = append(found[rel], fmt.Sprintf("mode %v\n%s", fi.Mode(), inOrder(normal(w.dir, read(path)))))
			return nil
		})
	}
	out := map[string]string{}
	for rel, texts := range found { // several only for the mails of a Maildir
		sort.Strings(texts)
		out[rel] = strings.Join(texts, "")
	}
	return out
}

// inOrder sorts the mails of an mbox. What is no mbox stays as it is.
func inOrder(text string) string {
	if !strings.HasPrefix(text, "From ") {
		return text
	}
	list := strings.Split("\n"+strings.TrimSuffix(text, "\n"), "\nFrom ")
	sort.Strings(list)
	return strings.Join(list, "\nFrom ")
}

var (
	maildirName = regexp.MustCompile(`/[0-9]+\.[^/]*$`)
	queueID     = regexp.MustCompile(`\b[0-9A-F]{8,13}\b`)
	received    = regexp.MustCompile(`(?m)^Received:.*\n(\s.*\n)*`)
	fromDate    = regexp.MustCompile(`(?m)^(From \S+ ).*$`)
	boundary    = regexp.MustCompile(`ID\.[0-9]+/`)
	logDelay    = regexp.MustCompile(`delays?=[0-9./]+(, )?`)
	longRun     = regexp.MustCompile(`x{100,}.*`)
	toLine      = regexp.MustCompile(`postfix/(\S+)\[\d+\]: \w+: (to=.*)`)
)

// normal takes out what differs from run to run.
func normal(dir, s string) string {
	s = received.ReplaceAllString(s, "Received: X\n")
	s = fromDate.ReplaceAllString(s, "${1}DATE")
	s = queueID.ReplaceAllString(s, "ID")
	return boundary.ReplaceAllString(s, "ID.N/")
}

// deliveries returns the delivery lines of a log by the original recipient.
func deliveries(log string) map[string][]string {
	out := map[string][]string{}
	for _, m := range toLine.FindAllStringSubmatch(log, -1) {
		line := m[1] + " " + logDelay.ReplaceAllString(queueID.ReplaceAllString(m[2], "ID"), "")
		line = longRun.ReplaceAllString(line, "x...")
		key, _, _ := strings.Cut(strings.TrimPrefix(m[2], "to=<"), ">")
		if _, orig, ok := strings.Cut(m[2], "orig_to=<"); ok {
			key, _, _ = strings.Cut(orig, ">")
		}
		key, _, _ = strings.Cut(key, "@")
		key, _, _ = strings.Cut(key, "+")
		out[strings.ToLower(key)] = append(out[strings.ToLower(key)], line)
	}
	for _, list := range out {
		sort.Strings(list)
	}
	return out
}

// compare tells every difference. Bounces and their text are the business of
// another test: only their number shows here, in the log.
func (w *world) compare(theirs, ours map[string]string) {
	a, b := deliveries(theirs["log"]), deliveries(ours["log"])
	n := 0
	for _, c := range cases() {
		k := strings.ToLower(c.user)
		x, y := strings.Join(a[k], "\n"), strings.Join(b[k], "\n")
		if x == "" && c.differs == "" {
			w.t.Errorf("%s: Postfix logged nothing", c.user)
		}
		if x != y && c.differs == "" {
			w.t.Errorf("%s:\nPostfix: %s\nours:    %s", c.user, x, y)
		}
		n++
	}
	w.t.Logf("%d cases", n)
	for k := range a { // recipients that are no case's user: addresses that look like code
		if strings.ContainsAny(k, "|/:;`$~") && strings.Join(a[k], "\n") != strings.Join(b[k], "\n") {
			w.t.Errorf("%s:\nPostfix: %s\nours:    %s", k, a[k], b[k])
		}
	}
	keys := map[string]bool{}
	for _, m := range []map[string]string{theirs, ours} {
		for k := range m {
			keys[k] = true
		}
	}
	for k := range keys {
		if k == "log" || strings.Contains(k, "/mail/sink") || skipped(k) {
			continue
		}
		if theirs[k] != ours[k] {
			w.t.Errorf("file %s:\nPostfix:\n%s\nours:\n%s", k, theirs[k], ours[k])
		}
	}
	if os.Getenv("PACKETBOAT_LOGS") != "" {
		w.t.Logf("Postfix:\n%s\nours:\n%s", theirs["log"], ours["log"])
	}
}

// skipped are the files of cases that differ for a stated reason.
func skipped(path string) bool {
	for _, c := range cases() {
		if c.differs != "" && (strings.Contains(path+"/", "/"+c.user+"/") || strings.Contains(path, "/"+c.user+".lock")) {
			return true
		}
	}
	return false
}
