package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
)

// depot is a scratch configuration with a queue.
type depot struct {
	t   *testing.T
	dir string
	q   *queue.Queue
}

func newDepot(t *testing.T) *depot {
	dir := t.TempDir()
	spool := filepath.Join(dir, "q")
	for _, d := range []string{"public", "maildrop"} {
		if err := os.MkdirAll(filepath.Join(spool, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	main := fmt.Sprintf("queue_directory = %s\nmaillog_file = %s/log\nmyhostname = mail.example.org\n", spool, dir)
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(spool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return &depot{t, dir, q}
}

// run runs a command and returns its exit code and what it printed.
func (d *depot) run(stdin string, args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	d.t.Setenv("MAIL_CONFIG", d.dir)
	var out, errs bytes.Buffer
	code = dispatch(args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// put queues a message and defers it for a reason.
func (d *depot) put(from mail.Address, to mail.Address, body, reason string) string {
	d.t.Helper()
	w, err := d.q.Create()
	if err != nil {
		d.t.Fatal(err)
	}
	w.WriteString(body)
	env := &mail.Envelope{Sender: from, Arrived: time.Unix(1795442791, 0), UID: -1, Rcpts: []mail.Rcpt{{Addr: to}, {Addr: "done@x", State: mail.Done}}}
	if err := w.Commit(env); err != nil {
		d.t.Fatal(err)
	}
	d.q.Move(w.ID(), queue.Incoming, queue.Active)
	if reason != "" {
		m := &queue.Message{ID: w.ID(), Env: env, Size: int64(len(body))}
		d.q.Defer(m, time.Now(), map[int]string{0: reason})
	}
	return w.ID()
}

// TestMailqGolden formats what a real showq said and compares with a real mailq.
func TestMailqGolden(t *testing.T) {
	golden := filepath.Join("..", "..", "..", "shared", "golden")
	raw, err := os.ReadFile(filepath.Join(golden, "showq.bin"))
	if err != nil {
		t.Skip("../shared/golden is absent: ", err)
	}
	text, err := os.ReadFile(filepath.Join(golden, "queue-tools.txt"))
	if err != nil {
		t.Skip(err)
	}
	d := newDepot(t)
	l, err := net.Listen("unix", filepath.Join(d.q.Dir(), "public", "showq"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write(raw)
			c.Close()
		}
	}()
	section := func(name string) string {
		_, s, _ := strings.Cut(string(text), "### "+name+"\n")
		s, _, _ = strings.Cut(s, "\n### ")
		return strings.TrimSuffix(s, "\nexit 0") + "\n"
	}
	old := time.Local
	time.Local = time.UTC
	defer func() { time.Local = old }()
	for name, args := range map[string][]string{"mailq": {"postqueue", "-p"}, "postqueue -j": {"postqueue", "-j"}} {
		code, out, errs := d.run("", args...)
		if want := section(name); code != 0 || out != want || errs != "" {
			t.Errorf("%s: %d %s\n--- got\n%s\n--- want\n%s", name, code, errs, out, want)
		}
	}
}

// TestPostqueueDown: without mtad the folders are read, and nothing is flushed.
func TestPostqueueDown(t *testing.T) {
	d := newDepot(t)
	code, out, errs := d.run("", "postqueue", "-p")
	if code != 0 || out != "Mail queue is empty\n" || !strings.Contains(errs, "postqueue: warning: Mail system is down -- accessing queue directly (Connect to the Postfix showq service: No such file or directory)") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	id := d.put("", "u@x", "Subject: x\n\nbody\n", "why not")
	_, out, _ = d.run("", "postqueue", "-p")
	if !strings.HasPrefix(out, mailqHead+id) || !strings.HasSuffix(out, "(why not)\n"+strings.Repeat(" ", 41)+"u@x\n\n-- 0 Kbytes in 1 Request.\n") {
		t.Errorf("%q", out)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-f"}, "postqueue: fatal: Cannot flush mail queue - mail system is down\n"},
		{[]string{"-s", "x"}, "postqueue: fatal: Cannot flush mail queue - mail system is down\n"},
		{nil, "postqueue: fatal: " + postqueueUsage + "\n"},
		{[]string{"-z"}, "postqueue: invalid option -- 'z'\npostqueue: fatal: " + postqueueUsage + "\n"},
		{[]string{"-p", "-f"}, "postqueue: fatal: " + postqueueUsage + "\n"},
		{[]string{"-p", "x"}, "postqueue: fatal: " + postqueueUsage + "\n"},
	} {
		code, _, errs := d.run("", append([]string{"postqueue"}, c.args...)...)
		if code != 69 || errs != c.want {
			t.Errorf("%v: %d %q", c.args, code, errs)
		}
	}
}

// TestPostsuper holds the command against the lines of a real one.
func TestPostsuper(t *testing.T) {
	d := newDepot(t)
	a, b := d.put("s@x", "a@x", "x\n", "r"), d.put("s@x", "b@x", "x\n", "r")
	act := d.put("s@x", "c@x", "x\n", "")
	for _, c := range []struct {
		args  []string
		stdin string
		code  int
		want  string
	}{
		{[]string{"-h", a}, "", 0, "ID: placed on hold\nPlaced on hold: 1 message\n"},
		{[]string{"-h", a}, "", 0, "Placed on hold: 0 messages\n"},
		{[]string{"-H", a}, "", 0, "ID: released from hold\nReleased from hold: 1 message\n"},
		{[]string{"-e", a}, "", 0, "ID: expired\nForce-expired: 1 message\n"},
		{[]string{"-f", a}, "", 0, "Force-expired: 0 messages\nReleased from hold: 0 messages\n"},
		{[]string{"-r", a}, "", 0, "ID: requeued\nRequeued: 1 message\n"},
		{[]string{"-d", "123"}, "", 0, "Deleted: 0 messages\n"},
		{[]string{"-d", "../../etc/passwd"}, "", 0, "warning: invalid mail queue id: ../../etc/passwd\nDeleted: 0 messages\n"},
		{[]string{"-d", ""}, "", 0, "warning: invalid mail queue id: \nDeleted: 0 messages\n"},
		{[]string{"-h", "ALL"}, "", 0, "Placed on hold: 3 messages\n"},
		{[]string{"-H", "ALL", "deferred"}, "", 0, "Released from hold: 0 messages\n"},
		{[]string{"-H", "ALL"}, "", 0, "Released from hold: 3 messages\n"},
		{[]string{"-d", "ALL", "nosuch"}, "", 1, "fatal: invalid directory name: nosuch\n"},
		{[]string{"-z"}, "", 1, "invalid option -- 'z'\nfatal: " + postsuperUsage + "\n"},
		{[]string{"-d"}, "", 1, "option requires an argument -- 'd'\nfatal: " + postsuperUsage + "\n"},
		{nil, "", 0, ""}, {[]string{"-s"}, "", 0, ""}, {[]string{"-p"}, "", 0, ""},
		{[]string{"-d", a, "-h", a, "-r", a}, "", 0, "ID: removed\nRequeued: 0 messages\nDeleted: 1 message\nPlaced on hold: 0 messages\n"},
		{[]string{"-h", "-", "active"}, b + "\n", 0, "Placed on hold: 0 messages\n"},
		{[]string{"-d", "-"}, b + "\n" + act + "\n\n", 0, "ID: removed\nID: removed\nwarning: invalid mail queue id: \nDeleted: 2 messages\n"},
		{[]string{"-d", "ALL"}, "", 0, "Deleted: 0 messages\n"},
	} {
		code, out, errs := d.run(c.stdin, append([]string{"postsuper"}, c.args...)...)
		for _, id := range []string{a, b, act} {
			errs = strings.ReplaceAll(errs, id, "ID")
		}
		if errs = strings.ReplaceAll(errs, "postsuper: ", ""); code != c.code || out != "" || errs != c.want {
			t.Errorf("%v: %d %q\n got %q\nwant %q", c.args, code, out, errs, c.want)
		}
	}
	log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	if !strings.Contains(string(log), ": "+a+": removed\n") || !strings.Contains(string(log), " postfix/postsuper[") {
		t.Errorf("log %s", log)
	}
}

// TestPostcat prints the parts of a message.
func TestPostcat(t *testing.T) {
	d := newDepot(t)
	id := d.put("s@x", "a@x", "Subject: t\n\nbody\n", "r")
	path := "deferred/" + id[:1] + "/" + id
	old := time.Local
	time.Local = time.UTC
	defer func() { time.Local = old }()
	env := "*** ENVELOPE RECORDS " + path + " ***\nmessage_size:              17               0               2               0              17               0\n" +
		"message_arrival_time: Mon Nov 23 14:06:31 2026\ncreate_time: Mon Nov 23 14:06:31 2026\nnamed_attribute: log_ident=" + id + "\nnamed_attribute: rewrite_context=local\n" +
		"sender: s@x\nnamed_attribute: dsn_orig_rcpt=rfc822;a@x\noriginal_recipient: a@x\nrecipient: a@x\n" +
		"named_attribute: dsn_orig_rcpt=rfc822;done@x\noriginal_recipient: done@x\ndone_recipient: done@x\n*** MESSAGE CONTENTS " + path + " ***\n"
	end := "*** HEADER EXTRACTED " + path + " ***\n*** MESSAGE FILE END " + path + " ***\n"
	for opt, want := range map[string]string{
		"-q": env + "Subject: t\n\nbody\n" + end, "-eq": env + end, "-bq": "\nbody\n", "-hq": "Subject: t\n", "-bhq": "Subject: t\n\nbody\n",
	} {
		if code, out, errs := d.run("", "postcat", opt, id); code != 0 || out != want || errs != "" {
			t.Errorf("%s: %d %s\n got %s\nwant %s", opt, code, errs, out, want)
		}
	}
	if code, _, errs := d.run("", "postcat", "-q", "123456"); code != 1 || errs != "postcat: fatal: open queue file 123456: No such file or directory\n" {
		t.Errorf("%d %q", code, errs)
	}
	if code, out, errs := d.run("", "postcat", "/etc/passwd"); code != 0 || out != "" || errs != "postcat: warning: /etc/passwd: input is not a valid queue file\n" {
		t.Errorf("%d %q", code, errs)
	}
}

// TestQueueUsers holds which list is asked for which option of postqueue, and
// that root is on every list.
func TestQueueUsers(t *testing.T) {
	d := newDepot(t)
	path := filepath.Join(d.dir, "main.cf")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		setting  string
		see, try string
	}{
		{"", "", ""},
		{"authorized_mailq_users = ann", "User unknown(4000000) is not allowed to view the mail queue", ""},
		{"authorized_flush_users = ann", "", "User unknown(4000000) is not allowed to flush the mail queue"},
		{"authorized_flush_users = unknown", "", ""},
	} {
		if err := os.WriteFile(path, append(b, c.setting+"\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		q := &tool{dir: d.dir}
		if err := q.load(); err != nil {
			t.Fatal(err)
		}
		for option, want := range map[byte]string{'p': c.see, 'j': c.see, 'f': c.try, 'i': c.try, 's': c.try} {
			err := q.mayUse(option, 4000000)
			if (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("%s, -%c: %v, want %q", c.setting, option, err, want)
			}
			if err := q.mayUse(option, 0); err != nil {
				t.Errorf("%s, -%c, root: %v", c.setting, option, err)
			}
		}
	}
}
