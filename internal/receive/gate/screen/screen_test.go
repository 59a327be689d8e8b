package screen

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"packetboat/internal/receive/gate"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// talk is one conversation: "> text" sends, "< text" expects a line, "wait"
// pauses, "close" leaves; the log lines must be there, in this order. "*" stands
// for anything.
type talk struct {
	name, service, from string
	steps               []string
	log                 []string
}

// end is the client in log lines.
const end = `[*]:*`

func talks() []talk {
	return []talk{
		{"allowed by the list", "plain", "127.0.0.1", []string{"< 220 smtpd", "> QUIT", "< 221*"},
			[]string{"CONNECT from " + end + " to " + end, "ALLOWLISTED [127.0.0.1]:*"}},
		{"refused by the list", "plain", "127.0.0.66", []string{"< 521 5.3.2 Service currently unavailable", "< EOF"},
			[]string{"DENYLISTED [127.0.0.66]:*", "DISCONNECT [127.0.0.66]:*"}},
		{"patient", "plain", "127.0.0.3", []string{"< 220-patience", "< 220 smtpd", "> QUIT", "< 221*"},
			[]string{"CONNECT from [127.0.0.3]:* to [127.0.0.1]:*", "PASS NEW [127.0.0.3]:*"}},
		{"known", "plain", "127.0.0.3", []string{"< 220 smtpd", "> QUIT", "< 221*"}, []string{"PASS OLD [127.0.0.3]:*"}},
		{"early", "plain", "127.0.0.4", []string{"> EHLO x", "< 220-patience", "< 521 5.5.1 Protocol error", "< EOF"},
			[]string{`PREGREET 8 after 0* from [127.0.0.4]:*: EHLO x\r\n`, "DISCONNECT [127.0.0.4]:*"}},
		{"gone", "plain", "127.0.0.5", []string{"< 220-patience", "close"},
			[]string{"HANGUP after 0* from [127.0.0.5]:* in tests before SMTP handshake", "DISCONNECT [127.0.0.5]:*"}},
		{"early, refused politely", "deep", "127.0.0.4", []string{"> HELO x", "< 220-patience",
			"< 250 mail.example.org", "> MAIL FROM:<a@b.test>", "< 250 2.1.0 Ok", "> RCPT TO:<c@d.test>", "< 550 5.5.1 Protocol error", "> QUIT", "< 221 2.0.0 Bye", "< EOF"},
			[]string{"PREGREET 8 after 0* from [127.0.0.4]:*", "NOQUEUE: reject: RCPT from [127.0.0.4]:*: 550 5.5.1 Protocol error; from=<a@b.test>, to=<c@d.test>, proto=SMTP, helo=<x>", "DISCONNECT [127.0.0.4]:*"}},
		{"deep tests", "deep", "127.0.0.7", []string{"< 220-patience", "< 220 mail.example.org*", "> EHLO x", "< 250-mail.example.org",
			"< 250-SIZE 200000", "< 250-VRFY", "< 250-ETRN", "< 250-ENHANCEDSTATUSCODES", "< 250-8BITMIME", "< 250-DSN", "< 250-SMTPUTF8", "< 250 CHUNKING",
			"> NOOP", "< 250 2.0.0 Ok", "> RSET", "< 250 2.0.0 Ok", "> VRFY x", "< 450 4.3.2 Service currently unavailable", "> VRFY", "< 501*", "> ETRN x", "< 458 Unable to queue messages", "> FOO", "< 502 5.5.2 Error: command not recognized",
			"> RCPT TO:<a@b.test>", "< 503 5.5.1 Error: need MAIL command", "> MAIL FOO", "< 501 5.5.4 Syntax: MAIL FROM:<address>", "> MAIL FROM:<a@b.test>", "< 250 2.1.0 Ok", "> MAIL FROM:<a@b.test>", "< 503 5.5.1 Error: nested MAIL command",
			"> RCPT FOO", "< 501 5.5.4 Syntax: RCPT TO:<address>", "> RCPT TO:<c@d.test>", "< 450 4.3.2 Service currently unavailable", "> QUIT", "< 221 2.0.0 Bye", "< EOF"},
			[]string{"NOQUEUE: reject: RCPT from [127.0.0.7]:*: 450 4.3.2 Service currently unavailable; from=<a@b.test>, to=<c@d.test>, proto=ESMTP, helo=<x>", "PASS NEW [127.0.0.7]:*", "DISCONNECT [127.0.0.7]:*"}},
		{"deep tests, known", "deep", "127.0.0.7", []string{"< 220 smtpd"}, []string{"PASS OLD [127.0.0.7]:*"}},
		{"pipelining", "deep", "127.0.0.8", []string{"< 220-patience", "< 220 mail.example.org*", ">> HELO x\r\nMAIL FROM:<a@b.test>\r\n", "< 250 mail.example.org", "< 250 2.1.0 Ok",
			"> RCPT TO:<c@d.test>", "< 550 5.5.1 Protocol error", "> QUIT", "< 221*"},
			[]string{`COMMAND PIPELINING from [127.0.0.8]:* after HELO*: MAIL FROM:<a@b.test>\r\n`, "NOQUEUE: reject: RCPT*550 5.5.1*", "DISCONNECT [127.0.0.8]:*"}},
		{"another protocol", "deep", "127.0.0.9", []string{"< 220-patience", "< 220 mail.example.org*", "> GET / HTTP/1.0", "< 521 5.7.0 Error: I can break rules, too. Goodbye.", "< EOF"},
			[]string{"NON-SMTP COMMAND from [127.0.0.9]:* after CONNECT: GET / HTTP/1.0", "DISCONNECT [127.0.0.9]:*"}},
		{"a header runs as a command", "deep", "127.0.0.10", []string{"< 220-patience", "< 220 mail.example.org*", "> HELO x", "< 250*", "> Subject: y", "< 521 5.7.0 Error: I can break rules, too. Goodbye.", "< EOF"},
			[]string{"NON-SMTP COMMAND from [127.0.0.10]:* after HELO: Subject: y"}},
		{"bare newline", "deep", "127.0.0.11", []string{"< 220-patience", "< 220 mail.example.org*", ">> HELO x\n", "< 250*", "> MAIL FROM:<a@b.test>", "< 250*", "> RCPT TO:<c@d.test>", "< 550 5.5.1 Protocol error"},
			[]string{"BARE NEWLINE from [127.0.0.11]:* after HELO x"}},
		{"no recipient", "deep", "127.0.0.12", []string{"< 220-patience", "< 220 mail.example.org*", "> MAIL FROM:<>", "< 250*", "> DATA", "< 554 5.5.1 Error: no valid recipients", "< EOF"},
			[]string{"DATA without valid RCPT from [127.0.0.12]:*", "DISCONNECT [127.0.0.12]:*"}},
	}
}

// peer is whom conversations are held with.
type peer struct {
	addrs map[string]string
	log   func() []string
}

func (p *peer) hold(t *testing.T, k talk) {
	t.Helper()
	skip := len(p.log())
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(k.from)}, Timeout: oracle.Patience}
	c, err := d.Dial("tcp", p.addrs[k.service])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	r := bufio.NewReader(c)
	for _, st := range k.steps {
		verb, text, _ := strings.Cut(st, " ")
		switch verb {
		case ">":
			io.WriteString(c, text+"\r\n")
		case ">>":
			io.WriteString(c, text)
		case "close":
			c.Close()
		case "<":
			line, err := r.ReadString('\n')
			got := strings.TrimSuffix(line, "\r\n")
			// A smtpd that got the client greets with its own banner.
			if text == "220 smtpd" && strings.HasPrefix(got, "220 ") {
				continue
			}
			if text == "EOF" && got == "" && err != nil || err == nil && like(text, got) {
				continue
			}
			t.Fatalf("got %q (%v), want %q", got, err, text)
		}
	}
	c.Close()
	if oracle.Await(func() bool { return inOrder(p.log()[skip:], k.log) }) {
		return
	}
	t.Errorf("log is\n\t%s\nwant\n\t%s", strings.Join(p.log()[skip:], "\n\t"), strings.Join(k.log, "\n\t"))
}

func inOrder(lines, want []string) bool {
	for _, l := range lines {
		if len(want) > 0 && like(want[0], l) {
			want = want[1:]
		}
	}
	return len(want) == 0
}

func like(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1:] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return s == "" || strings.HasSuffix(pattern, "*")
}

type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, text, _ := strings.Cut(strings.TrimSuffix(string(p), "\n"), "]: ")
	l.all = append(l.all, text)
	return len(p), nil
}

func (l *lines) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.all...)
}

// lists is a name server that knows block lists.
type lists struct{}

func (lists) Addrs(_ context.Context, host, _ string) ([]netip.Addr, error) {
	switch host {
	case "20.0.0.127.bl.test":
		return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
	case "20.0.0.127.secret.bl2.test", "21.0.0.127.secret.bl2.test":
		return []netip.Addr{netip.MustParseAddr("127.0.0.4")}, nil
	case "21.0.0.127.wl.test", "22.0.0.127.wl.test":
		return []netip.Addr{netip.MustParseAddr("127.0.5.1")}, nil
	}
	return nil, errors.New("no such name")
}

func (lists) TXT(context.Context, string) ([]string, error) { return nil, errors.New("no such name") }

func options(service string) Options {
	o := Options{Hostname: "mail.example.org", Networks: []string{"127.0.0.1/32"}, Size: 200000,
		Access: []string{"permit_mynetworks", "inline:{127.0.0.66=reject}"}, Deny: "drop", Wait: 4 * time.Second, Teaser: "patience", Greet: "drop",
		Forbid: []string{"CONNECT", "GET", "POST"}}
	switch service {
	case "deep":
		o.Greet, o.PipeOn, o.NonOn, o.BareOn, o.Bare = "enforce", true, true, true, "enforce"
	case "ignoring", "dropping", "soft", "footer", "hiding":
		moreOptions(service, &o)
	case "lists":
		o.Sites = []string{"bl.test*2", "secret.bl2.test=127.0.0.[2..8]", "wl.test=127.0.[0..255].[1..3]*-3"}
		o.Threshold, o.Good, o.DNSBL, o.PipeOn, o.Reply = 2, -2, "drop", true, "inline:{secret.bl2.test=bl2.test}"
	}
	return o
}

// ours serves all services with Screens.
func ours(t *testing.T, services ...string) *peer {
	t.Helper()
	log := &lines{}
	p := &peer{addrs: map[string]string{}, log: log.get}
	for _, name := range services {
		s := screen(t, log, options(name))
		p.addrs[name] = listen(t, s)
	}
	return p
}

func screen(t *testing.T, log *lines, o Options) *Screen {
	t.Helper()
	s, err := New(o, Deps{Log: maillog.To(log, maillog.Options{}).Program("postscreen"), Resolver: lists{},
		Table: func(spec string) (gate.Table, error) { return table.Open(spec, table.Options{}) }, Serve: behind})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// behind stands for smtpd: it greets, and says goodbye to everything.
func behind(c net.Conn) {
	defer c.Close()
	io.WriteString(c, "220 mail.example.org\r\n")
	c.SetReadDeadline(time.Now().Add(oracle.Patience))
	if _, err := c.Read(make([]byte, 100)); err == nil {
		io.WriteString(c, "221 2.0.0 Bye\r\n")
	}
}

func listen(t *testing.T, s *Screen) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.ServeConn(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestTalks(t *testing.T) {
	p := ours(t, "plain", "deep", "ignoring", "dropping", "soft", "footer", "hiding")
	p.holdAll(t, append(talks(), moreTalks()...))
}

// TestLists: scores of block lists with weights and filters, a list of good
// clients, and a name that replies do not show.
func TestLists(t *testing.T) {
	p := ours(t, "lists")
	p.holdAll(t, []talk{
		{"two lists", "lists", "127.0.0.20", []string{"< 220-patience", "< 521 5.7.1 Service unavailable; client [127.0.0.20] blocked using bl.test", "< EOF"},
			[]string{"DNSBL rank 3 for [127.0.0.20]:*", "DISCONNECT [127.0.0.20]:*"}},
		{"a good one weighs more", "lists", "127.0.0.21", []string{"< 220-patience", "< 220 smtpd"}, []string{"PASS NEW [127.0.0.21]:*"}},
		{"a good one needs no more tests", "lists", "127.0.0.22", []string{"> EHLO x", "< 220-patience"}, []string{"PREGREET*"}},
	})
}

// TestCache: who passed is known after a restart.
func TestCache(t *testing.T) {
	log := &lines{}
	o := options("plain")
	o.Cache = "btree:" + filepath.Join(t.TempDir(), "postscreen_cache")
	s := screen(t, log, o)
	p := &peer{addrs: map[string]string{"plain": listen(t, s)}, log: log.get}
	p.hold(t, talk{service: "plain", from: "127.0.0.3", steps: []string{"< 220-patience", "< 220 smtpd"}, log: []string{"PASS NEW*"}})
	s.cache.save()
	p.addrs["plain"] = listen(t, screen(t, log, o))
	p.hold(t, talk{service: "plain", from: "127.0.0.3", steps: []string{"< 220 smtpd"}, log: []string{"PASS OLD*"}})
	b, err := os.ReadFile(strings.TrimPrefix(o.Cache, "btree:") + ".list")
	if err != nil || !strings.HasPrefix(string(b), "127.0.0.3 ") {
		t.Errorf("%q %v", b, err)
	}
	os.WriteFile(strings.TrimPrefix(o.Cache, "btree:")+".list", []byte("rubbish\n127.0.0.4 1;2\n\x00\n"), 0o600)
	if n := len(screen(t, log, o).cache.known); n != 0 {
		t.Errorf("%d clients are known from rubbish", n)
	}
}

// TestBounds: a client alone cannot take all places, and all together not more
// than there are.
func TestBounds(t *testing.T) {
	o := options("plain")
	o.Clients, o.Queue, o.Wait = 2, 3, oracle.Patience // all are still waiting when the last one comes
	log := &lines{}
	addr := listen(t, screen(t, log, o))
	first := func(from string) string {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(oracle.Patience))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return line
	}
	got := []string{first("127.0.0.3"), first("127.0.0.3"), first("127.0.0.3"), first("127.0.0.4"), first("127.0.0.5")}
	for i, want := range []string{"220-", "220-", "421 4.7.0 Error: too many connections", "220-", "421 4.3.2 All screening ports are busy"} {
		if !strings.HasPrefix(got[i], want) {
			t.Errorf("connection %d got %q, want %q", i, got[i], want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Greet: "maybe"}, {Sites: []string{"bl.test*x"}}, {Sites: []string{"bl.test=300"}}, {Access: []string{"word"}}, {Upstream: "nginx"}} {
		if _, err := New(o, Deps{Log: maillog.To(io.Discard, maillog.Options{}).Program("x")}); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

const postfixMain = `myhostname = mail.example.org
mynetworks = 127.0.0.1/32
inet_protocols = ipv4
message_size_limit = 200000
postscreen_access_list = permit_mynetworks, cidr:{{127.0.0.66 reject}}
postscreen_denylist_action = drop
postscreen_greet_wait = 4s
postscreen_greet_banner = patience
postscreen_greet_action = drop
`

var postscreenLine = regexp.MustCompile(`postfix/postscreen\[\d+\]: (.*)`)

// TestPostscreenAgrees holds the same conversations with a real postscreen.
func TestPostscreenAgrees(t *testing.T) {
	o := oracle.NewPostfix(t, "3.")
	p := &peer{addrs: map[string]string{}, log: func() (out []string) {
		for _, m := range postscreenLine.FindAllStringSubmatch(o.Log(), -1) {
			out = append(out, m[1])
		}
		return out
	}}
	master := "smtpd pass - - n - - smtpd\n"
	for name, opts := range map[string]string{"plain": "", "deep": " -o postscreen_greet_action=enforce -o postscreen_pipelining_enable=yes" +
		" -o postscreen_non_smtp_command_enable=yes -o postscreen_bare_newline_enable=yes -o postscreen_bare_newline_action=enforce" +
		" -o postscreen_cache_map=btree:" + o.Dir + "/data/deep", "ignoring": moreMain("ignoring", o.Dir), "dropping": moreMain("dropping", o.Dir),
		"soft": moreMain("soft", o.Dir), "footer": moreMain("footer", o.Dir), "hiding": moreMain("hiding", o.Dir)} {
		p.addrs[name] = oracle.Address(t)
		master += p.addrs[name] + " inet n - n - 1 postscreen" + opts + "\n"
	}
	o.Lay(postfixMain, master)
	o.Start()
	p.holdAll(t, append(talks(), moreTalks()...))
}
