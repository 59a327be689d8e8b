// Package milters sends mail through real filters of Debian (opendkim, opendmarc,
// rspamd, spamass-milter, clamav-milter, amavis, postgrey), once behind a real
// Postfix and once behind ours, with the same main.cf and master.cf: replies, and
// the messages that come out, are to be the same. `make peers` installs what it
// needs; what is not there is skipped.
package milters

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// system is a Postfix, or ours, below a folder.
type system struct {
	name    string
	dir     string
	smtp    string // its port, as an address
	back    string // another one, for a filter's way back
	front   string // the filter's
	postcat string
}

// main is what both run with. Mail stays in the queue, where it is looked at.
const main = `myhostname = mail.x.test
mydomain = x.test
myorigin = x.test
mydestination = x.test
mynetworks = 127.0.0.9/32
inet_protocols = ipv4
smtpd_peername_lookup = no
local_recipient_maps =
defer_transports = local
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`

// pair starts both with more lines of main.cf and services. In both texts BACK
// is the address of a second port, for a filter's way back, and FRONT the filter's port.
func pair(t *testing.T, more string, services ...string) [2]*system {
	t.Helper()
	p := oracle.NewPostfix(t, "3.7")
	bin := filepath.Dir(oracle.Built(t, "mtad"))
	ours := &system{name: "ours", dir: oracle.Folder(t), postcat: bin + "/postcat"}
	for _, d := range []string{"etc", "q", "data"} {
		if err := os.Mkdir(filepath.Join(ours.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exec.Command("chown", "postfix", ours.dir+"/data").Run()
	theirs := &system{name: "postfix", dir: p.Dir, postcat: "postcat"}
	both := [2]*system{theirs, ours}
	for _, s := range both {
		s.lay(t, more, services)
	}
	p.Start()
	start := exec.Command(bin+"/postfix", "-c", ours.dir+"/etc", "start")
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("ours does not start: %v: %s%s", err, out, ours.log())
	}
	t.Cleanup(func() {
		if out, err := exec.Command(bin+"/postfix", "-c", ours.dir+"/etc", "stop").CombinedOutput(); err != nil {
			t.Errorf("ours does not stop: %v: %s", err, out)
		}
	})
	if !oracle.Answers(theirs.smtp, ours.smtp) {
		t.Fatal("no answer")
	}
	return both
}

func (s *system) lay(t *testing.T, more string, services []string) {
	t.Helper()
	s.smtp = oracle.Address(t)
	s.back, s.front = oracle.Address(t), oracle.Address(t)
	put := strings.NewReplacer("DIR", s.dir, "BACK", s.back, "FRONT", port(s.front)).Replace
	master := s.smtp + " inet n - n - - smtpd\n" + oracle.Master
	for _, l := range services {
		master += l + "\n"
	}
	for name, text := range map[string]string{"main.cf": oracle.Main + main + more, "master.cf": master, "table": tableText, "users": "alice x\nbob x\nhold x\n"} {
		if err := os.WriteFile(filepath.Join(s.dir, "etc", name), []byte(put(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *system) log() string {
	b, _ := os.ReadFile(s.dir + "/mail.log")
	return string(b)
}

// mail is one message of a test.
type mail struct {
	name     string
	from, to string
	text     string // LF line ends
}

var queuedAs = regexp.MustCompile(`queued as (\w+)`)

// send sends a message and returns the last reply, and the message as it stands
// in the queue, if it was taken.
func (s *system) send(t *testing.T, m mail) (reply, content string) {
	t.Helper()
	c, err := net.Dial("tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	r := bufio.NewReader(c)
	body := strings.ReplaceAll(strings.ReplaceAll(m.text, "\n.", "\n.."), "\n", "\r\n")
	for _, say := range []string{"", "EHLO client.b.test\r\n", "MAIL FROM:<" + m.from + ">\r\n", "RCPT TO:<" + m.to + ">\r\n", "DATA\r\n", body + ".\r\n"} {
		io.WriteString(c, say)
		if reply = read(r); reply == "" || reply[0] >= '4' {
			io.WriteString(c, "QUIT\r\n")
			return queuedAs.ReplaceAllString(reply, "queued as ID"), ""
		}
	}
	io.WriteString(c, "QUIT\r\n")
	read(r)
	id := queuedAs.FindStringSubmatch(reply)
	if id == nil {
		return reply, ""
	}
	return queuedAs.ReplaceAllString(reply, "queued as ID"), s.cat(t, id[1])
}

func read(r *bufio.Reader) string {
	for {
		l, err := r.ReadString('\n')
		if err != nil {
			return ""
		}
		if len(l) < 4 || l[3] != '-' {
			return strings.TrimRight(l, "\r\n")
		}
	}
}

// cat reads a message of the queue. It may move from one folder to the next while
// it is looked for.
func (s *system) cat(t *testing.T, id string) string {
	t.Helper()
	var out []byte
	if !oracle.Await(func() bool {
		var err error
		out, err = exec.Command(s.postcat, "-c", s.dir+"/etc", "-h", "-b", "-q", id).Output()
		return err == nil && len(out) > 0
	}) {
		t.Fatalf("%s: %s is not in the queue\n%s", s.name, id, s.log())
	}
	return string(out)
}

// changing is what differs from one delivery to the next.
var changing = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^(\t| +).*; (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d+ \w+ \d+ [\d:]+ [-+]\d+ \(\w+\)`),
	regexp.MustCompile(`(id|ESMTP id|Filter v[\d.]+ mail\.x\.test) [0-9A-F]{8,}`),
	regexp.MustCompile(`127\.0\.0\.1:\d+`),
	regexp.MustCompile(`port \d+`),
	regexp.MustCompile(`(?s)\bb=[A-Za-z0-9+/=\s]+`),
	regexp.MustCompile(`\bt=\d+`),
	regexp.MustCompile(`queued as [0-9A-F]+`),
	regexp.MustCompile(`id=\d+-\d+(-\d+)?`),
	regexp.MustCompile(`(?m)^X-Greylist: .*\n(\s.*\n)*`),
}

func settle(s string) string {
	for _, re := range changing {
		s = re.ReplaceAllString(s, "*")
	}
	return s
}

// agree sends mails through both and compares. It returns our results by name.
func agree(t *testing.T, both [2]*system, mails []mail) map[string][2]string {
	t.Helper()
	out := map[string][2]string{}
	for _, m := range mails {
		var got [2][2]string
		for i, s := range both {
			got[i][0], got[i][1] = s.send(t, m)
		}
		if a, b := settle(got[0][0]), settle(got[1][0]); a != b {
			t.Errorf("%s: postfix says %q, we say %q", m.name, a, b)
		}
		if a, b := settle(got[0][1]), settle(got[1][1]); a != b {
			t.Errorf("%s: of postfix:\n%.3000s\nof ours:\n%.3000s", m.name, a, b)
		}
		out[m.name] = got[1]
	}
	return out
}

// expect holds our results against patterns of reply and content.
func expect(t *testing.T, got map[string][2]string, want map[string][2]string) {
	t.Helper()
	for name, w := range want {
		for i, what := range []string{"reply", "message"} {
			if ok, err := regexp.MatchString(w[i], got[name][i]); !ok || err != nil {
				t.Errorf("%s: %s is %.2000q, not like %q %v", name, what, got[name][i], w[i], err)
			}
		}
	}
}

// plain is a message that no filter has anything against.
func plain(name, subject, body string) mail {
	return mail{name, "a@b.test", "alice@x.test",
		fmt.Sprintf("From: A <a@b.test>\nTo: alice@x.test\nSubject: %s\nDate: Mon, 23 Nov 2026 14:07:05 +0000\nMessage-ID: <%s@b.test>\n\n%s\n", subject, name, body)}
}
