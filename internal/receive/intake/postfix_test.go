package intake

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/sys/maillog"
)

// oracle is a private Postfix: own configuration, queue and log, with an smtpd
// and a cleanup service for each profile.
type oracle struct {
	settle time.Duration // how long its log must stand still
	dir    string
	addrs  map[string]string
}

const oracleMain = `compatibility_level = 3.6
queue_directory = DIR/q
data_directory = DIR/data
maillog_file = DIR/mail.log
maillog_file_prefixes = DIR
myhostname = mail.example.org
mydomain = example.org
myorigin = mail.example.org
mydestination = mail.example.org, localhost
mynetworks = 127.0.0.1/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_header_rewrite_clients = permit_mynetworks
smtpd_client_connection_count_limit = 0
smtpd_timeout = 20s
in_flow_delay = 0
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10000
recipient_delimiter = +
local_recipient_maps =
alias_maps =
defer_transports = smtp relay local virtual filter
smtpd_relay_restrictions = permit_mynetworks reject
`

const oracleMaster = `postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 1 1 pickup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
filter unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
cleanup unix n - n - 0 cleanup
`

// startOracle starts it with profiles (name to options of cleanup), or skips the
// test where that is not possible.
func startOracle(t *testing.T, profiles map[string]map[string]string, smtpd ...map[string]string) *oracle {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: Postfix starts only as root")
	}
	if testing.Short() {
		t.Skip("-short: no comparison with Postfix")
	}
	b, err := exec.Command("postconf", "-d", "-h", "mail_version").Output()
	if err != nil || !strings.HasPrefix(string(b), "3.7") {
		t.Skipf("no Postfix 3.7 here: %s %v", b, err)
	}
	o := &oracle{dir: t.TempDir(), addrs: map[string]string{}}
	for d := o.dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	for _, d := range []string{"etc", "q", "data"} {
		if err := os.Mkdir(o.dir+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "postfix", o.dir+"/data").CombinedOutput(); err != nil {
		t.Skipf("no user postfix: %s", out)
	}
	master := oracleMaster
	for name, opts := range profiles {
		o.addrs[name] = freePort(t)
		master += o.addrs[name] + " inet n - n - - smtpd\n  -o cleanup_service_name=" + name + "\n"
		for _, own := range smtpd {
			for k, v := range own {
				master += "  -o { " + k + " = " + v + " }\n"
			}
		}
		master += name + " unix n - n - 0 cleanup\n"
		for k, v := range opts {
			master += "  -o { " + k + " = " + v + " }\n"
		}
	}
	for file, text := range map[string]string{"main.cf": oracleMain, "master.cf": master} {
		if err := os.WriteFile(o.dir+"/etc/"+file, []byte(strings.ReplaceAll(text, "DIR", o.dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile("/etc/postfix/postfix-files"); err == nil {
		os.WriteFile(o.dir+"/etc/postfix-files", b, 0o644)
	}
	if out, err := exec.Command("postfix", "-c", o.dir+"/etc", "start").CombinedOutput(); err != nil {
		t.Skipf("Postfix does not start here: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("postfix", "-c", o.dir+"/etc", "stop").Run() })
	return o
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// result is what became of a message: the reply to its end, its content, its
// envelope and cleanup's log lines, with the id and times taken out.
type result struct {
	reply, content, sender, filter string
	rcpts                          []string
	folder                         string
	log                            []string
}

// String writes a result for comparison.
func (r result) String() string {
	return fmt.Sprintf("reply %s\nfolder %s\nsender <%s>\nrcpts %s\nfilter %s\nlog:\n  %s\n--\n%s", r.reply, r.folder, r.sender,
		strings.Join(r.rcpts, " "), r.filter, strings.Join(r.log, "\n  "), r.content)
}

// smtpClient is one SMTP session.
type smtpClient struct {
	c net.Conn
	r *bufio.Reader
}

func dialSMTP(t testing.TB, addr string) *smtpClient {
	t.Helper()
	s := dialSMTPRaw(t, addr)
	s.reply()
	s.cmd("EHLO client.test")
	return s
}

// dialSMTPRaw connects and reads no greeting.
func dialSMTPRaw(t testing.TB, addr string) *smtpClient {
	t.Helper()
	var c net.Conn
	var err error
	for range 100 {
		if c, err = net.Dial("tcp", addr); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return &smtpClient{c, bufio.NewReader(c)}
}

// waitUp waits until a server answers.
func waitUp(t testing.TB, addr string) { dialSMTPRaw(t, addr).c.Close() }

// netipAddr keeps a test's imports short.
type netipAddr = netip.Addr

// loopbackNames knows the name of 127.0.0.1.
type loopbackNames struct{}

func (loopbackNames) Name(context.Context, netip.Addr) (name, reverse string, err error) {
	return "localhost", "localhost", nil
}

// reply reads one reply; lines are joined by "|".
func (s *smtpClient) reply() string {
	var all []string
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "LOST"
		}
		line = strings.TrimRight(line, "\r\n")
		all = append(all, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(all, "|")
		}
	}
}

func (s *smtpClient) cmd(line string) string {
	io.WriteString(s.c, line+"\r\n")
	return s.reply()
}

// send sends a message and returns the reply to its end, or the first refusal.
func (s *smtpClient) send(from string, to []string, text string) string {
	if r := s.cmd("MAIL FROM:<" + from + ">"); r[0] != '2' {
		return "MAIL " + r
	}
	for _, a := range to {
		if r := s.cmd("RCPT TO:<" + a + ">"); r[0] != '2' {
			s.cmd("RSET")
			return "RCPT " + r
		}
	}
	if r := s.cmd("DATA"); r[0] != '3' {
		s.cmd("RSET")
		return "DATA " + r
	}
	var b bytes.Buffer
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ".") {
			b.WriteByte('.')
		}
		b.WriteString(line + "\r\n")
	}
	b.WriteString(".\r\n")
	go s.c.Write(b.Bytes())
	return s.reply()
}

var (
	queuedAs = regexp.MustCompile(`queued as (\w+)`)
	anyID    = regexp.MustCompile(`\b\d{14}\.(ID|[0-9A-F]{8,})@mail`)
	anyDate  = regexp.MustCompile(time.Now().Format("Mon, _2 Jan 2006") + ` \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)`)
)

// plainText takes out of a text what differs from run to run.
func plainText(s, id string) string {
	if id != "" {
		s = strings.ReplaceAll(s, id, "ID")
	}
	return anyDate.ReplaceAllString(anyID.ReplaceAllString(s, "T.ID@mail"), "DATE")
}

// ascii takes out of log lines how octets above ASCII are made printable: ours
// lets fewer through (see maillog.Printable).
func ascii(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 0x80 {
			b[i] = '?'
		}
	}
	return string(b)
}

// lines returns what cleanup says of the last message.
func (o *oracle) lines(from int) (out []string, id string) {
	b, _ := os.ReadFile(o.dir + "/mail.log")
	for _, m := range regexp.MustCompile(`postfix/cleanup\[\d+\]: (.*)`).FindAllStringSubmatch(string(b[from:]), -1) {
		out = append(out, m[1])
		if i := regexp.MustCompile(`^(?:warning: )?([0-9A-F]{8,}):`).FindStringSubmatch(m[1]); i != nil {
			id = i[1]
		}
	}
	return out, id
}

func (o *oracle) logSize() int {
	fi, err := os.Stat(o.dir + "/mail.log")
	if err != nil {
		return 0
	}
	return int(fi.Size())
}

// run gives a message to the real Postfix.
func (o *oracle) run(s *smtpClient, from string, to []string, text string) result {
	at := o.logSize()
	r := result{reply: s.send(from, to, text)}
	var id string
	for range 40 { // postlogd writes behind
		if r.log, id = o.lines(at); len(r.log) > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if m := queuedAs.FindStringSubmatch(r.reply); m != nil {
		id = m[1]
	}
	r.reply = plainText(r.reply, id)
	for size := -1; size != o.logSize(); { // all of it has been written
		size = o.logSize()
		time.Sleep(max(o.settle, 4*time.Millisecond))
	}
	all, _ := o.lines(at)
	r.log = nil
	for _, l := range all {
		if other := lineID.FindString(l); other == "" || other == id+":" {
			r.log = append(r.log, ascii(plainText(l, id)))
		}
	}
	if !o.queued(id) {
		return r // postcat(1) would look for it for a second
	}
	o.read(&r, id)
	return r
}

// read fills in what stands in the queue.
func (o *oracle) read(r *result, id string) {
	b, err := exec.Command("postcat", "-c", o.dir+"/etc", "-h", "-b", "-q", id).Output()
	if err != nil || id == "" {
		return
	}
	r.content = plainText(strings.TrimSuffix(string(b), "\n"), id)
	redirect := ""
	b, _ = exec.Command("postcat", "-c", o.dir+"/etc", "-e", "-q", id).Output()
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch k {
		case "*** ENVELOPE RECORDS incoming/" + id + " ***", "*** ENVELOPE RECORDS deferred/" + id[:1] + "/" + id + " ***":
		case "sender":
			r.sender = v
		case "recipient":
			r.rcpts = append(r.rcpts, v)
		case "content_filter":
			r.filter = v
		case "redirect_to":
			redirect = v // qmgr(8) does at delivery what we do at once
		}
	}
	if strings.Contains(string(b), "hold/") {
		r.folder = "hold"
	}
	if redirect != "" {
		r.rcpts = []string{redirect}
	}
	slices.Sort(r.rcpts)
}

// milterLines returns what smtpd and cleanup say of milters.
func (o *oracle) milterLines(t *testing.T, from int) []string {
	t.Helper()
	for size := -1; size != o.logSize(); { // postlogd writes behind
		size = o.logSize()
		time.Sleep(15 * time.Millisecond)
	}
	b, _ := os.ReadFile(o.dir + "/mail.log")
	return milterLines(string(b[from:]))
}

// queued tells whether a message is in the queue; qmgr may be moving it.
func (o *oracle) queued(id string) bool {
	for range 2 {
		for _, pattern := range []string{"/q/incoming/", "/q/active/", "/q/deferred/*/", "/q/hold/"} {
			if found, _ := filepath.Glob(o.dir + pattern + id); id != "" && len(found) > 0 {
				return true
			}
		}
	}
	return false
}

// ours is our intake with a queue of its own.
type ours struct {
	in  *Intake
	q   *queue.Queue
	log bytes.Buffer
	src *Source
}

func newOurs(t *testing.T, o Options) *ours {
	t.Helper()
	u := &ours{src: &Source{}}
	q, err := queue.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	u.q = q
	o.Hostname, o.Origin, o.Domain = "mail.example.org", "mail.example.org", "example.org"
	o.SwapBangpath, o.PercentHack, o.OriginalRecipient = true, true, true
	o.Maps.Delimiter = "+"
	o.MessageSizeLimit = orElse(o.MessageSizeLimit, 10240000)
	o.Content.Detect8Bit = true
	o.Local = func(d string) (bool, error) { return d == "mail.example.org" || d == "localhost", nil }
	o.Networks = func(a netip.Addr) bool { return a.IsLoopback() }
	o.RewriteClients = []string{"permit_mynetworks"}
	if u.in, err = New(o, q, maillog.To(&u.log, maillog.Options{}).Program("cleanup"), nil); err != nil {
		t.Fatal(err)
	}
	return u
}

// run gives a message to our intake as smtpd would.
func (u *ours) run(t testing.TB, from string, to []string, text string) result {
	t.Helper()
	u.log.Reset()
	m, err := u.in.OpenFrom(u.src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Abort()
	env := &mail.Envelope{Sender: mail.Address(from), UID: -1, Peer: mail.Peer{Name: "localhost",
		Addr: netip.MustParseAddr("127.0.0.1"), Helo: "client.test", Proto: "ESMTP"}}
	for _, a := range to {
		env.Rcpts = append(env.Rcpts, mail.Rcpt{Addr: mail.Address(a)})
	}
	if err := m.Start(env); err == nil {
		io.WriteString(m, text)
	}
	r := result{reply: "250 2.0.0 Ok: queued as ID"}
	if err := m.Commit(); err != nil {
		s := mail.AsStatus(err)
		if r.reply = fmt.Sprintf("%d %s %s", s.Reply, s.Code, s.Text); s.Remote != "" {
			r.reply = strings.ReplaceAll(s.Remote, "\r\n", "|")
		}
	}
	r.log = u.lines(m.ID())
	u.read(t, &r, m.ID())
	return r
}

func (u *ours) lines(id string) (out []string) {
	for _, l := range regexp.MustCompile(`postfix/cleanup\[\d+\]: (.*)`).FindAllStringSubmatch(u.log.String(), -1) {
		out = append(out, ascii(plainText(l[1], id)))
	}
	return out
}

// read fills in what stands in the queue.
func (u *ours) read(t testing.TB, r *result, id string) {
	f, ok := u.q.Find(id)
	if !ok {
		return
	}
	if f == queue.Hold {
		r.folder = "hold"
	}
	msg, err := u.q.Load(id, f)
	if err != nil {
		t.Fatal(err)
	}
	c, err := u.q.OpenContent(id, f)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, _ := io.ReadAll(c.Reader())
	r.content = plainText(strings.TrimSuffix(string(b), "\n"), id)
	r.sender, r.filter = msg.Env.Sender.Quoted(), msg.Env.Filter
	for _, rc := range msg.Env.Rcpts {
		r.rcpts = append(r.rcpts, rc.Addr.Quoted())
	}
	slices.Sort(r.rcpts)
}

// wire makes a text what smtpd hands on of it.
func wire(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", " ")
	for strings.HasPrefix(strings.TrimLeft(text, ">"), "From ") {
		_, text, _ = strings.Cut(text, "\n")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}
