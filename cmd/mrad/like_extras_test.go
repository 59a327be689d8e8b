package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const fileUsers = "passdb {\n  driver = passwd-file\n  args = DIR/users\n}\nuserdb {\n  driver = passwd-file\n  args = DIR/users\n}\n"

// mailLines are the lines of mail_log in a log, without what differs from one
// session to the next; \Recent is Dovecot's view of a session.
func mailLines(log string) (list []string) {
	for _, m := range regexp.MustCompile(`imap\(ann\)<\d+><[^>]*>: (?:Info: )?(.*)`).FindAllStringSubmatch(log, -1) {
		if !strings.HasPrefix(m[1], "Disconnected") {
			list = append(list, strings.NewReplacer(` \Recent`, "", `\Recent`, "").Replace(m[1]))
		}
	}
	return list
}

// TestMailLog: the lines of mail_log, word for word as Dovecot writes them, over an
// mbox and a Maildir.
func TestMailLog(t *testing.T) {
	t.Parallel()
	for kind, where := range map[string]string{"mbox": "mbox:~/mail:INBOX=~/inbox", "maildir": "maildir:~/Maildir"} {
		for fields, events := range map[string]string{"": "", "uid box msgid size vsize flags from subject": "delete undelete expunge save copy mailbox_create mailbox_delete mailbox_rename flag_change"} {
			conf := "mail_location = " + where + "\nmail_plugins = mail_log notify\n" + fileUsers
			if fields != "" {
				conf += "plugin {\n  mail_log_fields = " + fields + "\n  mail_log_events = " + events + "\n}\n"
			}
			t.Run(kind+strings.Fields(fields + " all")[0], func(t *testing.T) {
				t.Parallel()
				var lines [][]string
				for i, s := range both(t, conf, userWithMaildir(t)) {
					mailLogDialogue(t, s)
					if !s.logs("Disconnected: Logged out") {
						t.Errorf("%d: no end of the session\n%s", i, s.log())
					}
					lines = append(lines, mailLines(s.log()))
				}
				if len(lines[0]) < 10 {
					t.Errorf("only %q", lines[0])
				}
				if len(lines) == 2 && !slices.Equal(lines[0], lines[1]) {
					t.Errorf("ours\n%s\nDovecot's\n%s", strings.Join(lines[0], "\n"), strings.Join(lines[1], "\n"))
				}
			})
		}
	}
}

// userWithMaildir makes a user whose folder of mail is there: Dovecot tells of one
// that it makes itself.
func userWithMaildir(t *testing.T) func(dir string) {
	return func(dir string) {
		file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a\n")
		for _, d := range []string{"/a/Maildir", "/a/Maildir/cur", "/a/Maildir/new", "/a/Maildir/tmp"} {
			if err := os.Mkdir(dir+d, 0o700); err != nil {
				t.Fatal(err)
			}
			os.Chown(dir+d, 8, 8)
		}
	}
}

// mailLogDialogue does everything to mail that there are events for.
func mailLogDialogue(t *testing.T, s likeSystem) {
	c, err := net.Dial("tcp4", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	k := &talk{c, bufio.NewReader(c)}
	k.do("", "* OK")
	k.do("a LOGIN ann sa", "a ")
	for i := 1; i <= 4; i++ {
		msg := fmt.Sprintf("From: =?utf-8?q?J=C3=B6?= <a@b.c>\r\nMessage-ID:  <%d@x>\r\nSubject: =?utf-8?q?h=C3=A9llo?= and a long one that goes on and on until it has more than eighty\r\n characters %d\r\n\r\nbody\r\n", i, i)
		k.do(fmt.Sprintf("b APPEND INBOX {%d+}\r\n%s", len(msg), msg), "b ")
	}
	k.do("b APPEND INBOX {15+}\r\nX: y\r\n\r\nno id\r\n", "b ")
	for _, line := range []string{"CREATE Sent", `CREATE "A b"`, "SELECT INBOX", `STORE 1 +FLAGS (\Seen)`, `STORE 1:2 +FLAGS (\Deleted kw)`, `STORE 1 -FLAGS (\Deleted)`,
		`STORE 3 FLAGS (\Answered \Deleted)`, "COPY 4:5 Sent", `MOVE 4 "A b"`, "EXPUNGE", "RENAME Sent Sent2", "DELETE Sent2", "SELECT INBOX",
		`STORE 1 +FLAGS (\Deleted)`, "CLOSE", "STATUS INBOX (MESSAGES)", `DELETE "A b"`, "DELETE nosuch", "LOGOUT"} {
		k.do("c "+line, "c ")
	}
}

// TestExtras: autoexpunge at the end of a session, and the note of last_login.
func TestExtras(t *testing.T) {
	t.Parallel()
	conf := "mail_location = maildir:~/Maildir\nmail_plugins = last_login\nplugin {\n  last_login_dict = file:~/seen\n  last_login_key = %s/%u/%r\n}\n" +
		"namespace {\n  inbox = yes\n  mailbox Trash {\n    auto = create\n    autoexpunge_max_mails = 2\n  }\n  mailbox \"Old*\" {\n    autoexpunge_max_mails = 1\n  }\n}\n" + fileUsers
	for i, s := range both(t, conf, func(dir string) { file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a\n") }) {
		c, err := net.Dial("tcp4", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		k := &talk{c, bufio.NewReader(c)}
		k.do("", "* OK")
		k.do("a LOGIN ann sa", "a ")
		k.do("b CREATE Older", "b ")
		for _, name := range []string{"Trash", "Older", "INBOX"} {
			for range 4 {
				k.do("c APPEND "+name+" {15+}\r\nX: y\r\n\r\nno id\r\n", "c ")
			}
		}
		k.do("d LOGOUT", "d ")
		c.Close()
		for name, want := range map[string]int{"/a/Maildir/.Trash/cur": 2, "/a/Maildir/.Older/cur": 1, "/a/Maildir/cur": 4} {
			n := -1
			for end := time.Now().Add(15 * time.Second); n != want && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				list, _ := os.ReadDir(s.dir + name)
				fresh, _ := os.ReadDir(s.dir + strings.TrimSuffix(name, "cur") + "new")
				n = len(list) + len(fresh)
			}
			if n != want {
				t.Errorf("%d: %s has %d messages, want %d\n%s", i, name, n, want, s.log())
			}
		}
		b, _ := os.ReadFile(s.dir + "/a/seen")
		if !regexp.MustCompile(`\Ashared/imap/ann/127\.0\.0\.1\n\d{10}\n\z`).Match(b) {
			t.Errorf("%d: last login is %q", i, b)
		}
	}
}
