package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/test/oracle"
)

// A dialogue file holds sessions. Its lines are:
//
//	## name                 begins a session
//	service NAME            the configuration to talk to (services below)
//	from ADDRESS            the client's address; 127.0.0.3, a stranger, if left out
//	c -> text               the client sends a line
//	c => text               the client sends bytes as they are; \r \n \t \0 \xNN \\ mean what they say,
//	                        text*N at the end of a line repeats a byte N times
//	s <- text               the server answers this line; "*" stands for anything
//	s(ours) <-, s(postfix) <-   the same where the two differ on purpose; a comment says why
//	s <- 250*               a whole reply whose last line begins with 250
//	s <- EOF                the server closes
//	l <- text               a log line that must be there
//	queued N                our server has taken N messages in this session
//	body text               the last of them is this (escapes as above)
//
// The same files run against our server and against a real Postfix.
type dialogue struct {
	file, name    string
	service, from string
	steps         []step
}

type step struct {
	line int
	op   string // "->", "=>", "<-", "l", "queued", "body"
	who  string // "", ours, postfix
	text string
}

func readDialogues(t testing.TB) []dialogue {
	t.Helper()
	files, _ := filepath.Glob("testdata/*.dialogue")
	var out []dialogue
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, parseDialogues(t, f, string(b))...)
	}
	return out
}

func parseDialogues(t testing.TB, file, text string) []dialogue {
	t.Helper()
	var out []dialogue
	for n, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "# ") || line == "#" {
			continue
		}
		if name, ok := strings.CutPrefix(line, "## "); ok {
			out = append(out, dialogue{file: filepath.Base(file), name: name, service: "plain", from: "127.0.0.3"})
			continue
		}
		d := &out[len(out)-1]
		if !d.add(n+1, line) {
			t.Fatalf("%s:%d: cannot read %q", file, n+1, line)
		}
	}
	return out
}

func (d *dialogue) add(n int, line string) bool {
	word, rest, _ := strings.Cut(line, " ")
	st := step{line: n, text: rest}
	switch word {
	case "service":
		d.service = rest
		return true
	case "from":
		d.from = rest
		return true
	case "queued", "body":
		st.op = word
	case "c":
		st.op, st.text, _ = strings.Cut(rest, " ")
	case "l", "s", "s(ours)", "s(postfix)", "l(ours)", "l(postfix)":
		_, st.text, _ = strings.Cut(rest, "<- ")
		st.op = map[byte]string{'l': "l", 's': "<-"}[word[0]]
		st.who = strings.Trim(word[1:], "()")
	default:
		return false
	}
	d.steps = append(d.steps, st)
	return true
}

// unescape reads the escapes of a dialogue.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '*' && i > 0 {
			if n, used := repeat(s[i+1:]); used > 0 {
				b.WriteString(strings.Repeat(string(s[i-1]), n-1))
				i += used
				continue
			}
		}
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '0':
			b.WriteByte(0)
		case 'x':
			v, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			b.WriteByte(byte(v))
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// repeat reads "*{N}" behind a byte.
func repeat(s string) (n, used int) {
	if !strings.HasPrefix(s, "{") {
		return 0, 0
	}
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return 0, 0
	}
	n, err := strconv.Atoi(s[1:end])
	if err != nil {
		return 0, 0
	}
	return n, end + 1
}

// like compares with "*" as a wildcard.
func like(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) || !strings.HasSuffix(s[len(parts[0]):], parts[len(parts)-1]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return true
}

// peer is whom a dialogue is held with.
type peer struct {
	who   string
	conn  net.Conn
	log   func() []string
	queue *memQueue
	body  func(id string) string // of a real Postfix
	id    string                 // of the last "queued as"
}

func (d *dialogue) run(t *testing.T, p *peer) {
	t.Helper()
	defer p.conn.Close()
	r := bufio.NewReader(p.conn)
	var logs []step
	before := 0
	if p.queue != nil {
		before = len(p.queue.messages())
	}
	for _, st := range d.steps {
		if st.who != "" && st.who != p.who {
			continue
		}
		if st.op == "l" {
			logs = append(logs, st)
			continue
		}
		if msg := d.step(st, p, r, before); msg != "" {
			t.Errorf("%s:%d: %s: %s", d.file, st.line, p.who, msg)
			return
		}
	}
	p.conn.Close()
	for _, st := range logs {
		if !oracle.Await(func() bool { return hasLine(p.log(), st.text) }) {
			lines := p.log()
			t.Errorf("%s:%d: %s: no log line %q in the last of\n\t%s", d.file, st.line, p.who, st.text,
				strings.Join(lines[max(0, len(lines)-8):], "\n\t"))
		}
	}
}

func hasLine(lines []string, pattern string) bool {
	for _, l := range lines {
		if like(pattern, l) {
			return true
		}
	}
	return false
}

func (d *dialogue) step(st step, p *peer, r *bufio.Reader, before int) string {
	p.conn.SetDeadline(time.Now().Add(oracle.Patience))
	switch st.op {
	case "->", "=>":
		s := unescape(st.text)
		if st.op == "->" {
			s += "\r\n"
		}
		io.WriteString(p.conn, s) // a server that closed shows at the next reply
	case "<-":
		return p.answer(r, st.text)
	case "queued":
		if p.queue != nil && !oracle.Await(func() bool { return fmt.Sprint(len(p.queue.messages())-before) == st.text }) {
			return fmt.Sprintf("%d messages queued, want %s", len(p.queue.messages())-before, st.text)
		}
	case "body":
		got := ""
		if p.queue != nil {
			m := p.queue.messages()
			got = m[len(m)-1].body.String()
		} else {
			got = p.body(p.id)
		}
		if got != unescape(st.text) {
			return fmt.Sprintf("body is %.300q, want %.300q", got, unescape(st.text))
		}
	}
	return ""
}

// answer reads what want describes.
func (p *peer) answer(r *bufio.Reader, want string) string {
	whole, isWhole := strings.CutSuffix(want, "*")
	isWhole = isWhole && len(whole) == 3
	for {
		line, err := r.ReadString('\n')
		got := strings.TrimSuffix(line, "\r\n")
		if _, id, ok := strings.Cut(got, "queued as "); ok {
			p.id = id
		}
		switch {
		case err != nil && want == "EOF" && line == "":
			return ""
		case err != nil:
			return fmt.Sprintf("got %q and %v, want %q", line, err, want)
		case isWhole && len(got) > 3 && got[3] == '-':
			continue
		case !like(want, got):
			return fmt.Sprintf("got  %q, want %q", got, want)
		}
		return ""
	}
}

// services are the configurations of the dialogues; postfix_test.go gives the
// same to Postfix.
func services() map[string]func(w *world) {
	return map[string]func(w *world){
		"plain":     func(*world) {},
		"binary":    func(*world) {},
		"impatient": func(w *world) { w.opts.Timeout = time.Second }, // binary, too
		"quick":     func(w *world) { w.opts.Timeout = 2 * time.Second },
		"xclient": func(w *world) {
			w.opts.SASL = true
			w.opts.XClient, w.opts.XForward = words2("127.0.0.3, !127.0.0.5, 127.0.0.4/31"), []string{"127.0.0.3"}
		},
		"haproxy": func(w *world) { w.opts.Upstream, w.opts.UpstreamTime = "haproxy", 5*time.Second },
		"rates": func(w *world) {
			w.opts.MsgRate, w.opts.RcptRate, w.opts.ClientExempt = 2, 3, []string{"127.0.0.9"}
		},
		"ports": func(w *world) {
			w.opts.LogPort, w.opts.XClient, w.opts.XForward = true, []string{"127.0.0.3"}, []string{"127.0.0.3"}
			w.pol.DelayReject, w.pol.Footer = "no", `\c; told to $client`
			w.pol.Client = []string{"permit_mynetworks", "check_client_access", "inline:{{127.0.0.66 = REJECT}, {192.0.2.66 = REJECT}}"}
			w.opts.DiscardMaps = []string{"inline:{{127.0.0.4 = verp chunking xclient smtputf8 auth nonsense starttls dsn}}"}
		},
		"conns": func(w *world) { w.opts.ConnRate = 2 },
		"cmds": func(w *world) {
			w.opts.CommandFilter, w.opts.NoopCommands = "pcre:"+w.tables+"/filter", words2("FROB, XYZZY")
			w.opts.Forbidden = words2("CONNECT GET POST pcre:" + w.tables + "/bad")
			w.opts.DiscardEHLO, w.opts.DiscardMaps = words2("silent-discard, dsn, etrn"), []string{"inline:{127.0.0.4=chunking}"}
		},
		"bare":      func(w *world) { w.opts.BareNewline, w.opts.BareExempt = "reject", []string{"127.0.0.9"} },
		"through":   func(w *world) { w.opts.Filter = w.sink },
		"pipeproxy": func(w *world) { w.opts.ForbidPipe, w.opts.Upstream = true, "haproxy" },
		"pipe":      func(w *world) { w.opts.ForbidPipe = true },
		"etrn": func(w *world) {
			w.opts.FlushDomains = []string{"relay.test"}
			w.deps.Flush = func(string) error { return nil }
		},
		"except": func(w *world) {
			w.opts.SASL, w.opts.SASLExcept, w.opts.BrokenSASL, w.opts.SASLMechs = true, []string{"127.0.0.4"}, true, []string{"plain"}
		},
		"arate":  func(w *world) { w.opts.SASL, w.opts.AuthRate = true, 2 },
		"limits": limited,
		"auth":   func(w *world) { w.opts.SASL = true },
		"strict": func(w *world) { w.opts.Strict821, w.opts.NoVRFY = true, true },
		"now": func(w *world) {
			w.pol.DelayReject = "no"
			w.pol.Helo = words2("reject_invalid_helo_hostname reject_non_fqdn_helo_hostname")
			w.pol.Sender = words2("reject_non_fqdn_sender")
		},
		"closed": func(w *world) {
			w.pol.DelayReject = "no"
			w.pol.Client = words2("permit_mynetworks reject")
		},
		"lists": func(w *world) {
			w.pol.Sender = words2("warn_if_reject reject_non_fqdn_sender")
			w.pol.Recipient = words2("reject_non_fqdn_recipient reject_multi_recipient_bounce permit_mynetworks defer_if_permit reject_unauth_destination")
			w.pol.Relay = words2("permit_mynetworks reject_unauth_destination")
		},
	}
}

func limited(w *world) {
	w.opts.HeloRequired = true
	w.opts.HardErrors, w.opts.SoftErrors = 5, 3
	w.opts.RcptLimit = 3
	w.pol.Data = words2("reject_unauth_pipelining")
}

func TestDialogues(t *testing.T) {
	all := readDialogues(t)
	if len(all) < 50 {
		t.Errorf("only %d dialogues were found", len(all))
	}
	sock := t.TempDir() + "/auth.sock"
	startAuth(t, sock)
	worlds := map[string]*world{}
	tables := t.TempDir()
	writeTables(t, tables)
	_, sink := startSink(t)
	for name, change := range services() {
		worlds[name] = newWorld()
		worlds[name].tables, worlds[name].sink = tables, sink
		change(worlds[name])
		worlds[name].deps.Auth = wire.New(func(context.Context) (net.Conn, error) { return net.Dial("unix", sock) })
		worlds[name].start(t)
	}
	for _, d := range all {
		t.Run(d.file+"/"+d.name, func(t *testing.T) {
			w := worlds[d.service]
			if w == nil {
				t.Skipf("service %s is tested elsewhere", d.service)
			}
			if d.service == "quick" { // they wait for a time-out, and need not one after the other
				t.Parallel()
			}
			skip := len(w.log.all())
			d.run(t, &peer{who: "ours", conn: dialFrom(t, d.from, w.addr), queue: w.queue,
				log: func() []string { return w.log.all()[skip:] }})
		})
	}
}
