package local

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/route/alias"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// got is one message as the fake deliver process took it.
type got struct{ from, to, orig, dlvr, body string }

// fakeStarter runs an LMTP server in a goroutine for each conversation.
type fakeStarter struct {
	mu       sync.Mutex
	starts   []Who
	boxes    map[Who][]got
	batches  []int // how many transactions were there when the answers went out
	say      func(g got) string
	err      error
	die      bool // close after the first transaction without an answer
	live     atomic.Int32
	peak     int32
	commands []Command
	exit     int
	output   string
	cmdErr   error
	input    string
	cmdWho   Who
	slow     time.Duration
}

func (f *fakeStarter) Deliver(_ context.Context, who Who) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	f.starts = append(f.starts, who)
	f.peak = max(f.peak, f.live.Add(1))
	ours, theirs := net.Pipe()
	go f.serve(theirs, who)
	return ours, nil
}

func (f *fakeStarter) Command(_ context.Context, who Who, c Command) (int, string, error) {
	b, _ := io.ReadAll(io.MultiReader(bytes.NewReader(c.Input.Head), c.Input.Content.Reader()))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commands, f.input, f.cmdWho = append(f.commands, c), string(b), who
	return f.exit, f.output, f.cmdErr
}

// serve speaks LMTP as deliver does: it answers when no more input waits.
func (f *fakeStarter) serve(c net.Conn, who Who) {
	defer f.live.Add(-1)
	defer c.Close()
	r := bufio.NewReader(c)
	var out bytes.Buffer
	fmt.Fprintf(&out, "220 test LMTP\r\n")
	pending := 0
	var g got
	for {
		if r.Buffered() == 0 && out.Len() > 0 {
			f.mu.Lock()
			f.batches = append(f.batches, pending)
			f.mu.Unlock()
			pending = 0
			if f.slow > 0 {
				time.Sleep(f.slow)
			}
			if _, err := out.WriteTo(c); err != nil {
				return
			}
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "LHLO":
			out.WriteString("250-test\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
		case "MAIL":
			g = got{from: rest}
			out.WriteString("250 2.1.0 Ok\r\n")
		case "RCPT":
			p := strings.Fields(rest)
			g.to = strings.Join(p[:len(p)-2], " ")
			g.orig, g.dlvr = p[len(p)-2], p[len(p)-1]
			out.WriteString("250 2.1.5 Ok\r\n")
		case "BDAT":
			var n int
			fmt.Sscanf(rest, "%d LAST", &n)
			b := make([]byte, n)
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			g.body = string(b)
			if f.die {
				return
			}
			answer := "250 2.0.0 delivered to mailbox"
			f.mu.Lock()
			if f.say != nil {
				answer = f.say(g)
			}
			if strings.HasPrefix(answer, "2") {
				f.boxes[who] = append(f.boxes[who], g)
			}
			f.mu.Unlock()
			out.WriteString(answer + "\r\n")
			pending++
		case "QUIT":
			c.Write([]byte("221 2.0.0 Bye\r\n"))
			return
		default:
			out.WriteString("500 5.5.2 what\r\n")
		}
	}
}

// memMap is an alias table in memory.
type memMap struct {
	m     map[string]string
	err   error
	owner int
}

func (m *memMap) Lookup(_ context.Context, key string) (string, bool, error) {
	v, ok := m.m[strings.ToLower(key)]
	return v, ok, m.err
}
func (m *memMap) Name() string        { return "hash:/etc/aliases" }
func (m *memMap) Owner() (int, error) { return m.owner, nil }

// world is a local transport with everything around it.
type world struct {
	t      *testing.T
	l      *Local
	s      *fakeStarter
	q      *queue.Queue
	log    bytes.Buffer
	queued []string
	envs   map[string]*mail.Envelope
	body   string
	opts   Options
}

const testBody = "Subject: hello\nMessage-ID: <m@x>\n\nbody\n"

func newWorld(t *testing.T, aliases map[string]string, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, s: &fakeStarter{boxes: map[Who][]got{}}, envs: map[string]*mail.Envelope{}, body: testBody}
	q, err := queue.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	w.q = q
	x := &alias.Expander{Options: alias.Defaults(), Maps: []alias.Map{&memMap{m: aliases}}, Resolve: resolveTest}
	x.Delimiter = "+"
	w.opts = Options{Hostname: "mail.example.org", Expander: x, Idle: 50 * time.Millisecond,
		Queued: func(id string, env *mail.Envelope, _ int64) {
			w.queued = append(w.queued, id)
			w.envs[id] = env
		},
		LookupUser: func(name string) (*proc.User, error) {
			if strings.HasPrefix(name, "no") {
				return nil, proc.ErrNoUser
			}
			if name == "broken" {
				return nil, fmt.Errorf("directory down")
			}
			return &proc.User{Name: name, UID: 1000, GID: 1000, Home: "/home/" + name, Shell: "/bin/sh"}, nil
		}}
	if change != nil {
		change(&w.opts)
	}
	w.l, err = New(w.opts, q, w.s, maillog.To(&w.log, maillog.Options{Host: "mail"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	return w
}

// end closes the transport and waits until no conversation is left.
func (w *world) end() {
	w.l.Close()
	for range 100 {
		if w.s.live.Load() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Errorf("%d conversations are still open", w.s.live.Load())
}

func resolveTest(a mail.Address) (mail.Address, bool, error) {
	if !strings.Contains(string(a), "@") {
		a += "@mail.example.org"
	}
	if strings.Contains(string(a), " ") {
		return a, false, mail.Bounce("5.1.3", "bad recipient address syntax: %s", a)
	}
	return a, strings.HasSuffix(string(a), "@mail.example.org") || strings.HasSuffix(string(a), "@localhost"), nil
}

// job makes a job for addresses.
func (w *world) job(addrs ...string) (*mail.Job, []*mail.Result) {
	path := filepath.Join(w.t.TempDir(), "msg")
	if err := os.WriteFile(path, []byte(w.body+"TRAILER"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	res := make([]*mail.Result, len(addrs))
	job := &mail.Job{ID: "ABC123", Size: int64(len(w.body)), Transport: "local", Started: time.Now(),
		Env: &mail.Envelope{Sender: "x@ok.test", Arrived: time.Now(), MessageID: "<m@x>"},
		Open: func() (mail.Content, error) {
			f, err := os.Open(path)
			return mail.Content{File: f, Len: int64(len(w.body))}, err
		}}
	var mu sync.Mutex
	job.Report = func(i int, r mail.Result) {
		mu.Lock()
		defer mu.Unlock()
		if res[i] != nil {
			w.t.Errorf("recipient %d answered twice", i)
		}
		res[i] = &r
	}
	for _, a := range addrs {
		job.Rcpts = append(job.Rcpts, mail.Rcpt{Addr: mail.Address(a)})
	}
	job.Env.Rcpts = job.Rcpts
	return job, res
}

// deliver runs one job for one address and returns its status line.
func (w *world) deliver(addr string) string {
	w.t.Helper()
	job, res := w.job(addr)
	w.l.Deliver(context.Background(), job)
	return line(res[0])
}

func line(r *mail.Result) string {
	if r == nil {
		return "no answer"
	}
	return fmt.Sprintf("%s dsn=%s, status=%s (%s)", r.Relay, r.Status.Code, r.Status.Outcome, r.Status.Text)
}

func TestStatuses(t *testing.T) {
	aliases := map[string]string{
		"root": "alice", "loop": "loop2", "loop2": "loop", "fail": `"|exit 75"`, "nested": "root",
		"ext": "someone@else.test", "bad": `"a b"@mail.example.org`, "tofile": "/tmp/x.mbox", "tomaildir": "/tmp/x/",
		"self": "self", "list": "alice, bob", "mixed": "alice, nobody2", "owner-olist": "chief@else.test",
		"olist": "alice, bob",
	}
	for _, c := range []struct{ to, want string }{
		{"alice@mail.example.org", "local dsn=2.0.0, status=sent (delivered to mailbox)"},
		{"alice+ext@localhost", "local dsn=2.0.0, status=sent (delivered to mailbox)"},
		{"root@localhost", "local dsn=2.0.0, status=sent (delivered to mailbox)"},
		{"nested@localhost", "local dsn=2.0.0, status=sent (delivered to mailbox)"},
		{"self@localhost", "local dsn=2.0.0, status=sent (delivered to mailbox)"},
		{"nosuch@localhost", `local dsn=5.1.1, status=bounced (unknown user: "nosuch")`},
		{"nosuch+x@localhost", `local dsn=5.1.1, status=bounced (unknown user: "nosuch")`},
		{"loop@localhost", "local dsn=5.4.6, status=bounced (alias database loop for loop2)"},
		{"bad@localhost", "local dsn=5.1.3, status=bounced (bad recipient address syntax: a b@mail.example.org)"},
		{"broken@localhost", "local dsn=4.0.0, status=deferred (user lookup error)"},
		{"tofile@localhost", "local dsn=2.0.0, status=sent (delivered to file: /tmp/x.mbox)"},
		{"tomaildir@localhost", "local dsn=2.0.0, status=sent (delivered to maildir)"},
		{"list@localhost", "local dsn=2.0.0, status=sent (delivered to mailbox)"},
	} {
		w := newWorld(t, aliases, nil)
		if s := w.deliver(c.to); s != c.want {
			t.Errorf("%s: %s\nwant %s", c.to, s, c.want)
		}
	}
}

func TestReservedNames(t *testing.T) {
	w := newWorld(t, nil, func(o *Options) {
		o.LookupUser = func(string) (*proc.User, error) { return nil, proc.ErrNoUser }
	})
	if s := w.deliver("postmaster@localhost"); s != "local dsn=2.0.0, status=sent (discarded)" {
		t.Error(s)
	}
	if !strings.Contains(w.log.String(), "warning: required alias not found: postmaster") {
		t.Error(w.log.String())
	}
}

func TestWire(t *testing.T) {
	w := newWorld(t, map[string]string{"root": "alice"}, nil)
	w.deliver("root@localhost")
	g := w.s.boxes[Who{User: "alice"}]
	if len(g) != 1 {
		t.Fatalf("alice has %d messages", len(g))
	}
	want := got{"FROM:<x@ok.test>", "TO:<alice@mail.example.org>", "XORIG=root@localhost", "XDLVR=root@localhost", testBody}
	if g[0] != want {
		t.Errorf("%+v", g[0])
	}
}

func TestXtext(t *testing.T) {
	if s := string(appendXtext(nil, "a+b=c d\xc3\xa9@x")); s != "a+2Bb+3Dc+20d+C3+A9@x" {
		t.Error(s)
	}
}

func TestForward(t *testing.T) {
	w := newWorld(t, map[string]string{"ext": "someone@else.test, other@else.test"}, nil)
	s := w.deliver("ext@localhost")
	if len(w.queued) != 1 || s != "local dsn=2.0.0, status=sent (forwarded as "+w.queued[0]+")" {
		t.Fatalf("%s %v", s, w.queued)
	}
	id := w.queued[0]
	env := w.envs[id]
	if env.Sender != "x@ok.test" || len(env.Rcpts) != 2 || env.Rcpts[0].Addr != "someone@else.test" || env.Rcpts[0].Orig != "ext@localhost" {
		t.Errorf("%+v", env)
	}
	c, err := w.q.OpenContent(id, queue.Incoming)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, _ := io.ReadAll(c.Reader())
	head, rest, _ := strings.Cut(string(b), "Delivered-To: ")
	if !strings.HasPrefix(head, "Received: by mail.example.org (Postfix)\n\tid "+id+"; ") || rest != "ext@localhost\n"+testBody {
		t.Errorf("%q", b)
	}
	if !strings.Contains(w.log.String(), "postfix/cleanup["+fmt.Sprint(os.Getpid())+"]: "+id+": message-id=<m@x>\n") {
		t.Error(w.log.String())
	}
}

func TestOwnerAlias(t *testing.T) {
	w := newWorld(t, map[string]string{"owner-list": "chief@else.test", "list": "alice, bob"}, nil)
	if s := w.deliver("list@localhost"); !strings.Contains(s, "(forwarded as ") {
		t.Fatal(s)
	}
	env := w.envs[w.queued[0]]
	if env.Sender != "owner-list@mail.example.org" || len(env.Rcpts) != 2 {
		t.Errorf("%+v", env)
	}
}

func TestLoopHeader(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.body = "Received: x\n\ty\nDelivered-To: Alice@localhost\nSubject: x\n\nDelivered-To: bob@localhost\n"
	if s := w.deliver("alice@localhost"); s != "local dsn=5.4.6, status=bounced (mail forwarding loop for alice@localhost)" {
		t.Error(s)
	}
	if s := w.deliver("bob@localhost"); s != "local dsn=2.0.0, status=sent (delivered to mailbox)" {
		t.Error(s)
	}
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		exit   int
		output string
		want   string
	}{
		{0, "", "dsn=2.0.0, status=sent (delivered to command: prog a; b)"},
		{75, "", "dsn=4.3.0, status=deferred (temporary failure)"},
		{75, "no way\n", "dsn=4.3.0, status=deferred (temporary failure. Command output: no way )"},
		{67, "", "dsn=5.1.1, status=bounced (user unknown)"},
		{77, "", "dsn=5.7.0, status=bounced (permission denied)"},
		{1, "oops", `dsn=5.3.0, status=bounced (Command died with status 1: "prog a; b". Command output: oops)`},
		{1, "4.2.2 mailbox full", "dsn=4.2.2, status=deferred (mailbox full)"},
		{1, "5.2.2 mailbox full", "dsn=5.2.2, status=bounced (mailbox full)"},
		{-9, "", `dsn=4.3.0, status=deferred (Command died with signal 9: "prog a; b")`},
	} {
		w := newWorld(t, map[string]string{"cmd": `"|prog a; b"`}, nil)
		w.s.exit, w.s.output = c.exit, c.output
		if s := w.deliver("cmd@localhost"); s != "local "+c.want {
			t.Errorf("%s\nwant %s", s, c.want)
		}
		if !strings.HasPrefix(w.s.input, "From x@ok.test  ") || !strings.HasSuffix(w.s.input,
			"\nReturn-Path: <x@ok.test>\nX-Original-To: cmd@localhost\nDelivered-To: cmd@localhost\n"+testBody) {
			t.Errorf("%q", w.s.input)
		}
		if got := w.s.commands[0].Argv; len(got) != 3 || got[0] != "sh" || got[2] != "prog a; b" {
			t.Errorf("%q", got)
		}
	}
}

func TestCommandEnvironment(t *testing.T) {
	w := newWorld(t, map[string]string{"cmd": `"|/bin/prog -x"`}, nil)
	job, _ := w.job("cmd+$(id)`x`@localhost")
	job.Env.Sender = "a;b@x"
	w.l.Deliver(context.Background(), job)
	env := strings.Join(w.s.commands[0].Env, "\n")
	for _, want := range []string{"SENDER=a_b@x", "LOCAL=cmd+__id__x_", "EXTENSION=__id__x_", "DOMAIN=localhost"} {
		if !strings.Contains(env, want) {
			t.Errorf("no %s in\n%s", want, env)
		}
	}
	if a := w.s.commands[0].Argv; len(a) != 2 || a[0] != "/bin/prog" {
		t.Errorf("%q", a)
	}
}

// TestPartial: what was delivered is not delivered again because another
// destination failed.
func TestPartial(t *testing.T) {
	w := newWorld(t, map[string]string{"list": "alice, bob, nosuch"}, nil)
	w.s.say = func(g got) string {
		if strings.Contains(g.to, "bob") {
			return "452 4.2.2 over quota"
		}
		return "250 2.0.0 delivered to mailbox"
	}
	if s := w.deliver("list@localhost"); !strings.Contains(s, "status=sent") {
		t.Fatal(s)
	}
	env := w.envs[w.queued[0]]
	if len(env.Rcpts) != 2 || env.Rcpts[0].Addr != "bob@mail.example.org" || env.Rcpts[1].Addr != "nosuch@mail.example.org" {
		t.Errorf("%+v", env.Rcpts)
	}
}

// TestNothingYet: with nothing delivered a deferral defers the whole.
func TestNothingYet(t *testing.T) {
	w := newWorld(t, map[string]string{"list": "alice, bob"}, nil)
	w.s.say = func(got) string { return "452 4.2.2 over quota" }
	if s := w.deliver("list@localhost"); s != "local dsn=4.2.2, status=deferred (over quota)" || len(w.queued) != 0 {
		t.Errorf("%s %v", s, w.queued)
	}
}

func TestFailingTable(t *testing.T) {
	w := newWorld(t, nil, func(o *Options) {
		o.Expander.Maps = []alias.Map{&memMap{err: fmt.Errorf("down")}}
	})
	if s := w.deliver("alice@localhost"); s != "local dsn=4.3.0, status=deferred (alias database unavailable)" {
		t.Error(s)
	}
}

func TestStartFails(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.s.err = fmt.Errorf("no process")
	if s := w.deliver("alice@localhost"); s != "local dsn=4.3.0, status=deferred (cannot start mailbox delivery: no process)" {
		t.Error(s)
	}
	w.s.err = fmt.Errorf("x: %w", proc.ErrNoUser)
	if s := w.deliver("alice@localhost"); s != `local dsn=5.1.1, status=bounced (unknown user: "alice")` {
		t.Error(s)
	}
	w.s.err = nil
	if s := w.deliver("alice@localhost"); !strings.Contains(s, "status=sent") {
		t.Error(s)
	}
}

func TestProcessDies(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.s.die = true
	if s := w.deliver("alice@localhost"); !strings.Contains(s, "dsn=4.3.0, status=deferred (mailbox delivery process") {
		t.Error(s)
	}
}

func TestPipeline(t *testing.T) {
	w := newWorld(t, nil, func(o *Options) { o.Window, o.Idle = 50, time.Minute })
	w.s.slow = 5 * time.Millisecond
	const n = 200
	var wg sync.WaitGroup
	var bad atomic.Int32
	for i := range n {
		wg.Go(func() {
			job, res := w.job("alice@localhost")
			if i%20 == 0 {
				job.Rcpts[0].Addr = "bob@localhost"
			}
			w.l.Deliver(context.Background(), job)
			if res[0].Status.Outcome != mail.Sent {
				bad.Add(1)
			}
		})
	}
	wg.Wait()
	if bad.Load() != 0 || len(w.s.boxes[Who{User: "alice"}])+len(w.s.boxes[Who{User: "bob"}]) != n {
		t.Fatalf("%d failed", bad.Load())
	}
	if len(w.s.starts) != 2 {
		t.Errorf("%d processes for two users", len(w.s.starts))
	}
	most := 0
	for _, b := range w.s.batches {
		most = max(most, b)
	}
	if most < 2 {
		t.Errorf("no batch of more than one message: %v", w.s.batches)
	}
}

// TestPipelined: only mail that goes to one mailbox may come in crowds.
func TestPipelined(t *testing.T) {
	w := newWorld(t, map[string]string{"cmd": `"|/bin/x"`, "list": "alice, bob", "me": "alice"}, nil)
	for rcpt, want := range map[mail.Address]int{"Alice@localhost": defWindow, "cmd@localhost": 0, "list@localhost": 0, "me@localhost": defWindow} {
		if n := w.l.Pipeline(rcpt); n != 0 {
			t.Errorf("%s: %d before the first message", rcpt, n)
		}
		w.deliver(string(rcpt))
		if n := w.l.Pipeline(rcpt); n != want {
			t.Errorf("%s: %d, not %d", rcpt, n, want)
		}
	}
}

func TestLargeMessage(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.body = testBody + strings.Repeat("0123456789abcdef\n", 100000)
	if s := w.deliver("alice@localhost"); !strings.Contains(s, "status=sent") {
		t.Fatal(s)
	}
	if w.s.boxes[Who{User: "alice"}][0].body != w.body {
		t.Error("the message changed on its way")
	}
}

func TestConversationLimits(t *testing.T) {
	w := newWorld(t, nil, func(o *Options) { o.Conversations = 3; o.Idle = 20 * time.Millisecond })
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			if s := w.deliver(fmt.Sprintf("user%d@localhost", i)); !strings.Contains(s, "status=sent") {
				t.Error(s)
			}
		})
	}
	wg.Wait()
	// Conversations that were told to end may still be saying QUIT.
	if w.s.peak > 3*3 {
		t.Errorf("%d conversations at once", w.s.peak)
	}
	time.Sleep(100 * time.Millisecond)
	if n := w.s.live.Load(); n != 0 {
		t.Errorf("%d idle conversations are still open", n)
	}
}

// transportFunc is a transport of one function.
type transportFunc func(job *mail.Job)

func (f transportFunc) Deliver(_ context.Context, job *mail.Job) { f(job) }

func TestMailboxTransport(t *testing.T) {
	var seen *mail.Job
	w := newWorld(t, map[string]string{"root": "alice"}, func(o *Options) {
		o.Transport = "lmtp:unix:private/dovecot-lmtp"
		o.Via = func(name string) Transport {
			if name != "lmtp" {
				return nil
			}
			return transportFunc(func(job *mail.Job) {
				seen = job
				job.Report(0, mail.Result{Status: mail.OK("2.0.0", "Saved"), Program: "lmtp", Relay: "host[private/dovecot-lmtp]"})
			})
		}
	})
	if s := w.deliver("root@localhost"); s != "host[private/dovecot-lmtp] dsn=2.0.0, status=sent (Saved)" {
		t.Error(s)
	}
	if seen.Nexthop != "unix:private/dovecot-lmtp" || seen.Rcpts[0].Addr != "alice@mail.example.org" || seen.Rcpts[0].Orig != "root@localhost" {
		t.Errorf("%+v", seen)
	}
}

func TestLuserRelay(t *testing.T) {
	w := newWorld(t, nil, func(o *Options) { o.LuserRelay = "catch+$local" })
	if s := w.deliver("nosuch@localhost"); !strings.Contains(s, "status=sent (delivered to mailbox)") {
		t.Fatal(s)
	}
	if g := w.s.boxes[Who{User: "catch"}]; len(g) != 1 || g[0].to != "TO:<catch+nosuch@mail.example.org>" {
		t.Errorf("%+v", w.s.boxes)
	}
	w = newWorld(t, nil, func(o *Options) { o.LuserRelay = "nowhere@else.test" })
	if s := w.deliver("nosuch@localhost"); !strings.Contains(s, "(forwarded as") {
		t.Error(s)
	}
	w = newWorld(t, nil, func(o *Options) { o.LuserRelay = "nobody9" })
	if s := w.deliver("nosuch@localhost"); !strings.Contains(s, "unknown user") {
		t.Error(s)
	}
}

func TestVerifyOnly(t *testing.T) {
	w := newWorld(t, map[string]string{"cmd": `"|/bin/x"`, "ext": "a@else.test", "file": "/tmp/q"}, nil)
	for to, want := range map[string]string{"alice@localhost": "delivers to mailbox", "cmd@localhost": "delivers to command: /bin/x",
		"ext@localhost": "forwards to a@else.test", "file@localhost": "delivers to file: /tmp/q"} {
		job, res := w.job(to)
		job.Env.VerifyOnly = true
		job.Env.Verify = true
		w.l.Deliver(context.Background(), job)
		if res[0].Status.Text != want {
			t.Errorf("%s: %s", to, line(res[0]))
		}
	}
	if len(w.s.starts)+len(w.s.commands)+len(w.queued) != 0 {
		t.Error("something was delivered")
	}
}

func TestManyRecipients(t *testing.T) {
	w := newWorld(t, nil, nil)
	var to []string
	for i := range 40 {
		to = append(to, fmt.Sprintf("user%d@localhost", i%5))
	}
	job, res := w.job(to...)
	w.l.Deliver(context.Background(), job)
	for i, r := range res {
		if r == nil || r.Status.Outcome != mail.Sent {
			t.Errorf("%d: %s", i, line(r))
		}
	}
}

func TestTrivial(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, c := range []struct {
		tr            Transport
		nexthop, want string
	}{
		{Error{}, "5.1.2 no such place", "none dsn=5.1.2, status=bounced (no such place)"},
		{Error{}, "gone", "none dsn=5.0.0, status=bounced (gone)"},
		{Retry{}, "4.3.5 wait a bit", "none dsn=4.3.5, status=deferred (wait a bit)"},
		{Discard{}, "disc.test", "none dsn=2.0.0, status=sent (disc.test)"},
	} {
		job, res := w.job("a@b", "c@d")
		job.Nexthop = c.nexthop
		c.tr.Deliver(context.Background(), job)
		for _, r := range res {
			if line(r) != c.want {
				t.Errorf("%s, want %s", line(r), c.want)
			}
		}
	}
}

func TestVirtual(t *testing.T) {
	dir := t.TempDir()
	table := filepath.Join(dir, "vmail")
	os.WriteFile(table, []byte("bob@v.test v.test/bob/\ncarol@v.test v.test/carol\n@catch.test all\nevil@v.test ../../etc/passwd\n"), 0o644)
	var log bytes.Buffer
	s := &fakeStarter{boxes: map[Who][]got{}, say: func(got) string { return "250 2.0.0 Ok" }}
	v, err := NewVirtual(VirtualOptions{Base: "/srv/mail", Maps: []string{"hash:" + table}, UIDMaps: []string{"inline:{bob@v.test=5, carol@v.test=5001, @catch.test=5002, evil@v.test=5000}"},
		GIDMaps: []string{"static:8"}, Delimiter: "+"}, s, maillog.To(&log, maillog.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	w := newWorld(t, nil, nil)
	for to, want := range map[string]string{
		"bob@v.test":     "virtual dsn=4.3.5, status=deferred (mail system configuration error)",
		"Carol@v.test":   "virtual dsn=2.0.0, status=sent (delivered to mailbox)",
		"carol+x@v.test": "virtual dsn=2.0.0, status=sent (delivered to mailbox)",
		"a@catch.test":   "virtual dsn=2.0.0, status=sent (delivered to mailbox)",
		"Dave@v.test":    `virtual dsn=5.1.1, status=bounced (unknown user: "dave@v.test")`,
		"evil@v.test":    "virtual dsn=4.3.5, status=deferred (mail system configuration error)",
	} {
		job, res := w.job(to)
		job.Transport = "virtual"
		v.Deliver(context.Background(), job)
		if line(res[0]) != want {
			t.Errorf("%s: %s\nwant %s", to, line(res[0]), want)
		}
	}
	if n := len(s.boxes[Who{UID: 5001, GID: 8, Mailbox: "/srv/mail/v.test/carol"}]); n != 2 {
		t.Errorf("%v", s.starts)
	}
	if !strings.Contains(log.String(), "recipient bob@v.test: bad uid 5 in virtual_uid_maps") {
		t.Error(log.String())
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 2.0.0 Ok\r\n", "250-a\r\n250 b\r\n", "452 4.2.2 <a> full\r\n", "x\r\n", "250\r\n", "999 x\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := readReply(bufio.NewReaderSize(strings.NewReader(s), maxReply))
		if err != nil {
			return
		}
		st := p.status("delivered to mailbox")
		if (p.code < 300) != (st.Outcome == mail.Sent) || (p.code >= 500) != (st.Outcome == mail.Bounced) || st.Code[0] != "245"[st.Outcome] {
			t.Errorf("%q: code %s", s, st.Code)
		}
	})
}
