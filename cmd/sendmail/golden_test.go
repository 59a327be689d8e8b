package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/receive/intake"
	"packetboat/internal/receive/pickup"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// letter is the message that most command lines of the golden file were given.
const letter = "Subject: s\nFrom: a\n\nbody\n"

// commandLine is one entry of golden/sendmail-cli.txt: the text there joins the
// words with blanks, so they stand here again, with the input.
type commandLine struct {
	tag, stdin string
	args       []string
	rcpts      string // recipients, joined; "" = nothing is posted
}

func words(s ...string) []string { return s }

var commandLines = []commandLine{
	{"plain", letter, words("bob"), "bob"},
	{"nohdr", "just text\nno header\n", words("bob"), "bob"},
	{"dot", "Subject: dot\n\na\n.\nnot kept\n", words("bob"), "bob"},
	{"doti", "Subject: doti\n\na\n.\nkept\n", words("-i", "bob"), "bob"},
	{"t_none", "Subject: x\n\nx\n", words("-t"), ""},
	{"norcpt", letter, nil, ""},
	{"t_args", "To: carol\nSubject: t-args\n\nx\n", words("-t", "alice"), "alice carol"},
	{"bcc", "To: carol\nBcc: bob\nSubject: bcc-noargs\n\nx\n", words("carol"), "carol"},
	{"f_empty", letter, words("-f", "", "bob"), "bob"},
	{"f_angle", letter, words("-f", "<x@y.test>", "bob"), "bob"},
	{"f_name", letter, words("-f", "Full Name <x@y.test>", "bob"), "bob"},
	{"f_attached", letter, words("-fx@y.test", "bob"), "bob"},
	{"r", letter, words("-r", "x@y.test", "bob"), "bob"},
	{"F", "Subject: F\n\nx\n", words("-F", "Full N", "bob"), "bob"},
	{"bundle_ti", "To: bob\nSubject: ti\n\nx\n", words("-oem", "-ti"), "bob"},
	{"bundle_it", "To: bob\nSubject: it\n\nx\n", words("-it"), "bob"},
	{"afteropt", letter, words("bob", "-f", "x@y.test"), "bob -f x@y.test"},
	{"dashdash", letter, words("-i", "--", "bob"), "bob"},
	{"dashrcpt", letter, words("-i", "--", "-bob"), "-bob"},
	{"comma", letter, words("bob,carol"), "bob carol"},
	{"comma2", letter, words("bob, carol"), "bob carol"},
	{"namerc", letter, words("Bob B <bob@localhost>"), "bob@localhost"},
	{"unknown", letter, words("nosuchuser"), "nosuchuser"},
	{"badopt", letter, words("-Z", "bob"), ""},
	{"Bbad", letter, words("-B", "FOO", "bob"), ""},
	{"B8", letter, words("-B8BITMIME", "bob"), "bob"},
	{"Nbad", letter, words("-N", "foo", "bob"), "bob"},
	{"Nok", letter, words("-N", "success,delay,failure", "bob"), "bob"},
	{"R", letter, words("-R", "hdrs", "bob"), "bob"},
	{"Rbad", letter, words("-R", "foo", "bob"), "bob"},
	{"V", letter, words("-V", "envid1", "bob"), "bob"},
	{"XV", letter, words("-XV", "-f", "list@y.test", "bob"), "bob"},
	{"O", letter, words("-O", "DeliveryMode=b", "-oQ/tmp", "-odi", "bob"), "bob"},
	{"h", letter, words("-h", "3", "bob"), "bob"},
	{"p", letter, words("-p", "SMTP:x", "bob"), "bob"},
	{"m", letter, words("-m", "-n", "-U", "-e", "m", "bob"), ""},
	{"L", letter, words("-L", "tag", "bob"), "bob"},
	{"v", letter, words("-v", "bob"), "bob"},
	{"bv", "", words("-bv", "bob", "nosuch@example.test"), "bob nosuch@example.test"},
	{"bt", "", words("-bt"), ""},
	{"bpbad", "", words("-bz"), ""},
	{"d", "", words("-d0.1", "-bt"), ""},
	{"q30", "", words("-q30m"), ""},
	{"qS", "", words("-qSfoo"), ""},
	{"empty", "", words("bob"), "bob"},
	{"nul", "Subject: nul\n\na\x00b\n", words("bob"), "bob"},
	{"long", "Subject: long\n\n" + strings.Repeat("x", 3000) + "\n", words("bob"), "bob"},
	{"crlf", "Subject: crlf\r\nTo: bob\r\n\r\nl1\r\nl2\r\n", words("-t"), "bob"},
	{"crlfmix", "Subject: crlfmix\nTo: bob\r\n\r\nl1\nl2\r\n", words("-t"), "bob"},
	{"fromline", "From x@y Mon Nov 23 14:07:05 2026\nSubject: fromline\n\nx\n", words("bob"), "bob"},
	{"gfromline", ">From x@y Mon Nov 23 14:07:05 2026\nSubject: gfromline\n\nFrom here\n", words("bob"), "bob"},
	{"resent", "Resent-To: carol\nTo: bob\nSubject: resent\n\nx\n", words("-t"), "carol"},
	{"nonl", "Subject: nonl\n\nno newline", words("bob"), "bob"},
	{"bigsz", "Subject: big\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 4000), words("bob"), ""},
	{"G", letter, words("-G", "bob"), "bob"},
	{"group", "To: friends: bob, carol;\nSubject: group\n\nx\n", words("-t"), "bob carol"},
	{"undisc", "To: undisclosed-recipients:;\nBcc: bob\nSubject: undisc\n\nx\n", words("-t"), "bob"},
	{"folded", "To: bob,\n carol\nSubject: folded\n\nx\n", words("-t"), "bob carol"},
	{"comment", "To: bob (the man), \"C, D\" <carol@localhost>\nSubject: cmt\n\nx\n", words("-t"), "bob carol@localhost"},
}

// goldenOutputs reads golden/sendmail-cli.txt: what each command line printed,
// its exit code at the end.
func goldenOutputs(t *testing.T) map[string]string {
	out := map[string]string{}
	for _, entry := range strings.Split(golden(t, "sendmail-cli.txt"), "### ")[1:] {
		head, text, _ := strings.Cut(entry, "\n")
		tag, _, _ := strings.Cut(head, ":")
		out[tag] = text
	}
	return out
}

// As every command line of the golden file did with Postfix, so it does here:
// exit code, texts, recipients.
func TestCommandLines(t *testing.T) {
	want := goldenOutputs(t)
	s := newSandbox(t)
	me := caller(t)
	name, uid, _ := strings.Cut(strings.TrimSuffix(me, ")"), "(")
	for _, c := range commandLines {
		code, out := s.sendmail(t, c.stdin, c.args...)
		got := out + "exit=" + strconv.Itoa(code) + "\n"
		text := strings.NewReplacer("alice(1500)", me, "uid=1500", "uid="+uid, "<alice>", "<"+name+">").Replace(want[c.tag])
		if got != text {
			t.Errorf("%s: got %q, want %q", c.tag, got, text)
		}
		files := s.maildrop(t)
		if (len(files) == 0) != (c.rcpts == "") || len(files) > 1 {
			t.Errorf("%s: %d files", c.tag, len(files))
			continue
		}
		if len(files) == 1 {
			if r := strings.Join(of(records(t, files[0]), 'R'), " "); r != c.rcpts {
				t.Errorf("%s: recipients %q, want %q", c.tag, r, c.rcpts)
			}
		}
	}
}

// The other programs are run with the words that Postfix runs them with.
func TestOtherPrograms(t *testing.T) {
	s := newSandbox(t)
	for _, name := range []string{"postqueue", "postalias", "postfix"} {
		s.write(t, "cmd/"+name, "#!/bin/sh\necho "+name+" \"$@\" config=$MAIL_CONFIG\nexit 7\n", 0o755)
	}
	for _, c := range []struct {
		program, want string
		args          []string
	}{
		{"sendmail", "postqueue -p", words("-bp")},
		{"mailq", "postqueue -p", nil},
		{"sendmail", "postqueue -f", words("-q")},
		{"sendmail", "postqueue -i ABCDEF", words("-qIABCDEF")},
		{"sendmail", "postqueue -s sink.test", words("-qRsink.test")},
		{"sendmail", "postalias hash:/etc/aliases", words("-bi")},
		{"sendmail", "postalias hash:/etc/aliases", words("-I")},
		{"sendmail", "postalias /x", words("-bi", "-oA/x")},
		{"newaliases", "postalias hash:/etc/aliases", nil},
		{"newaliases", "postqueue -p", words("-bp")},
		{"sendmail", "postfix start", words("-bd")},
	} {
		code, out := s.run(t, s.env(), "", binaries+"/"+c.program, c.args...)
		if want := c.want + " config=" + s.config + "\n"; code != 7 || out != want {
			t.Errorf("%s %q: exit %d, %q, want %q", c.program, c.args, code, out, want)
		}
	}
	if code, out := s.sendmail(t, "", "-bp", "bob"); code != 75 || out != "sendmail: fatal: display queue mode requires no recipient\n" {
		t.Errorf("-bp bob: %d %q", code, out)
	}
}

// call is one line of golden/callers.jsonl: a real program that called
// sendmail.
type call struct {
	Tag   string            `json:"tag"`
	Argv  []string          `json:"argv"`
	Umask string            `json:"umask"`
	Env   map[string]string `json:"env"`
	Stdin string            `json:"stdin_head"`
}

func calls(t *testing.T) []call {
	var out []call
	for line := range strings.Lines(golden(t, "callers.jsonl")) {
		var c call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// posted are the recipients of the messages of every call, in the file's order.
var posted = []string{
	"root", "bob@example.com root carol@example.org dave@example.org", "root", "root", "-f env@example.org root", "root", "root",
	"root", "root c@example.org b@example.org", "root", "root", "root@mailhost.example.org",
	"root@mailhost.example.org bob@example.com c@example.org b@example.org", "root@mailhost.example.org", "root@mailhost.example.org",
	"root@mailhost.example.org", "root@mailhost.example.org", "root", "root@example.org b@example.org c@example.org", "x@example.org", "bob@example.org carol@example.org",
	"bob@example.org", "carol@example.org dave@example.org", "", "root c@example.org", "b@example.org", "root c@example.org|b@example.org", "root",
	"root", "root", "root", "root", "alice", "alice", "bob@example.org carol@example.org", "alice", "root", "bob@example.org",
	"root", "root", "root c@example.org me@example.org", "root", "root x@y.z", "root", "a@b.c", "root", "bob@example.org",
}

// Every real caller gets exit code 0, and its message to its recipients; one
// of them named none.
func TestCallers(t *testing.T) {
	s := newSandbox(t)
	list := calls(t)
	if len(list) != len(posted) {
		t.Fatalf("%d calls, %d expectations", len(list), len(posted))
	}
	for i, c := range list {
		var env []string
		for k, v := range c.Env {
			env = append(env, k+"="+v)
		}
		args := append([]string{"-c", "umask " + strings.TrimPrefix(c.Umask, "0o") + "; exec \"$@\"", "sh", binaries + "/sendmail"}, c.Argv[1:]...)
		code, out := s.run(t, append(env, "MAIL_CONFIG="+s.config), c.Stdin, "/bin/sh", args...)
		want := 0
		if posted[i] == "" {
			want = 75 // it named nobody
		}
		quiet := out == "" || want != 0 || slices.Contains(c.Argv, "-v") || slices.Contains(c.Argv, "-bs")
		if code != want || !quiet {
			t.Errorf("%d %s: exit %d %q", i, c.Tag, code, out)
		}
		var rcpts []string
		for _, f := range s.maildrop(t) {
			rcpts = append(rcpts, strings.Join(of(records(t, f), 'R'), " "))
		}
		slices.Sort(rcpts)
		slices.Reverse(rcpts)
		if got := strings.Join(rcpts, "|"); got != posted[i] {
			t.Errorf("%d %s: recipients %q, want %q", i, c.Tag, got, posted[i])
		}
	}
}

// normalize takes away what differs from run to run and what delivery adds.
func normalize(text string) string {
	text = regexp.MustCompile(`(?m)^(Return-Path|X-Original-To|Delivered-To|X-UID|X-IMAPbase|Status): .*\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\bid [0-9A-F]{6,}`).ReplaceAllString(text, "id ID")
	text = regexp.MustCompile(`<\d{14}\.[0-9A-F]+@`).ReplaceAllString(text, "<T.ID@")
	text = regexp.MustCompile(`\w{3}, [ \d]\d \w{3} \d{4} [\d:]{8} [-+]\d{4} \(\w+\)`).ReplaceAllString(text, "DATE")
	return regexp.MustCompile(`(?m)^From `).ReplaceAllString(text, ">From ")
}

// spooled returns the messages of local users that golden/spool.txt shows in
// the mailboxes of bob and carol.
func spooled(t *testing.T) map[string]bool {
	_, text, ok := strings.Cut(golden(t, "spool.txt"), "\n----bob\n")
	if !ok {
		t.Fatal("no mailbox of bob")
	}
	text = strings.NewReplacer("$\n", "\n", "^I", "\t", "^@", "\x00", "----carol\n", "").Replace(text)
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^From .*  Mon Nov 23 .*\n`).Split(text, -1) {
		m = strings.TrimSuffix(strings.Split(m, "/home/")[0], "\n")
		if strings.Contains(m, "from userid") && !strings.Contains(m, "with ESMTP") {
			out[normalize(m)] = false
		}
	}
	return out
}

// The whole road to the queue makes of every command line the bytes that
// Postfix delivered.
func TestSpool(t *testing.T) {
	want := spooled(t)
	u, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	s := newSandbox(t)
	got := make(chan string, 1)
	stop := s.startPickup(t, got)
	defer stop()
	for _, c := range commandLines {
		if c.rcpts == "" || c.tag == "bv" || c.tag == "dashrcpt" || c.tag == "unknown" {
			continue // nothing of it in these mailboxes
		}
		code, out := s.run(t, s.env("NAME=Alice"), c.stdin, binaries+"/sendmail", c.args...)
		if code != 0 {
			t.Fatalf("%s: %s", c.tag, out)
		}
		var text string
		select {
		case text = <-got:
		case <-time.After(oracle.Patience):
			t.Fatalf("%s: not picked up", c.tag)
		}
		text = strings.NewReplacer("from userid "+u.Uid+")", "from userid 1500)", "<"+u.Username+"@", "<alice@").Replace(normalize(text))
		if _, ok := want[text]; !ok {
			t.Errorf("%s: Postfix delivered no such message:\n%s", c.tag, text)
		}
		want[text] = true
	}
	for text, seen := range want {
		if !seen {
			t.Errorf("not made: %s", text)
		}
	}
}

// startPickup empties the sandbox's maildrop and sends the bytes of each
// queued message to got.
func (s *sandbox) startPickup(t *testing.T, got chan<- string) (stop func()) {
	q, err := queue.Open(filepath.Join(s.dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	l := maillog.To(io.Discard, maillog.Options{Host: "mail"})
	in, err := intake.New(intake.Options{Hostname: "mail.example.org", Origin: "mail.example.org"}, q, l.Program("cleanup"),
		func(id string, _ *mail.Envelope, _ int64) {
			c, err := q.OpenContent(id, queue.Incoming)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			b, _ := io.ReadAll(c.Reader())
			got <- string(b)
		})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- pickup.New(pickup.Options{QueueDirectory: s.dir + "/spool"}, in, l.Program("pickup")).Run(ctx)
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		q.Close()
	}
}

// Postfix's own sendmail hands the same records to postdrop.
func TestAgainstPostfix(t *testing.T) {
	const original = "/usr/sbin/sendmail"
	if os.Getuid() != 0 {
		t.Skip("only root may give Postfix's sendmail a configuration directory")
	}
	if b, err := os.ReadFile(original); err != nil || !strings.Contains(string(b), "postdrop -r") {
		t.Skip("no Postfix here")
	}
	s := newSandbox(t)
	capture := s.dir + "/captured"
	s.write(t, "cmd/postdrop", "#!/bin/sh\ntee "+capture+" | "+binaries+"/postdrop \"$@\"\n", 0o755)
	ours := filepath.Join(s.dir, "sendmail") // away from our postdrop
	b, err := os.ReadFile(binaries + "/sendmail")
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "sendmail", string(b), 0o755)
	compare := func(tag, stdin string, args []string) {
		var streams, outs [2]string
		for i, program := range []string{original, ours} {
			os.Remove(capture)
			code, out := s.run(t, s.env(), stdin, program, args...)
			outs[i] = out + "exit=" + strconv.Itoa(code)
			b, _ := os.ReadFile(capture) // none: nothing was posted
			for _, r := range records(t, string(b)) {
				streams[i] += r.String() + "\n"
			}
		}
		if outs[0] != outs[1] || streams[0] != streams[1] {
			t.Errorf("%s %q: Postfix: %s\n%s\nwe: %s\n%s", tag, args, outs[0], streams[0], outs[1], streams[1])
		}
	}
	for _, c := range commandLines {
		if c.rcpts != "" { // refusals are in the golden file; Postfix sleeps a second after each
			compare(c.tag, c.stdin, c.args)
		}
	}
	for _, c := range calls(t) {
		if !slices.Contains(c.Argv, "-bs") {
			compare(c.Tag, c.Stdin, c.Argv[1:])
		}
	}
}
