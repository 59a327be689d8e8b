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
		{name: "bad value", extra: "biff = maybe\n", args: "check", code: 1, stderr: "main.cf:4: parameter biff: \"maybe\" is neither yes nor no\nhint: write yes or no\n"},
		{name: "bad service", master: "smtp inet n - n\n", args: "check", code: 1, stderr: "master.cf:1: bad field count: 5 of 8 columns\nhint: write: service"},
		{name: "private inet", master: "smtp inet - - n - - smtpd\n", args: "check", code: 1, stderr: "master.cf:1: inet service smtp cannot be private\n"},
		{name: "unknown", args: "jump", code: 1, stderr: "postfix: fatal: unknown command: 'jump'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, log := layPostfix(t, c.extra, c.master)
			var out, errs bytes.Buffer
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
