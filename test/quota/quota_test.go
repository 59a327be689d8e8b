// Package quota holds mrad's quotas against a real Dovecot 2.3.19: the same
// configuration, and the same conversations over IMAP, LMTP and the policy protocol.
// What Dovecot said is in testdata; where it is installed it is asked again.
package quota

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// common is the configuration of all cases; DIR and the ports differ.
const common = `base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
first_valid_uid = 1
mail_plugins = quota
default_login_user = nobody
recipient_delimiter = +
protocol imap {
  mail_plugins = quota imap_quota
}
service imap-login {
  inet_listener imap {
    port = IMAP
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    port = LMTP
  }
}
service quota-status {
  executable = quota-status -p postfix
  inet_listener {
    port = POLICY
  }
  client_limit = 1
}
service quota-warning {
  executable = script DIR/warn arg0
  user = nobody
  unix_listener quota-warning {
    mode = 0666
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
passdb {
  driver = passwd-file
  args = DIR/users
}
userdb {
  driver = passwd-file
  args = DIR/users
}
`

// users: v has a quota of his own, w none.
const users = `u:{PLAIN}p:8:8::DIR/home/u
v:{PLAIN}p:8:8::DIR/home/v::userdb_quota_rule=*:storage=5k userdb_quota_rule2=Trash:storage=+10k
w:{PLAIN}p:8:8::DIR/home/w::userdb_quota_rule=*:storage=0
`

// plugin is the plugin section that most cases begin with.
const plugin = `plugin {
  quota_rule = *:storage=10k:messages=20
  quota_rule2 = Trash:storage=+5k
  quota_rule3 = Junk:ignore
  quota_warning = storage=80%% quota-warning 80 %u
  quota_warning2 = storage=50%% quota-warning 50 %u
  quota_warning3 = -storage=50%% quota-warning below %u
`

// cases are the configurations, by the names of their recordings.
var cases = map[string]string{
	"maildir": "mail_location = maildir:~/Maildir\n" + plugin + "  quota = maildir:User quota\n  quota_status_success = DUNNO\n}\n",
	"count": "mail_location = maildir:~/Maildir\n" + plugin + "  quota = count:Count q\n  quota_vsizes = yes\n  quota_max_mail_size = 9k\n" +
		"  quota_exceeded_message = Too %u full\n  quota_status_overquota = \"552 5.2.2 over\"\n  quota_status_nouser = DUNNO\n}\n",
	"settings": "mail_location = maildir:~/Maildir\n" + plugin + "  quota = count:Count q\n  quota_vsizes = yes\n  quota_grace = 0\n}\n" +
		"quota_full_tempfail = yes\nlmtp_rcpt_check_quota = yes\nlmtp_save_to_detail_mailbox = yes\nlda_mailbox_autocreate = yes\n" +
		"lda_mailbox_autosubscribe = yes\nlmtp_hdr_delivery_address = none\nlmtp_add_received_header = no\n",
	"dict": "mail_location = maildir:~/Maildir\n" + plugin + "  quota = dict:User quota::file:%h/dq\n  quota2 = count:Second\n  quota2_rule = *:messages=50\n  quota_vsizes = yes\n}\n",
	"mbox": "mail_location = mbox:~/mail:INBOX=~/inbox\n" + plugin + "  quota = count:Mbox\n  quota_vsizes = yes\n}\n",
}

// system is one of the two programs, at work.
type system struct {
	t     *testing.T
	dir   string
	ports map[string]string
	said  strings.Builder
}

// start starts a program with a configuration.
func start(t *testing.T, program []string, conf string) *system {
	t.Helper()
	s := &system{t: t, dir: oracle.Folder(t), ports: map[string]string{}}
	pairs := []string{"DIR", s.dir}
	for _, name := range []string{"IMAP", "LMTP", "POLICY"} {
		s.ports[name] = oracle.Port(t)
		pairs = append(pairs, name, s.ports[name])
	}
	fill := strings.NewReplacer(pairs...)
	for _, d := range []string{"", "run", "state", "home", "home/u", "home/v", "home/w"} {
		os.MkdirAll(filepath.Join(s.dir, d), 0o755)
		if strings.HasPrefix(d, "home") {
			os.Chown(filepath.Join(s.dir, d), 8, 8)
		}
	}
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(fill.Replace(text)), mode); err != nil {
			t.Fatal(err)
		}
		os.Chmod(filepath.Join(s.dir, name), mode)
	}
	write("dovecot.conf", common+conf, 0o644)
	write("users", users, 0o644)
	write("warned", "", 0o666)
	write("warn", "#!/bin/sh\necho \"$(id -un): $*\" >> DIR/warned\n", 0o755)
	cmd := exec.Command(program[0], append(program[1:], "-F", "-c", s.dir+"/dovecot.conf")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	var addrs []string
	for _, p := range s.ports {
		addrs = append(addrs, "127.0.0.1:"+p)
	}
	if !oracle.Await(func() bool { return oracle.Answers(addrs...) }) {
		b, _ := os.ReadFile(s.dir + "/log")
		t.Fatalf("%s does not answer:\n%s", program[0], b)
	}
	return s
}

func (s *system) note(format string, args ...any) { fmt.Fprintf(&s.said, format+"\n", args...) }

func (s *system) dial(name string) (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp4", "127.0.0.1:"+s.ports[name])
	if err != nil {
		s.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c, bufio.NewReader(c)
}

func (s *system) line(r *bufio.Reader) string {
	l, err := r.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%v after\n%s", err, s.said.String())
	}
	return strings.TrimRight(l, "\r\n")
}

// passed are lines of IMAP that say nothing of quotas and in which the two may differ.
var passed = regexp.MustCompile(`HIGHESTMODSEQ|\[UNSEEN|PERMANENTFLAGS|^\* FLAGS|NOMODSEQ|\* OK \[MAILBOXID|^\* CAPABILITY`)

// figures of IMAP that are never the same twice.
var figures = regexp.MustCompile(` \([0-9.]+( \+ [0-9.]+)* secs\)|\[MAILBOXID \([^)]*\)\] |(UIDVALIDITY|APPENDUID|COPYUID) \d+|\[CAPABILITY [^\]]*\]`)

func figure(m string) string {
	if strings.HasPrefix(m, "[MAILBOXID") {
		return "" // RFC 8474, which Dovecot 2.3 does not have
	}
	w, _, _ := strings.Cut(m, " ")
	return w
}

// imap says commands as a user. "{N}" at the end of one is a message of N octets.
func (s *system) imap(user string, commands ...string) {
	c, r := s.dial("IMAP")
	defer c.Close()
	s.line(r)
	for i, cmd := range append([]string{"LOGIN " + user + " p"}, commands...) {
		tag := fmt.Sprintf("a%d", i)
		fmt.Fprintf(c, "%s %s\r\n", tag, cmd)
		s.note("%s -> %s", user, cmd)
		for {
			l := s.line(r)
			if !passed.MatchString(l) {
				s.note("<- %s", figures.ReplaceAllStringFunc(l, figure))
			}
			if strings.HasPrefix(l, "+ ") {
				n, _ := strconv.Atoi(strings.Trim(cmd[strings.IndexByte(cmd, '{'):], "{}"))
				io.WriteString(c, message(n)+"\r\n")
			}
			if strings.HasPrefix(l, tag+" ") {
				break
			}
		}
	}
}

// message is a mail of n octets with CRLF line ends.
func message(n int) string { return "Subject: x\r\n\r\n" + strings.Repeat("y", n-16) + "\r\n" }

var session = regexp.MustCompile(`> [A-Za-z0-9+/]{20,}(:R\d+)? Saved`)

// lmtp sends a message of n octets.
func (s *system) lmtp(n int, rcpts ...string) {
	c, r := s.dial("LMTP")
	defer c.Close()
	answer := func() string {
		for {
			if l := s.line(r); len(l) < 4 || l[3] != '-' {
				return strings.Replace(session.ReplaceAllString(l, "> ID$1 Saved"), "2.1.5 Ok", "2.1.5 OK", 1)
			}
		}
	}
	answer()
	say := func(cmd string) string {
		fmt.Fprintf(c, "%s\r\n", cmd)
		l := answer()
		s.note("lmtp -> %s\n<- %s", cmd, l)
		return l
	}
	fmt.Fprint(c, "LHLO x\r\n")
	answer()
	fmt.Fprint(c, "MAIL FROM:<s@x>\r\n")
	answer()
	taken := 0
	for _, rc := range rcpts {
		if l := say("RCPT TO:<" + rc + ">"); strings.HasPrefix(l, "250 2.1.5") {
			taken++
		}
	}
	if taken == 0 {
		return
	}
	fmt.Fprint(c, "DATA\r\n")
	answer()
	io.WriteString(c, message(n)+".\r\n")
	for range taken {
		s.note("<- %s", answer())
	}
}

// policy asks quota-status.
func (s *system) policy(attributes ...string) {
	c, r := s.dial("POLICY")
	defer c.Close()
	fmt.Fprintf(c, "%s\n\n", strings.Join(attributes, "\n"))
	s.note("policy %s: %s, then %q", strings.Join(attributes, " "), s.line(r), s.line(r))
}

// talk is the conversation of all cases.
func (s *system) talk() {
	s.imap("u", "GETQUOTAROOT INBOX", "GETQUOTA \"User quota\"", "GETQUOTA x", "SETQUOTA \"User quota\" (STORAGE 5)", "GETQUOTAROOT nonex", "GETQUOTAROOT Trash",
		"APPEND INBOX {3000}", "GETQUOTAROOT INBOX", "APPEND INBOX {9700}", "APPEND INBOX {20000}", "APPEND INBOX {6000}", "APPEND INBOX {1000}",
		"CREATE Trash", "APPEND Trash {3000}", "SELECT INBOX", "COPY 1 INBOX", "COPY 1 Trash", "MOVE 1 Trash", "GETQUOTAROOT INBOX", "GETQUOTA", "GETQUOTA (x)",
		"CREATE Junk", "APPEND Junk {3000}", "GETQUOTAROOT Junk", "STORE 1:* +FLAGS.SILENT (\\Deleted)", "EXPUNGE", "GETQUOTAROOT INBOX",
		"DELETE Trash", "GETQUOTAROOT INBOX", "UNSELECT", "DELETE Junk", "GETQUOTAROOT inbox", "GETQUOTA none")
	s.imap("w", "GETQUOTAROOT INBOX", "APPEND INBOX {3000}", "GETQUOTAROOT INBOX", "GETQUOTA \"User quota\"")
	s.imap("v", "GETQUOTAROOT INBOX")
	for _, rc := range []string{"u", "v", "v+x", "w", "nouser", "u@x"} {
		for _, size := range []int{0, 100, 6000, 100000} {
			s.policy("request=smtpd_access_policy", "protocol_state=RCPT", "recipient="+rc, "size="+strconv.Itoa(size))
		}
	}
	s.policy("recipient=u")
	s.policy("size=1")
	s.policy("recipient=", "size=1")
	s.policy("recipient=u", "size=x")
	s.policy("recipient=u", "protocol_state=DATA", "size=100000")
	s.lmtp(4000, "u", "v", "nouser", "v+Trash")
	s.lmtp(4000, "u", "v")
	s.lmtp(300, "u", "v")
	s.lmtp(9900, "w")
	for _, n := range []int{4000, 1100, 100, 20} {
		s.lmtp(n, "v")
	}
	s.imap("v", "GETQUOTAROOT INBOX", "STATUS INBOX (MESSAGES)", "STATUS Trash (MESSAGES)")
	s.imap("u", "GETQUOTAROOT INBOX", "STATUS INBOX (MESSAGES)")
}

// after notes what is on disk, and the warnings that ran: each is a process of its
// own, so that their order says nothing; want is how many there will be.
func (s *system) after(want int) {
	for _, u := range []string{"u", "v", "w"} {
		if head, sum, ok := sizeFile(filepath.Join(s.dir, "home", u, "Maildir/maildirsize")); ok {
			s.note("%s maildirsize %s: %d octets in %d messages", u, head, sum[0], sum[1])
		}
		if b, err := os.ReadFile(filepath.Join(s.dir, "home", u, "dq")); err == nil {
			s.note("%s dict %s", u, dict(string(b)))
		}
		if b, err := os.ReadFile(filepath.Join(s.dir, "home", u, "Maildir/subscriptions")); err == nil {
			s.note("%s subscriptions %q", u, b)
		}
	}
	warned := func() []string {
		b, _ := os.ReadFile(s.dir + "/warned")
		return strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	}
	if want < 0 {
		time.Sleep(5 * time.Second) // a recording is made
	} else {
		oracle.Await(func() bool { return len(warned()) >= want })
	}
	list := warned()
	slices.Sort(list)
	for _, l := range list {
		s.note("warned %s", l)
	}
}

// dict writes a dict file in an order of its own: Dovecot's is by chance.
func dict(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var pairs []string
	for i := 0; i+1 < len(lines); i += 2 {
		pairs = append(pairs, lines[i]+"="+lines[i+1])
	}
	slices.Sort(pairs)
	return strings.Join(pairs, " ")
}

// sizeFile adds up a maildirsize file.
func sizeFile(path string) (head string, sum [2]int64, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", sum, false
	}
	head, rest, _ := strings.Cut(string(b), "\n")
	for l := range strings.Lines(rest) {
		var n, c int64
		fmt.Sscan(l, &n, &c)
		sum[0], sum[1] = sum[0]+n, sum[1]+c
	}
	return head, sum, true
}

// TestLikeDovecot holds both against the recordings. QUOTA_RECORD=1 makes them anew.
func TestLikeDovecot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mrad and Dovecot run with accounts of their own")
	}
	mrad := oracle.Built(t, "mrad")
	for name, conf := range cases {
		file := filepath.Join("testdata", name+".talk")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Getenv("QUOTA_RECORD") != "" {
				if err := os.WriteFile(file, []byte(run(t, []string{"/usr/sbin/dovecot"}, conf, -1)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			warnings := strings.Count(string(want), "\nwarned ")
			same(t, "mrad", run(t, []string{mrad}, conf, warnings), string(want))
			if _, err := os.Stat("/usr/sbin/dovecot"); err != nil || testing.Short() {
				t.Log("Dovecot is not installed, or -short: only ours was asked")
				return
			}
			same(t, "Dovecot", run(t, []string{"/usr/sbin/dovecot"}, conf, warnings), string(want))
		})
	}
}

// run leads the whole conversation with one program.
func run(t *testing.T, program []string, conf string, warnings int) string {
	s := start(t, program, conf)
	s.talk()
	s.after(warnings)
	return s.said.String()
}

// same compares what was said, line by line, under the question that led to it.
func same(t *testing.T, who, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	question := ""
	for i := range max(len(g), len(w)) {
		a, b := "", ""
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if strings.Contains(b, " -> ") {
			question = b
		}
		if a != b {
			t.Errorf("%s, line %d, after %q:\n got %s\nwant %s", who, i+1, question, a, b)
			return
		}
	}
}
