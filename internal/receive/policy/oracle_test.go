package policy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/reply"
	"packetboat/internal/route/rewrite"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/dns"
	"packetboat/internal/sys/maillog"
	"packetboat/test/oracle"
)

// inNamespace says that this process is the one that TestAgainstPostfix has
// started in namespaces of its own.
const inNamespace = "POLICY_TEST_NAMESPACE"

// TestAgainstPostfix runs one configuration after the other in a real Postfix and
// in this package: replies and log lines must be the same. It happens in a network
// namespace of its own, so that both ask the same name server on port 53.
func TestAgainstPostfix(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		compareAll(t)
		return
	}
	oracle.NeedPostfix(t, "3.7")
	for _, name := range []string{"unshare", "mount", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed")
		}
	}
	if err := exec.Command("unshare", "--net", "--mount", "true").Run(); err != nil {
		t.Skipf("no namespaces here: %v", err)
	}
	cmd := exec.Command("unshare", "--net", "--mount", os.Args[0], "-test.run=^TestAgainstPostfix$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}

const oracleMain = `myhostname = mail.here.test
mydomain = here.test
myorigin = here.test
mydestination = here.test, localhost
mynetworks = 127.0.0.0/8, 10.0.0.0/8
inet_protocols = ipv4
virtual_alias_domains = va.test
virtual_alias_maps = inline:{ info@va.test=alice }
virtual_mailbox_domains = vm.test
virtual_mailbox_maps = inline:{ bob@vm.test=bob }
relay_domains = relay.test RELAYS
relay_recipient_maps = inline:{ ok@relay.test=x } pcre:DIR/t/rcpts
local_recipient_maps = inline:{ alice=x bob=x postmaster=x }
transport_maps = inline:{ { closed.test = error:5.2.1 mailbox is closed } { later.test = retry:4.2.1 come later } }
recipient_delimiter = +
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_peername_lookup = no
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = DIR/auth.sock
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated reject_unauth_destination
smtpd_sender_login_maps = inline:{ owned@here.test=alice {shared@here.test=alice, bob} @dom.test=carol user=dave }
address_verify_map =
address_verify_poll_count = 1
defer_transports = smtp relay local virtual
`

// oracleTables are the files that cases name as texthash:T/name and the like.
var oracleTables = map[string]string{
	"access": `bad.test REJECT go away
dsn.test REJECT 5.7.9 special
rcptdsn.test REJECT 5.1.1 no such
snddsn.test REJECT 5.1.8 no such
dsn4.test REJECT 5.1.4 no such
dsn6.test REJECT 5.1.6 no such
dsn7.test REJECT 5.1.7 no such
dsn9.test REJECT 5.1.9 no such
plain.test REJECT
soft.test DEFER
softtext.test DEFER wait a bit
code.test 451 4.2.1 later
code5.test 550 no
bare.test 550
num.test 1234567
good.test OK
relayok.test RELAY yes
skip.test DUNNO whatever
ifp.test DEFER_IF_PERMIT
ifpt.test DEFER_IF_PERMIT 4.7.9 perhaps
ifr.test DEFER_IF_REJECT
ifrt.test DEFER_IF_REJECT why not
warn.test WARN look here
info.test INFO
hold.test HOLD
holdt.test HOLD for the boss
discard.test DISCARD
discardt.test DISCARD into the void
filter.test FILTER smtp:[127.0.0.1]:10024
filterbad.test FILTER
filterbad2.test FILTER nowhere
redirect.test REDIRECT boss@here.test
redirectbad.test REDIRECT boss
bcc.test BCC boss@here.test
bccbad.test BCC
prepend.test PREPEND X-Seen: yes
prependbad.test PREPEND nothing
list.test reject_unauth_destination, reject
class.test strict
permitlist.test permit
odd.test FROBNICATE now
maplist.test check_sender_access hash:/x
hangup.test 521 5.7.1 go
close.test 421 4.7.0 close
192.0.2 REJECT your network
192.0.2.77 OK
c.ok.test OK
user@full.test REJECT whole
user+ext@full.test OK ext
local@ REJECT local part
<> REJECT null sender
sub.domain.test REJECT sub
domain.test REJECT domain
"a b"@quoted.test REJECT quoted
alice REJECT user alice
dave DUNNO
`,
	"mx": `mx.bad.test REJECT bad mx
192.0.2.66 REJECT bad mx address
ns.bad.test REJECT bad ns
mx.good.test OK
192.0.2.67 REJECT bad a
bad.test REJECT named
`,
	"rbl":    "bl.test $rbl_code 5.7.3 $client_address via $rbl_domain for $sender_domain${rbl_reason? because {$rbl_reason}}\nbl2.test 200 nonsense\nbl3.test 450 x${nothing}\n",
	"re":     "/^(.*)@re\\.test$/ REJECT no $1\n/^test$/ REJECT parent was asked\n/bad/ 450 4.7.0 bad\n/^192\\.0\\.2\\.5$/ REJECT address\n",
	"cidr":   "192.0.2.0/28 REJECT cidr\n10.0.0.0/8 OK\n",
	"footer": "/^550 5.1.1/ \\c. Ask $$server_name\n/^554/ See http://x.test/$$client_address\\nat $$recipient_domain\n",
	"rcpts":  "/^x@[^r]/ ok\n/^x@rc/ ok\n",
}

// oracleCase is one configuration and one session.
type oracleCase struct {
	set    string // "rcpt: ..." or "name = value", divided by "|"
	client string // "name=... rev=... addr=... login=..."; empty = a known one
	steps  string // "H name|M sender|R recipient|D|V address|X" divided by "|"; empty = a usual message
}

func (c oracleCase) String() string { return c.set + " // " + c.client + " // " + c.steps }

// listNames are short names of parameters in cases.
var listNames = map[string]string{"client": "smtpd_client_restrictions", "helo": "smtpd_helo_restrictions",
	"sender": "smtpd_sender_restrictions", "relay": "smtpd_relay_restrictions", "rcpt": "smtpd_recipient_restrictions",
	"data": "smtpd_data_restrictions", "eod": "smtpd_end_of_data_restrictions", "etrn": "smtpd_etrn_restrictions"}

func (c oracleCase) settings(dir string) (out []config.Setting) {
	for _, s := range strings.Split(c.set, "|") {
		name, value, ok := strings.Cut(s, ": ")
		if name = listNames[strings.TrimSpace(name)]; !ok || name == "" {
			name, value, _ = strings.Cut(s, "=")
		}
		value = strings.ReplaceAll(value, ":T/", ":"+dir+"/t/")
		out = append(out, config.Setting{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	return out
}

func (c oracleCase) attrs() map[string]string {
	a := map[string]string{"name": "c.ok.test", "rev": "c.ok.test", "addr": "192.0.2.9", "login": ""}
	for _, w := range strings.Fields(c.client) {
		k, v, _ := strings.Cut(w, "=")
		a[k] = v
	}
	return a
}

func (c oracleCase) script() []string {
	if c.steps == "" {
		return []string{"H c.ok.test", "M user@ok.test", "R bob@here.test", "D"}
	}
	return strings.Split(c.steps, "|")
}

func compareAll(t *testing.T) {
	p := oracle.NewPostfix(t, "3.7")
	dir := p.Dir
	startDNS(t, dir)
	cases := oracleCases()
	startOracle(t, p, cases)
	asked := servePolicy(t)
	groups := grouped(cases)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	theirs := make([][]string, len(cases))
	for g, members := range groups {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for _, i := range members {
				theirs[i] = askPostfix(g, cases[i])
			}
		})
	}
	wg.Wait()
	// What a session's end makes smtpd say comes before the line that tells the end.
	if !oracle.Await(func() bool { return strings.Count(p.Log(), "]: disconnect from ") >= len(cases) }) {
		t.Error("Postfix does not log the end of all sessions")
	}
	logs := oracleLogs(p.Logged(), groups)
	for i, c := range cases {
		ours, ourLog := askOurs(t, dir, c)
		lines := logs[i]
		if got, want := strings.Join(ours, "\n"), strings.Join(theirs[i], "\n"); got != want {
			t.Errorf("%v\nours:\n%s\nPostfix:\n%s", c, got, want)
			for _, q := range asked(got, want) {
				t.Logf("was asked\n%s", q)
			}
		}
		if got, want := strings.Join(ourLog, "\n"), strings.Join(lines, "\n"); got != want {
			t.Errorf("%v\nour log:\n%s\nPostfix's:\n%s", c, got, want)
		}
	}
	t.Logf("%d configurations compared", len(cases))
}

var queueID = regexp.MustCompile(`^[0-9A-F]{6,}: `)

// wanted tells the lines that policy writes from those of the rest of smtpd.
func wanted(line string) (string, bool) {
	line = queueID.ReplaceAllString(line, "QID: ")
	for _, skip := range []string{"connect from", "disconnect from", "QID: client=", "lost connection", "warning: connect #", "statistics", "daemon started", "warning: reject: ETRN", "warning: run-time library vs"} {
		if strings.HasPrefix(line, skip) {
			return "", false
		}
	}
	// What happens before XCLIENT is no matter of this test, and table names its
	// cause in the same line.
	if strings.Contains(line, "[127.0.0.1]") {
		return "", false
	}
	line = strings.TrimSuffix(line, ": Application error")
	// Postfix repeats these for each message; ours are for the start.
	if strings.HasPrefix(line, "warning: restriction `") {
		return "", false
	}
	return line, line != ""
}

// grouped returns the cases of one configuration after the other; a service runs
// them in this order.
func grouped(cases []oracleCase) (groups [][]int) {
	at := map[string]int{}
	for i, c := range cases {
		g, ok := at[c.set]
		if !ok {
			g = len(groups)
			at[c.set] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

var oracleLine = regexp.MustCompile(`^\S+ +\S+ +\S+ \S+ c(\d+)/smtpd\[(\d+)\]: (.*)$`)

// oracleLogs returns what each case made Postfix log. The n-th "connect" of a
// service belongs to its n-th case; what the same process says up to the next one too.
func oracleLogs(log string, groups [][]int) map[int][]string {
	out := map[int][]string{}
	next, current := map[string]int{}, map[string]int{}
	for line := range strings.Lines(log) {
		m := oracleLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		if strings.HasPrefix(m[3], "connect from localhost[") || strings.HasPrefix(m[3], "connect from unknown[127.") {
			g, _ := strconv.Atoi(m[1])
			if n := next[m[1]]; n < len(groups[g]) {
				current[m[2]] = groups[g][n]
			}
			next[m[1]]++
		}
		i, known := current[m[2]]
		if l, ok := wanted(m[3]); ok && known {
			out[i] = append(out[i], l)
		}
	}
	return out
}

func oracleAddr(i int) string { return fmt.Sprintf("127.0.0.1:%d", 20000+i) }

func startOracle(t *testing.T, p *oracle.Postfix, cases []oracleCase) {
	t.Helper()
	must(t, os.Mkdir(p.Dir+"/t", 0o755))
	for name, text := range oracleTables {
		must(t, os.WriteFile(p.Dir+"/t/"+name, []byte(text), 0o644))
	}
	master := ""
	for g, members := range grouped(cases) {
		options := []string{"syslog_name = c" + strconv.Itoa(g)}
		for _, s := range cases[members[0]].settings(p.Dir) {
			options = append(options, s.Name+" = "+s.Value)
		}
		master += oracle.Service(oracleAddr(g)+" inet n - n - - smtpd", options...)
	}
	p.Lay(strings.ReplaceAll(oracleMain, "RELAYS", strings.Join(oracleRelays, " ")), master)
	serveAuth(t, p.Dir+"/auth.sock")
	p.Start()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serveAuth answers Postfix's question for mechanisms, so that it believes in AUTH.
func serveAuth(t *testing.T, path string) {
	l, err := net.Listen("unix", path)
	must(t, err)
	os.Chmod(path, 0o666)
	var kept []net.Conn
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			kept = append(kept, c) // what nobody holds is closed by the collector
			fmt.Fprint(c, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n")
		}
	}()
}

// oracleServer is the policy server of all cases.
const oracleServer = "127.0.0.1:19999"

// volatile are attributes that two sessions never share.
var volatile = regexp.MustCompile(`(?m)^(instance|client_port|server_port|queue_id)=.+$`)

// servePolicy answers each question with a sum over its attributes, so that the
// replies of both sides agree only if the questions do. Senders say what else
// they want: "dunno" in one is let in. asked returns the questions whose sums
// stand in replies.
func servePolicy(t *testing.T) (asked func(replies ...string) []string) {
	l, err := net.Listen("tcp", oracleServer)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	seen := map[string]string{}
	answer := func(q string) string {
		q = volatile.ReplaceAllString(q, "$1=*")
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(q)))[:12]
		mu.Lock()
		seen[sum] = q
		mu.Unlock()
		if strings.Contains(q, "sender=dunno@") {
			return "DUNNO"
		}
		return "450 4.7.9 " + sum
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				q := ""
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if q += line; line == "\n" {
						fmt.Fprintf(c, "action=%s\n\n", answer(q))
						q = ""
					}
				}
			}()
		}
	}()
	return func(replies ...string) (out []string) {
		mu.Lock()
		defer mu.Unlock()
		for sum, q := range seen {
			if strings.Contains(strings.Join(replies, ""), sum) {
				out = append(out, q)
			}
		}
		return out
	}
}

// askPostfix runs a case's session against its service and returns the replies.
func askPostfix(i int, c oracleCase) (out []string) {
	conn, err := net.Dial("tcp", oracleAddr(i))
	if err != nil {
		return []string{err.Error()}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(oracle.Patience))
	r := bufio.NewReader(conn)
	read := func() string {
		var all []string
		for {
			line, err := r.ReadString('\n')
			line = strings.TrimRight(line, "\r\n")
			if err != nil {
				return "closed"
			}
			all = append(all, line)
			if len(line) < 4 || line[3] != '-' {
				return strings.Join(all, "\n")
			}
		}
	}
	say := func(line string) string { fmt.Fprintf(conn, "%s\r\n", line); return read() }
	read()
	say("EHLO x")
	a := c.attrs()
	x := fmt.Sprintf("XCLIENT NAME=%s REVERSE_NAME=%s ADDR=%s", a["name"], a["rev"], a["addr"])
	if a["login"] != "" {
		x += " LOGIN=" + a["login"]
	}
	out = append(out, short(say(x)))
	for _, s := range c.script() {
		verb, arg, _ := strings.Cut(s, " ")
		switch verb {
		case "H":
			out = append(out, short(say("EHLO "+arg)))
		case "M":
			out = append(out, short(say("MAIL FROM:<"+arg+">")))
		case "R":
			out = append(out, short(say("RCPT TO:<"+arg+">")))
		case "V":
			out = append(out, short(say("VRFY "+arg)))
		case "E":
			out = append(out, short(say("ETRN "+arg)))
		case "D":
			reply := say("DATA")
			out = append(out, short(reply))
			if strings.HasPrefix(reply, "354") {
				out = append(out, short(say("Subject: x\r\n\r\nx\r\n.")))
			}
		}
	}
	return out
}

// short leaves of good replies the first digit.
func short(reply string) string {
	if reply != "" && reply[0] < '4' {
		return reply[:1]
	}
	return reply
}

// askOurs does the same with this package.
func askOurs(t *testing.T, dir string, c oracleCase) (out, lines []string) {
	t.Helper()
	main, _, err := config.LoadMain(dir + "/etc")
	must(t, err)
	m := main.With(c.settings(dir)...)
	var o Options
	var ro rewrite.Options
	must(t, m.Decode(&o))
	must(t, m.Decode(&ro))
	o.Classes = map[string][]string{}
	for _, name := range o.ClassNames {
		o.Classes[name] = config.Fields(m.Get(name))
	}
	router, err := rewrite.New(ro)
	must(t, err)
	var log bytes.Buffer
	res := dns.New(dns.Options{Servers: []string{"127.0.0.1:53"}, Timeout: 30 * time.Second, Tries: 2})
	p, err := New(o, Deps{Log: maillog.To(&log, maillog.Options{}).Program("smtpd"), Router: oracleRouter{router}, Resolver: res, Servers: res,
		Open: func(spec string) (Table, error) { return table.Open(spec, table.Options{}) }})
	if err != nil {
		return []string{err.Error()}, nil
	}
	out = p.session(c)
	for line := range strings.Lines(log.String()) {
		_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "]: ")
		if l, ok := wanted(text); ok {
			lines = append(lines, l)
		}
	}
	return out, lines
}

type oracleRouter struct{ *rewrite.Router }

func (r oracleRouter) Class(_ context.Context, a mail.Address) (Class, error) {
	route, err := r.Resolve(a)
	return map[rewrite.Class]Class{rewrite.Default: Remote, rewrite.Local: Local, rewrite.Relay: Relay,
		rewrite.VirtualAlias: VirtualAlias, rewrite.VirtualMailbox: VirtualMailbox}[route.Class], err
}

func (r oracleRouter) Exists(_ context.Context, a mail.Address) (bool, error) {
	ok, _, err := r.Router.Exists(a)
	return ok, err
}

// session plays smtpd.
func (p *Policy) session(c oracleCase) (out []string) {
	ctx := context.Background()
	a := c.attrs()
	s := &Session{Name: a["name"], Reverse: a["rev"], Addr: netip.MustParseAddr(a["addr"]), Proto: "SMTP", Where: "XCLIENT", User: a["login"],
		Port: 1, Server: netip.MustParseAddrPort("127.0.0.1:1")}
	for _, n := range []struct {
		name  *string
		state *Lookup
	}{{&s.Name, &s.NameState}, {&s.Reverse, &s.RevState}} {
		switch *n.name {
		case "[UNAVAILABLE]":
			*n.name, *n.state = "unknown", NameNone
		case "[TEMPUNAVAIL]":
			*n.name, *n.state = "unknown", NameTry
		}
	}
	closed := false
	answer := func(good string, v *Verdict) bool {
		if v == nil {
			out = append(out, good)
			return true
		}
		s.Rcpt = nil // smtpd replies when the command is over
		out = append(out, strings.ReplaceAll(p.Final(ctx, s, v.Reply()), "\r\n", "\n"))
		closed = closed || v.HangUp()
		return false
	}
	answer("2", p.Connect(ctx, s))
	var only mail.Address
	for _, step := range c.script() {
		if closed {
			out = append(out, "closed")
			continue
		}
		verb, arg, _ := strings.Cut(step, " ")
		addr := mail.Address(arg)
		if strings.HasPrefix(arg, `"`) { // one case has quotes
			addr = mail.Address(strings.ReplaceAll(arg, `"`, ""))
		}
		s.Where = map[string]string{"H": "EHLO", "M": "MAIL", "R": "RCPT", "V": "VRFY", "E": "ETRN", "D": "DATA"}[verb]
		switch verb {
		case "H":
			s.Helo = arg
			if v := p.Helo(ctx, s); !answer("2", v) {
				s.Helo = ""
				continue
			}
			s.Proto = "ESMTP"
		case "M":
			s.Sender = &addr
			if !answer("2", p.Mail(ctx, s)) {
				s.ResetMail()
			} else {
				s.Instance = "x"
			}
		case "R", "V":
			if verb == "R" && s.Sender == nil {
				out = append(out, "503 5.5.1 Error: need MAIL command")
				continue
			}
			s.Rcpt = &addr
			v := p.Rcpt(ctx, s)
			if answer("2", v) && verb == "R" {
				s.QueueID = "QID"
				s.RcptCount++
			}
			s.Rcpt = nil
			if s.RcptCount == 1 && v == nil {
				only = addr
			}
		case "E":
			s.Site = arg
			answer("459 <"+arg+">: service unavailable", p.Etrn(ctx, s))
			s.Site = ""
		case "D":
			if s.RcptCount == 0 && s.Sender == nil {
				out = append(out, "503 5.5.1 Error: need RCPT command")
				continue
			} else if s.RcptCount == 0 {
				answer("", reply.New(554, "5.5.1", "Error: no valid recipients"))
				continue
			}
			if s.RcptCount == 1 {
				s.Rcpt = &only
			}
			v := p.Data(ctx, s)
			if answer("3", v) {
				s.Where = "END-OF-MESSAGE"
				answer("2", p.EndOfData(ctx, s))
			}
			s.Rcpt = nil
		}
	}
	return out
}

// startDNS serves a few names to everybody in the namespace.
func startDNS(t *testing.T, dir string) {
	t.Helper()
	must(t, exec.Command("ip", "link", "set", "lo", "up").Run())
	must(t, os.WriteFile(dir+"/resolv.conf", []byte("nameserver 127.0.0.1\noptions timeout:30 attempts:2\n"), 0o644))
	must(t, exec.Command("mount", "--make-rprivate", "/").Run())
	must(t, exec.Command("mount", "--bind", dir+"/resolv.conf", "/etc/resolv.conf").Run())
	pc, err := net.ListenPacket("udp", "127.0.0.1:53")
	must(t, err)
	srv := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(answerDNS)}
	go srv.ActivateAndServe()
	t.Cleanup(func() { srv.Shutdown() })
}

var zone = strings.Fields(strings.ReplaceAll(`ok.test.|MX|10_mx.ok.test. mx.ok.test.|A|192.0.2.10 c.ok.test.|A|192.0.2.9
onlya.test.|A|192.0.2.11 null.test.|MX|0_. badmx.test.|MX|10_mx.bad.test. mx.bad.test.|A|192.0.2.65
badmxaddr.test.|MX|10_mx.other.test. mx.other.test.|A|192.0.2.66 goodmx.test.|MX|10_mx.good.test. mx.good.test.|A|192.0.2.68
badns.test.|NS|ns.bad.test. badns.test.|MX|10_mx.ok.test. ns.bad.test.|A|192.0.2.70 www.badns.test.|A|192.0.2.71
bada.test.|A|192.0.2.67 badmx.test.|A|192.0.2.67 nomxhost.test.|MX|10_gone.test.
9.2.0.192.bl.test.|A|127.0.0.2 9.2.0.192.bl.test.|TXT|listed_for_you 9.2.0.192.bl2.test.|A|127.0.0.4 9.2.0.192.bl3.test.|A|127.0.0.2 9.2.0.192.bl4.test.|A|127.0.0.2
9.2.0.192.wl.test.|A|127.0.0.2 ok.test.rhs.test.|A|127.0.0.3 c.ok.test.rhs.test.|A|127.0.0.3 c.ok.test.rhs.test.|TXT|dom here.test.rhs.test.|A|127.0.0.2
backup.test.|MX|10_mx.ok.test. backup.test.|MX|20_here.test. primary.test.|MX|10_here.test. backup2.test.|MX|10_gone.test. backup2.test.|MX|20_here.test.
notbackup.test.|MX|10_mx.ok.test. notbackup.test.|MX|20_mx.other.test.`, "\n", " "))

// answerDNS answers from zone; slow.test and what lies below it is a failure.
func answerDNS(w mdns.ResponseWriter, q *mdns.Msg) {
	m := new(mdns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	name := strings.ToLower(q.Question[0].Name)
	exists := false
	for _, r := range zone {
		f := strings.Split(r, "|")
		exists = exists || f[0] == name || strings.HasSuffix(f[0], "."+name)
		if f[0] != name || mdns.StringToType[f[1]] != q.Question[0].Qtype {
			continue
		}
		data := strings.ReplaceAll(f[2], "_", " ")
		if f[1] == "TXT" {
			data = `"` + data + `"`
		}
		if rr, err := mdns.NewRR(name + " 60 IN " + f[1] + " " + data); err == nil {
			m.Answer = append(m.Answer, rr)
		}
	}
	switch {
	case strings.HasSuffix(name, "slow.test."):
		m.Rcode = mdns.RcodeServerFailure
	case !exists:
		m.Rcode = mdns.RcodeNameError
	}
	if len(m.Answer) == 0 && m.Rcode != mdns.RcodeServerFailure {
		soa, _ := mdns.NewRR("test. 60 IN SOA ns.test. hostmaster.test. 1 60 60 60 60")
		m.Ns = append(m.Ns, soa)
	}
	w.WriteMsg(m)
}
