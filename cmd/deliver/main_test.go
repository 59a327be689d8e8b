package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

// try runs the program as the caller with a configuration of its own.
func try(t *testing.T, dir, in string, argv ...string) (int, string) {
	t.Helper()
	t.Setenv("MAIL_CONFIG", dir)
	var out bytes.Buffer
	code := run(argv, strings.NewReader(in), &out)
	return code, out.String()
}

func me(t *testing.T) *proc.User {
	t.Helper()
	u, err := proc.LookupUID(os.Geteuid())
	if err != nil {
		t.Skip("this process's user has no account: ", err)
	}
	return u
}

func scratch(t *testing.T, lines string) (dir, spool string) {
	t.Helper()
	dir = t.TempDir()
	spool = filepath.Join(dir, "spool")
	os.Mkdir(spool, 0o700)
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte("mail_spool_directory = "+spool+"\n"+lines), 0o600)
	return dir, spool
}

func TestDeliverOne(t *testing.T) {
	u := me(t)
	dir, spool := scratch(t, "")
	if code, out := try(t, dir, "Subject: x\n\nhi\n", "deliver", "-d", u.Name, "-f", "a@b", "-a", "orig@x"); code != 0 {
		t.Fatal(code, out)
	}
	if code, out := try(t, dir, "From b@c  Mon Nov 23 14:03:58 2026\nSubject: y\n\nho\n", "/usr/bin/deliver"); code != 0 {
		t.Fatal(code, out)
	}
	b, _ := os.ReadFile(filepath.Join(spool, u.Name))
	s := string(b)
	if !strings.HasPrefix(s, "From a@b  ") || !strings.Contains(s, "\nReturn-Path: <a@b>\nX-Original-To: orig@x\nSubject: x\n\nhi\n\nFrom b@c  Mon Nov 23 14:03:58 2026\nSubject: y\n\nho\n\n") {
		t.Errorf("%s", s)
	}
}

func TestExitCodes(t *testing.T) {
	u := me(t)
	dir, spool := scratch(t, "mailbox_size_limit = 10\nmessage_size_limit = 10\n")
	os.Mkdir(filepath.Join(spool, "other"), 0o700)
	for _, c := range []struct {
		argv string
		code int
		text string
	}{
		{"deliver -d no-such-account-here", exNoUser, "no such user"},
		{"deliver -d " + u.Name, exTempFail, "File too large"},
		{"deliver extra", exTempFail, "unexpected argument"},
		{"deliver --unknown", exTempFail, "unknown flag"},
		{"deliver --as x --inbox /y", exTempFail, "UID:GID"},
		{"deliver --inbox /y", exTempFail, "belong together"},
		{"procmail -m rc", exTempFail, "rc file"},
		{"procmail -d", exTempFail, "wants a recipient"},
		{"procmail " + dir + "/main.cf", exTempFail, "rc files are not run"},
	} {
		if code, out := try(t, dir, "Subject: x\n\nhi\n", strings.Fields(c.argv)...); code != c.code || !strings.Contains(out, c.text) || !strings.HasPrefix(out, "error: ") {
			t.Errorf("%s: exit %d, want %d: %s", c.argv, code, c.code, out)
		}
	}
	if os.Geteuid() != 0 {
		if code, out := try(t, dir, "x", "deliver", "-d", "root"); code != exNoPerm {
			t.Errorf("delivery to root: exit %d: %s", code, out)
		}
	}
}

func TestExit(t *testing.T) {
	for st, want := range map[*mail.Status]int{
		mail.Defer("4.2.2", "x"): exTempFail, mail.Bounce("5.2.0", "x"): exCantCreate, mail.Bounce("5.7.1", "x"): exNoPerm,
	} {
		if got := report(&bytes.Buffer{}, exit(st)); got != want {
			t.Errorf("%s: %d, want %d", st.Code, got, want)
		}
	}
}

// TestProcmail: rules of the user's are never ignored.
func TestProcmail(t *testing.T) {
	home := t.TempDir()
	box := filepath.Join(home, "box")
	c := &call{procmail: true}
	who := &proc.User{Home: home}
	if err := c.rcFiles(who); err != nil {
		t.Error(err)
	}
	os.WriteFile(filepath.Join(home, ".procmailrc"), []byte(":0\n/dev/null\n"), 0o600)
	if err := c.rcFiles(who); err == nil || !strings.Contains(err.Error(), ".procmailrc") {
		t.Errorf("a .procmailrc was passed over: %v", err)
	}
	dir, _ := scratch(t, "")
	if code, out := try(t, dir, "Subject: x\n\nhi\n", "procmail", "-f", "a@b", "-a", "ext", "DEFAULT="+box, "/dev/null"); code != 0 {
		t.Fatal(code, out)
	}
	if b, _ := os.ReadFile(box); !strings.HasPrefix(string(b), "From a@b  ") || strings.Contains(string(b), "Return-Path") {
		t.Errorf("%s", b)
	}
}

func TestLDA(t *testing.T) {
	u := me(t)
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "mail"), 0o700)
	os.WriteFile(filepath.Join(dir, "mail", "Lists"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, "message"), []byte("Message-ID: <m@x>\n\nhi\n"), 0o600)
	os.WriteFile(filepath.Join(dir, "none.conf"), nil, 0o600)
	logFile := filepath.Join(dir, "log")
	argv := []string{"dovecot-lda", "-d", u.Name, "-f", "a@b", "-a", "o@x", "-e", "-c", filepath.Join(dir, "none.conf"),
		"-o", "mail_location=mbox:" + dir + "/mail:INBOX=" + dir + "/inbox", "-o", "log_path=" + logFile}
	for box, file := range map[string]string{"": "inbox", "Lists": "mail/Lists", "Nowhere": "inbox"} {
		args := append(append([]string{}, argv...), "-p", filepath.Join(dir, "message"))
		if box != "" {
			args = append(args, "-m", box)
		}
		before, _ := os.ReadFile(filepath.Join(dir, file))
		if code, out := try(t, dir, "", args...); code != 0 {
			t.Fatal(box, code, out)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, file)); len(b) <= len(before) {
			t.Errorf("-m %q: nothing came to %s", box, file)
		}
	}
	b, _ := os.ReadFile(logFile)
	if s := string(b); !strings.Contains(s, "lda("+u.Name+")<") || !strings.Contains(s, "msgid=<m@x>: saved mail to Lists\n") || !strings.Contains(s, "saved mail to INBOX\n") {
		t.Errorf("log: %s", s)
	}
}

// TestLDAMaildir: -m names folders of a Maildir with the separator of its layout.
func TestLDAMaildir(t *testing.T) {
	u := me(t)
	for layout, folders := range map[string]map[string]string{
		"":           {"": "new", "Lists.Go": ".Lists.Go/new", "Lists.Nowhere": "new", "INBOX": "new"},
		":LAYOUT=fs": {"": "new", "Lists/Go": "Lists/Go/new", "Lists/../..": "new"},
	} {
		dir := t.TempDir()
		for _, sub := range []string{"cur", "new", "tmp", ".Lists.Go/cur", ".Lists.Go/new", ".Lists.Go/tmp", "Lists/Go/cur", "Lists/Go/new", "Lists/Go/tmp"} {
			if err := os.MkdirAll(filepath.Join(dir, "Maildir", sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		os.WriteFile(filepath.Join(dir, "message"), []byte("Message-ID: <m@x>\n\nhi\n"), 0o600)
		os.WriteFile(filepath.Join(dir, "none.conf"), nil, 0o600)
		for box, into := range folders {
			args := []string{"dovecot-lda", "-d", u.Name, "-f", "a@b", "-e", "-c", filepath.Join(dir, "none.conf"), "-p", filepath.Join(dir, "message"),
				"-o", "mail_location=maildir:" + dir + "/Maildir" + layout, "-o", "log_path=" + filepath.Join(dir, "log")}
			if box != "" {
				args = append(args, "-m", box)
			}
			before, _ := os.ReadDir(filepath.Join(dir, "Maildir", into))
			if code, out := try(t, dir, "", args...); code != 0 {
				t.Fatal(layout, box, code, out)
			}
			if after, _ := os.ReadDir(filepath.Join(dir, "Maildir", into)); len(after) != len(before)+1 {
				t.Errorf("%s -m %q: nothing came to %s", layout, box, into)
			}
		}
	}
}

// TestLDAFull: what a full mailbox does with each of -e and quota_full_tempfail, and
// the mail that dovecot-lda sends without them.
func TestLDAFull(t *testing.T) {
	u := me(t)
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "dovecot.conf"), []byte("mail_plugins = quota\nhostname = h.test\nsendmail_path = "+dir+"/sendmail -x\n"+
		"mail_location = maildir:"+dir+"/M\nlog_path = "+dir+"/log\nplugin {\n  quota = maildir:U\n  quota_rule = *:bytes=10\n}\n"), 0o600)
	os.WriteFile(filepath.Join(dir, "sendmail"), []byte("#!/bin/sh\necho $* > "+dir+"/sent\ncat >> "+dir+"/sent\n"), 0o700)
	in := "Message-ID: <m@x>\nSubject: hello\n\nmore than ten\n"
	lda := []string{"dovecot-lda", "-c", dir + "/dovecot.conf", "-d", u.Name, "-o", "nosuch=1"}
	for _, c := range []struct {
		args string
		code int
		out  string
	}{
		{"-f s@x -e", exNoPerm, "Quota exceeded (mailbox for user is full)\n"},
		{"-f s@x -e -o quota_full_tempfail=yes", exTempFail, "Quota exceeded (mailbox for user is full)\n"},
		{"-f s@x -o quota_full_tempfail=yes", exTempFail, "Quota exceeded (mailbox for user is full)\n"},
		{"-f s@x -o plugin/quota_exceeded_message=Sorry,%u -e", exNoPerm, "Sorry," + u.Name + "\n"},
		{"-r fin@x", exOK, ""}, // nobody to tell
		{"-f s@x -r fin@x", exOK, ""},
		{"-f s@x -o plugin/quota_rule=*:storage=10 -e", exOK, ""},
	} {
		if code, out := try(t, dir, in, append(lda[:len(lda):len(lda)], strings.Fields(c.args)...)...); code != c.code || out != c.out {
			t.Errorf("%s: exit %d, %q", c.args, code, out)
		}
		if b, _ := os.ReadFile(dir + "/sent"); c.args != "-f s@x -r fin@x" && c.code != exOK && len(b) > 0 {
			t.Errorf("%s: a mail was sent", c.args)
		}
	}
	b, _ := os.ReadFile(dir + "/sent")
	for _, want := range []string{"-x -i -f <> -- s@x\n", "To: <s@x>\r\n", "Subject: Rejected: hello\r\n", "Your message to <fin@x> was automatically rejected:\r\nQuota exceeded (mailbox for user is full)\r\n",
		"Auto-Submitted: auto-replied (rejected)\r\n", "Final-Recipient: rfc822; fin@x\r\nAction: failed\r\nStatus: 5.2.2\r\n", "\r\n\r\nMessage-ID: <m@x>\nSubject: hello\n\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is missing in\n%s", want, b)
		}
	}
	log, _ := os.ReadFile(dir + "/log")
	if !strings.Contains(string(log), "msgid=<m@x>: rejected: Quota") || !strings.Contains(string(log), "Return-Path missing") {
		t.Errorf("%s", log)
	}
}

// TestLDAUsage: wrong command lines end as dovecot-lda's do.
func TestLDAUsage(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "d.conf")
	os.WriteFile(conf, nil, 0o600)
	for args, want := range map[string]string{
		"-d u -x":              "64 dovecot-lda: invalid option -- 'x'\nUsage: dovecot-lda [-c",
		"-d u -m":              "64 dovecot-lda: option requires an argument -- 'm'\nUsage: ",
		"-d u extra":           "64 lda: Fatal: Unknown argument: extra\nUsage: ",
		"-d u -o x -c " + conf: "75 lda(",
		"-d u -c /nonexistent": "75 lda(",
	} {
		code, out := try(t, dir, "", append([]string{"dovecot-lda"}, strings.Fields(args)...)...)
		if got := fmt.Sprint(code, " ", out); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", args, got)
		}
	}
}
