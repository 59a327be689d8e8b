package main

import (
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// layPostfix writes a configuration for an own queue and log.
func layPostfix(t *testing.T, extra, master string) (dir, log string) {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	log = filepath.Join(dir, "mail.log")
	main := "queue_directory = " + dir + "/spool\nmaillog_file = " + log + "\nmail_owner = " + u.Username + "\n" + extra
	for name, text := range map[string]string{"main.cf": main, "master.cf": master} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, log
}

func TestPostfixCommand(t *testing.T) {
	cases := []struct {
		name, extra, master, args string
		code                      int
		stderr, log               string
	}{
		{name: "status", args: "status", code: 1, log: "postfix/postfix-script[%]: the Postfix mail system is not running\n"},
		{name: "stop", args: "stop", code: 1, stderr: "postfix: fatal: the Postfix mail system is not running\n", log: "fatal: the Postfix mail system is not running\n"},
		{name: "reload", args: "reload", code: 1, stderr: "postfix: fatal: the Postfix mail system is not running\n"},
		{name: "check", args: "check"},
		{name: "syslog_name", extra: "syslog_name = mx\n", args: "status", code: 1, log: "mx/postfix-script[%]: the Postfix mail system is not running\n"},
		{name: "bad value", extra: "soft_bounce  = maybe\n", args: "check", code: 1, stderr: "main.cf:4:16: parameter soft_bounce: \"maybe\" is neither yes nor no\nhint: write yes or no\n"},
		{name: "bad service", master: "smtp inet n - n\n", args: "check", code: 1, stderr: "master.cf:1: bad field count: 5 of 8 columns\nhint: write: service"},
		{name: "private inet", master: "smtp inet - - n - - smtpd\n", args: "check", code: 1, stderr: "master.cf:1: inet service smtp cannot be private\n"},
		{name: "misspelt", extra: "soft_bouce = no\n", args: "check", stderr: "warning: %/main.cf:4:1: unknown parameter soft_bouce: the line has no effect\nhint: did you mean soft_bounce? ", log: "warning: %/main.cf:4:1: unknown parameter soft_bouce"},
		{name: "all at once", extra: "nonsense\nsoft_bounce = x\nsmtpd_client_restrictions = oops\n", args: "check", code: 1, stderr: "main.cf:4:9: missing '=' after attribute name: \"nonsense\"\nhint: write \"name = value\"; a line that continues a value starts with white space\nerror: %/main.cf:5:15: parameter soft_bounce: \"x\" is neither yes nor no\nhint: write yes or no\nerror: %/main.cf:6:29: unknown restriction \"oops\" in smtpd_client_restrictions\n"},
		{name: "start with errors", extra: "nonsense\n", args: "start", code: 1, stderr: "postfix: fatal: Postfix integrity check failed!\n"},
		{name: "stop with errors", extra: "nonsense\n", args: "stop", code: 1, stderr: "postfix: fatal: the Postfix mail system is not running\n"},
		{name: "set-permissions", args: "set-permissions"},
		{name: "unknown", args: "jump", code: 1, stderr: "postfix: fatal: unknown command: 'jump'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, log := layPostfix(t, c.extra, c.master)
			var out, errs bytes.Buffer
			c.stderr, c.log = strings.ReplaceAll(c.stderr, "%", dir), strings.ReplaceAll(c.log, "%/", dir+"/")
			code := runPostfix([]string{"-c", dir, c.args}, nil, &out, &errs)
			if code != c.code || !strings.Contains(errs.String(), c.stderr) || c.stderr == "" && errs.Len() > 0 {
				t.Errorf("exit %d, %s", code, errs.String())
			}
			b, _ := os.ReadFile(log)
			if want := strings.ReplaceAll(c.log, "%", pidText()); !strings.Contains(string(b), want) {
				t.Errorf("log %q has no %q", b, want)
			}
		})
	}
}

// TestPostfixLogrotate holds that the old log is put aside and compressed.
func TestPostfixLogrotate(t *testing.T) {
	dir, log := layPostfix(t, "maillog_file_compressor = gzip\nmaillog_file_rotate_suffix = %Y-%%\n", "")
	if err := os.WriteFile(log, []byte("one line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	if code := runPostfix([]string{"-c", dir, "logrotate"}, nil, &errs, &errs); code != 0 {
		t.Fatal(code, errs.String())
	}
	old, _ := filepath.Glob(log + ".20[0-9][0-9]-%.gz")
	if _, err := os.Stat(log); err == nil || len(old) != 1 {
		t.Error("left behind: ", old, err)
	}
	if code := runPostfix([]string{"-c", dir, "logrotate"}, nil, &errs, &errs); code != 1 || !strings.Contains(errs.String(), "rotation failed") {
		t.Error("without a log: ", code, errs.String())
	}
}

func TestPostlog(t *testing.T) {
	dir, log := layPostfix(t, "", "")
	for args, want := range map[string]string{
		"hello|world":           "postfix/postlog[%]: hello world\n",
		"-p|warn|-t|a/b|x":      "a/b[%]: warning: x\n",
		"-ip|Fatal|x\x01y":      "postfix/postlog[%]: fatal: x?y\n",
		"-t|bad\ntag|-p|info|z": "bad?tag[%]: z\n",
	} {
		os.Remove(log)
		var errs bytes.Buffer
		code := runPostlog(append([]string{"-c", dir}, strings.Split(args, "|")...), nil, nil, &errs)
		b, _ := os.ReadFile(log)
		if code != 0 || !strings.HasSuffix(string(b), strings.ReplaceAll(want, "%", pidText())) {
			t.Errorf("%q: exit %d, %q, %s", args, code, b, errs.String())
		}
	}
	os.Remove(log)
	var errs bytes.Buffer
	if code := runPostlog([]string{"-c", dir}, strings.NewReader("one\ntwo\n"), nil, &errs); code != 0 {
		t.Error(code, errs.String())
	}
	if b, _ := os.ReadFile(log); strings.Count(string(b), "\n") != 2 {
		t.Errorf("%q", b)
	}
	if code := runPostlog([]string{"-c", dir, "-p", "loud", "x"}, nil, nil, &errs); code != 1 {
		t.Error("an unknown priority is taken")
	}
}

func pidText() string { return strconv.Itoa(os.Getpid()) }
