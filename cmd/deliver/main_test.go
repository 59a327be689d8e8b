package main

import (
	"bytes"
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
