package intake

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// original is a private Postfix with an smtpd and a cleanup service for each
// profile.
type original struct {
	*oracle.Postfix
	addrs map[string]string
}

const originalMain = `myhostname = mail.example.org
mydomain = example.org
myorigin = mail.example.org
mydestination = mail.example.org, localhost
mynetworks = 127.0.0.1/32
inet_protocols = ipv4
local_header_rewrite_clients = permit_mynetworks
smtpd_client_connection_count_limit = 0
smtpd_timeout = 100s
in_flow_delay = 0
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10000
recipient_delimiter = +
local_recipient_maps =
defer_transports = smtp relay local virtual filter
smtpd_relay_restrictions = permit_mynetworks reject
`

// startOriginal starts it with profiles (name to options of cleanup), or skips the
// test where that is not possible.
func startOriginal(t *testing.T, profiles map[string]map[string]string, smtpd ...map[string]string) *original {
	t.Helper()
	o := &original{oracle.NewPostfix(t, "3.7"), map[string]string{}}
	master := "filter unix - - n - - smtp\n"
	for name, opts := range profiles {
		o.addrs[name] = oracle.Address(t)
		own := []string{"cleanup_service_name = " + name}
		for _, m := range smtpd {
			own = append(own, assignments(m)...)
		}
		master += oracle.Service(o.addrs[name]+" inet n - n - - smtpd", own...)
		master += oracle.Service(name+" unix n - n - 0 cleanup", assignments(opts)...)
	}
	o.Lay(originalMain, master)
	o.Start()
	return o
}

// assignments are the lines "name = value" of a map.
func assignments(m map[string]string) (out []string) {
	for k, v := range m {
		out = append(out, k+" = "+v)
	}
	return out
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
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(oracle.Patience))
	return &smtpClient{c, bufio.NewReader(c)}
}

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
	anyDate  = regexp.MustCompile("(?:" + day(0) + "|" + day(1) + ")" + ` \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)`)
)

// day is a date as headers have it: today's, or that of a day after, which may
// begin while the tests run.
func day(after int) string { return time.Now().AddDate(0, 0, after).Format("Mon, _2 Jan 2006") }

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

var (
	cleanupLine = regexp.MustCompile(`postfix/cleanup\[\d+\]: (.*)`)
	idOfLine    = regexp.MustCompile(`^(?:warning: )?([0-9A-F]{8,}):`)
)

// run gives a message to the real Postfix.
func (o *original) run(s *smtpClient, from string, to []string, text string) result {
	at := o.Size()
	r := result{reply: s.send(from, to, text)}
	// The log may still hold lines of the message before: its cleanup process
	// goes on when it has answered.
	id := ""
	all := cleanupLine.FindAllStringSubmatch(o.Logged()[at:], -1)
	for _, l := range all {
		if m := idOfLine.FindStringSubmatch(l[1]); m != nil {
			id = m[1]
		}
	}
	if m := queuedAs.FindStringSubmatch(r.reply); m != nil {
		id = m[1]
	}
	r.reply = plainText(r.reply, id)
	for _, l := range all {
		if other := lineID.FindString(l[1]); other == "" || other == id+":" {
			r.log = append(r.log, ascii(plainText(l[1], id)))
		}
	}
	if !o.queued(id) {
		return r // postcat(1) would look for it for a second
	}
	o.read(&r, id)
	return r
}

// read fills in what stands in the queue.
func (o *original) read(r *result, id string) {
	b, err := o.Command("postcat", "-h", "-b", "-q", id).Output()
	if err != nil || id == "" {
		return
	}
	r.content = plainText(strings.TrimSuffix(string(b), "\n"), id)
	redirect := ""
	b, _ = o.Command("postcat", "-e", "-q", id).Output()
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
func (o *original) milterLines(from int) []string { return milterLines(o.Logged()[from:]) }

// queued tells whether a message is in the queue; qmgr may be moving it.
func (o *original) queued(id string) bool {
	for range 2 {
		for _, pattern := range []string{"/q/incoming/", "/q/active/", "/q/deferred/*/", "/q/hold/"} {
			if found, _ := filepath.Glob(o.Dir + pattern + id); id != "" && len(found) > 0 {
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
