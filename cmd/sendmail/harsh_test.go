package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shell runs a script with the sandbox's environment; $S is sendmail.
func (s *sandbox) shell(t *testing.T, stdin, script string, env ...string) (int, string) {
	t.Helper()
	return s.run(t, append(s.env(env...), "S="+binaries+"/sendmail"), stdin, "/bin/sh", "-c", script)
}

// What callers do to a program before they start it.
func TestHarshCallers(t *testing.T) {
	s := newSandbox(t)
	letter := filepath.Join(s.dir, "letter")
	s.write(t, "letter", "skipped\nSubject: at\n\nx\n", 0o600)
	for name, script := range map[string]string{
		"umask":          "umask 0777; exec $S bob",
		"no directory":   "d=$(mktemp -d) && cd $d && rmdir $d && exec $S bob",
		"closed stdout":  "exec $S bob >&-",
		"closed stderr":  "exec $S bob 2>&-",
		"all closed":     "exec $S bob >&- 2>&- <&-",
		"few files":      "ulimit -n 16; exec $S bob",
		"file at offset": "exec <" + letter + "; read line; exec $S bob",
		"no environment": "exec env -i MAIL_CONFIG=$MAIL_CONFIG $S bob",
		"GODEBUG":        "GODEBUG=gctrace=0,inittrace=0 GOTRACEBACK=crash exec $S bob",
		"ignored signal": "trap '' HUP INT TERM PIPE CHLD; exec $S bob",
	} {
		code, out := s.shell(t, "Subject: x\n\nx\n", script)
		files := s.maildrop(t)
		if code != 0 || out != "" || len(files) != 1 {
			t.Errorf("%s: exit %d %q, %d files", name, code, out, len(files))
		}
		if len(files) == 1 && name == "file at offset" && of(records(t, files[0]), 'N')[0] != "Subject: at" {
			t.Errorf("%s: %q", name, files[0])
		}
	}
}

// When it cannot be kept, nobody is told that it was, and nothing is left.
func TestFailures(t *testing.T) {
	s := newSandbox(t)
	big := "Subject: x\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 2000)
	for name, script := range map[string]string{
		"file size limit": "ulimit -f 8; exec $S bob",
		"no room":         "echo queue_minfree = 9000000000000000000 >>$MAIL_CONFIG/main.cf; exec $S bob",
		"no maildrop":     "mv $MAIL_CONFIG/../spool/maildrop $MAIL_CONFIG/../kept; $S bob; x=$?; mv $MAIL_CONFIG/../kept $MAIL_CONFIG/../spool/maildrop; exit $x",
		"no spool":        "echo queue_directory = /nonexistent >>$MAIL_CONFIG/main.cf; exec $S bob",
		"no main.cf":      "rm $MAIL_CONFIG/main.cf; exec $S bob",
	} {
		conf, err := os.ReadFile(s.config + "/main.cf")
		if err != nil {
			t.Fatal(err)
		}
		code, out := s.shell(t, big, script)
		if code != 75 || !strings.Contains(out, "sendmail: fatal: ") {
			t.Errorf("%s: exit %d %q", name, code, out)
		}
		if files := s.maildrop(t); len(files) != 0 {
			t.Errorf("%s: %d files are left", name, len(files))
		}
		s.write(t, "etc/main.cf", string(conf), 0o644)
	}
}

// Nothing in the arguments ends a line of the envelope, the header or the log.
func TestInjection(t *testing.T) {
	s := newSandbox(t)
	code, _ := s.sendmail(t, "x\n", "-F", "x\nBcc: y", "-f", "a@b\nX: y", "bob\nTo: c")
	files := s.maildrop(t)
	if code != 0 || len(files) != 1 {
		t.Fatalf("exit %d, %d files", code, len(files))
	}
	for _, r := range records(t, files[0]) {
		if strings.ContainsAny(r.data, "\r\n") {
			t.Errorf("%v", r)
		}
	}
	_, out := s.sendmail(t, "x\n", "-f", "a@b\nsendmail: fatal: forged", "-N", "a\nb", "bob")
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "sendmail: warning: ") {
			t.Errorf("%q", out)
		}
	}
	s.maildrop(t)
}

// A configuration directory of somebody else is refused, but to root.
func TestConfigurationDirectory(t *testing.T) {
	s := newSandbox(t)
	if code, out := s.sendmail(t, letter, "-C", s.config+"/main.cf", "bob"); code != 0 || out != "" {
		t.Errorf("-C with our own main.cf: %d %q", code, out)
	}
	s.maildrop(t)
	if os.Getuid() == 0 {
		t.Skip("root may name any directory")
	}
	code, out := s.sendmail(t, letter, "-C", "/tmp/none", "bob")
	want := "sendmail: error: unauthorized configuration directory name: /tmp/none\n" +
		`sendmail: fatal: specify "alternate_config_directories = /tmp/none" or "multi_instance_directories = /tmp/none" in /etc/postfix/main.cf` + "\n"
	if code != 75 || out != want {
		t.Errorf("%d %q", code, out)
	}
}

// A dialogue of sendmail -bs: lines with "c" are sent, all answers stand after "s".
func TestDialogue(t *testing.T) {
	s := newSandbox(t)
	script := []string{
		"s 220 mail.example.org ESMTP Postfix (Debian/GNU)",
		"c FOO", "s 500 5.5.2 Error: command not recognized",
		"c STARTTLS", "s 500 5.5.2 Error: command not recognized",
		"c AUTH PLAIN", "s 500 5.5.2 Error: command not recognized",
		"c EHLO x", "s 250-mail.example.org", "s 250-PIPELINING", "s 250-SIZE 200000", "s 250-VRFY", "s 250-ETRN",
		"s 250-ENHANCEDSTATUSCODES", "s 250-8BITMIME", "s 250-DSN", "s 250-SMTPUTF8", "s 250 CHUNKING",
		"c RCPT TO:<a>", "s 503 5.5.1 Error: need MAIL command",
		"c MAIL FROM:<a> SIZE=200001", "s 552 5.3.4 Message size exceeds fixed limit",
		"c MAIL FROM:<a> FOO=1", "s 555 5.5.4 Unsupported option: FOO=1",
		"c MAIL FROM:<a> ENVID=+0a", "s 501 5.5.4 Bad ENVID parameter syntax",
		"c MAIL FROM:<alice> BODY=8BITMIME RET=HDRS ENVID=a+2Bb", "s 250 2.1.0 Ok",
		"c MAIL FROM:<b>", "s 503 5.5.1 Error: nested MAIL command",
		"c DATA", "s 503 5.5.1 Error: need RCPT command",
		"c RCPT TO:<>", "s 501 5.1.3 Bad recipient address syntax",
		"c RCPT TO:<b> NOTIFY=never,delay", "s 501 5.5.4 Error: Bad NOTIFY parameter syntax",
		"c RCPT TO:<bob> NOTIFY=FAILURE ORCPT=rfc822;x+40y", "s 250 2.1.5 Ok",
		"c RCPT TO:carol", "s 250 2.1.5 Ok",
		"c DATA", "s 354 End data with <CR><LF>.<CR><LF>",
		"c Subject: x", "c ", "c ..dot", "c .", "s 250 2.0.0 Ok: queued as ID",
		"c MAIL FROM:<>", "s 250 2.1.0 Ok", "c RCPT TO:<bob>", "s 250 2.1.5 Ok",
		"c BDAT 4", "c ab", "s 250 2.0.0 Ok: 4 bytes",
		"c MAIL FROM:<x>", "s 503 5.5.1 Error: MAIL after BDAT",
		"c BDAT 3 LAST", "c c", "s 250 2.0.0 Ok: queued as ID",
		"c BDAT 3 LAST", "c d", "s 503 5.5.1 Error: need RCPT command",
		"c VRFY bob", "s 252 2.0.0 bob", "c NOOP", "s 250 2.0.0 Ok", "c RSET", "s 250 2.0.0 Ok",
		"c QUIT", "s 221 2.0.0 Bye",
	}
	var in, want strings.Builder
	for _, line := range script {
		if text, ok := strings.CutPrefix(line, "c "); ok {
			in.WriteString(text + "\r\n")
			continue
		}
		want.WriteString(line[2:] + "\r\n")
	}
	code, out := s.sendmail(t, in.String(), "-bs")
	got := out
	files := s.maildrop(t)
	for line := range strings.Lines(out) {
		if _, id, ok := strings.Cut(strings.TrimSpace(line), "queued as "); ok {
			got = strings.Replace(got, id, "ID", 1)
		}
	}
	if code != 0 || got != want.String() {
		t.Errorf("exit %d\n got %s\nwant %s", code, got, want.String())
	}
	if len(files) != 2 {
		t.Fatalf("%d files", len(files))
	}
	all := strings.Join(files, "")
	for _, part := range []string{"S\x05alice", "R\x03bob", "R\x05carol", "A\x0fenvelope_id=a+b", "A\x0bret_flags=2", "A\x0dencoding=8bit",
		"dsn_orig_rcpt=rfc822;x@y", "N\x04.dot", "N\x02ab", "N\x01c", "Received: from x (localhost [127.0.0.1])", "with ESMTP id"} {
		if !strings.Contains(all, part) {
			t.Errorf("no %q in %q", part, all)
		}
	}
}

// The other side goes away in the middle of a message: nothing is posted.
func TestDialogueEndsEarly(t *testing.T) {
	s := newSandbox(t)
	for _, in := range []string{"", "EHLO", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n",
		"MAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 10 LAST\r\nabc", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 3\r\nabcQUIT\r\n",
		strings.Repeat("x", 100000), "BDAT -1\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n.\r\n"} {
		code, out := s.sendmail(t, in, "-bs")
		if n := len(s.maildrop(t)); code != 0 || n != 0 || !strings.HasPrefix(out, "220 ") {
			t.Errorf("%.40q: exit %d, %d files, %q", in, code, n, out)
		}
	}
}

// However BDAT cuts a message, its lines are the same.
func TestChunks(t *testing.T) {
	s := newSandbox(t)
	body := "Subject: x\r\n\r\na\rb\r\r\n\nlast"
	var first string
	for n := 1; n <= len(body); n += 3 {
		var in bytes.Buffer
		in.WriteString("MAIL FROM:<a>\r\nRCPT TO:<b>\r\n")
		for rest := body; rest != ""; {
			part := rest[:min(n, len(rest))]
			rest = rest[len(part):]
			in.WriteString("BDAT " + string(rune('0'+len(part)/10)) + string(rune('0'+len(part)%10)))
			if rest == "" {
				in.WriteString(" LAST")
			}
			in.WriteString("\r\n" + part)
		}
		s.sendmail(t, in.String(), "-bs")
		files := s.maildrop(t)
		if len(files) != 1 {
			t.Fatalf("chunks of %d: %d files", n, len(files))
		}
		lines := of(records(t, files[0]), 'N')
		got := strings.Join(lines[3:], "|") // behind Received:
		if first == "" {
			first = got
		}
		if got != first || got != "Subject: x||a\rb\r||last" {
			t.Errorf("chunks of %d: %q", n, got)
		}
	}
}

// BenchmarkSubmit starts sendmail for a message of a usual size.
func BenchmarkSubmit(b *testing.B) {
	s := newSandbox(b)
	text := "Subject: x\n\n" + strings.Repeat(strings.Repeat("x", 75)+"\n", 50)
	for b.Loop() {
		if code, out := s.run(b, s.env(), text, binaries+"/sendmail", "bob"); code != 0 {
			b.Fatal(out)
		}
	}
}

// authorized_submit_users: the text and exit code of Postfix, and nothing in maildrop.
func TestAuthorizedSubmitUsers(t *testing.T) {
	who := caller(t)
	name, _, _ := strings.Cut(who, "(")
	s := newSandbox(t, "authorized_submit_users = !"+name+", static:all")
	want := "sendmail: fatal: User " + who + " is not allowed to submit mail\n"
	for _, arg := range []string{"bob", "-bs"} {
		if code, out := s.sendmail(t, "Subject: x\n\nbody\n", arg); code != exitTempfail || out != want {
			t.Errorf("%s: exit %d %q, want %q", arg, code, out, want)
		}
	}
	if files := s.maildrop(t); len(files) != 0 {
		t.Errorf("left %q", files)
	}
	s = newSandbox(t, "authorized_submit_users = "+name)
	if code, out := s.sendmail(t, "Subject: x\n\nbody\n", "bob"); code != 0 || out != "" || len(s.maildrop(t)) != 1 {
		t.Errorf("exit %d %q", code, out)
	}
}
