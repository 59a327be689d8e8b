package bounce

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/sys/maillog"
)

// rig is a bouncer over a scratch queue.
type rig struct {
	t   *testing.T
	q   *queue.Queue
	b   *Bouncer
	log bytes.Buffer
}

func newRig(t *testing.T, o Options) *rig {
	q, err := queue.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	r := &rig{t: t, q: q}
	o.Hostname = "mail.example.org"
	r.b = New(o, q, maillog.To(&r.log, maillog.Options{}))
	return r
}

// notice commits a message and says what became of it.
func (r *rig) notice(env *mail.Envelope, body string, reports ...Report) *Notice {
	r.t.Helper()
	env.Arrived = time.Unix(1795442825, 0)
	env.Rcpts = nil
	for _, rp := range reports {
		env.Rcpts = append(env.Rcpts, *rp.Rcpt)
	}
	w, err := r.q.Create()
	if err != nil {
		r.t.Fatal(err)
	}
	io.WriteString(w, body)
	if err := w.Commit(env); err != nil {
		r.t.Fatal(err)
	}
	return &Notice{ID: w.ID(), Env: env, Size: w.Size(), Rcpts: reports, Open: func() (mail.Content, error) {
		return r.q.OpenContent(w.ID(), queue.Incoming)
	}}
}

// text returns a report's bytes and envelope.
func (r *rig) text(s Sent) (string, *mail.Envelope) {
	r.t.Helper()
	c, err := r.q.OpenContent(s.ID, queue.Incoming)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	b, _ := io.ReadAll(c.Reader())
	m, err := r.q.Load(s.ID, queue.Incoming)
	if err != nil || m.Size != s.Size {
		r.t.Fatal(err)
	}
	return string(b), m.Env
}

var (
	reDate     = regexp.MustCompile(`\w{3}, [ 0-9]{1,2} \w{3} \d{4} [0-9:]{8} \+0000 \(UTC\)`)
	reStamp    = regexp.MustCompile(`<\d{14}\.`)
	reBoundary = regexp.MustCompile(`ID\.\d+/`)
)

// normal takes out ids and times.
func normal(s string, ids ...string) string {
	for _, id := range ids {
		s = strings.ReplaceAll(s, id, "ID")
	}
	s = reDate.ReplaceAllString(s, "DATE")
	return reBoundary.ReplaceAllString(reStamp.ReplaceAllString(s, "<STAMP."), "ID.STAMP/")
}

// golden returns the message with that queue id from the spool of a real Postfix,
// without what delivery added to it.
func golden(t *testing.T, id string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "golden", "spool.txt"))
	if err != nil {
		t.Skip("../shared/golden/spool.txt is absent: ", err)
	}
	s := string(b)
	i := strings.Index(s, "Received: by mail.example.org (Postfix)\n\tid "+id+";")
	if i < 0 {
		t.Fatalf("no %s in the spool", id)
	}
	s = s[i:]
	end := regexp.MustCompile(`(?m)^--[0-9A-F]+\.\d+/mail\.example\.org--\n`).FindStringIndex(s)
	s = s[:end[1]]
	return regexp.MustCompile(`(?m)^(X-UID|Content-Length):.*\n`).ReplaceAllString(s, "")
}

const head = "Received: by mail.example.org (Postfix, from userid 1500)\n\tid %s; Mon, 23 Nov 2026 14:07:05 +0000 (UTC)\n" +
	"Subject: s\nFrom: a@mail.example.org\nMessage-Id: <20261123140705.%s@mail.example.org>\nDate: Mon, 23 Nov 2026 14:07:05 +0000 (UTC)\n\nbody\n"

// TestGolden holds our reports, byte for byte, against those of a real Postfix.
func TestGolden(t *testing.T) {
	remote := &mail.Status{Outcome: mail.Bounced, Code: "5.1.1", MTA: "mx.sink.test",
		Text:   "host mx.sink.test[127.0.0.8] said: 550 5.1.1 <nouser@sink.test>: Recipient address rejected: User unknown in local recipient table (in reply to RCPT TO command)",
		Remote: "550 5.1.1 <nouser@sink.test>: Recipient address rejected: User unknown in local recipient table"}
	own := func(a, o mail.Address) *mail.Rcpt { return &mail.Rcpt{Addr: a, Orig: o, ORCPT: "rfc822;" + string(a)} }
	const remoteBody = "Received: from c.ok.test (unknown [127.0.0.20])\n\tby mail.example.org (Postfix) with ESMTPA id ID;\n\tMon, 23 Nov 2026 14:06:31 +0000 (UTC)\n" +
		"Subject: t\nFrom: x@ok.test\nMessage-ID: <m3@ok.test>\n\nhi\n"
	local := strings.ReplaceAll(head, "%s", "ID")
	bob := own("bob@mail.example.org", "bob")
	ok := mail.OK("2.0.0", "delivered to mailbox")
	for _, c := range []struct {
		id, of  string
		kind    Kind
		body    string
		reports []Report
	}{
		{"2F8BCBA", "1CF8497", Failure, remoteBody, []Report{{Rcpt: own("nouser@sink.test", ""), Status: remote, Action: "failed"}}},
		{"9CB4111A", "9B1F0116", Failure, local, []Report{
			{Rcpt: own("x@y.test", ""), Action: "failed", Status: mail.Bounce("5.4.4", "Host or domain name not found. Name service error for name=y.test type=A: Host not found")},
			{Rcpt: own("-f@mail.example.org", "-f"), Action: "failed", Status: mail.Bounce("5.1.3", "bad address syntax")}}},
		{"B0E25132", "B0665130", Failure, local, []Report{{Rcpt: own("nosuchuser@mail.example.org", "nosuchuser"), Action: "failed", Status: mail.Bounce("5.1.1", "unknown user: \"nosuchuser\"")}}},
		{"BF8D013F", "BE06B13B", Success, local, []Report{{Rcpt: bob, Action: "delivered", Status: ok, Relay: "local"}}},
		{"E487815D", "E429C15A", Verify, local, []Report{{Rcpt: bob, Action: "delivered", Status: ok, Relay: "local"}}},
	} {
		want := normal(golden(t, c.id), c.id, c.of)
		r := newRig(t, Options{})
		bob.Notify = mail.NotifySuccess
		n := r.notice(&mail.Envelope{Sender: "alice@mail.example.org"}, c.body, c.reports...)
		if c.kind != Success {
			bob.Notify = 0
		}
		sent, err := r.b.Send(c.kind, n)
		if err != nil || len(sent) != 1 {
			t.Fatal(sent, err)
		}
		got, env := r.text(sent[0])
		if got = normal(got, sent[0].ID, n.ID); got != want {
			t.Errorf("%s\n--- got\n%s\n--- want\n%s", c.id, got, want)
		}
		if env.Sender != "" || len(env.Rcpts) != 1 || env.Rcpts[0].Addr != "alice@mail.example.org" {
			t.Errorf("envelope %+v", env)
		}
		if !strings.Contains(r.log.String(), n.ID+": sender "+logNames[c.kind]+": "+sent[0].ID) {
			t.Error(r.log.String())
		}
	}
}

// TestDelay: the warning, as a Postfix 3.7.11 with delay_warning_time = 4h wrote it.
func TestDelay(t *testing.T) {
	r := newRig(t, Options{DelayWarning: 4 * time.Hour, NotifyClasses: []string{"delay", "resource"}})
	st := mail.Defer("4.4.1", "connect to 127.0.0.1[127.0.0.1]:2599: Connection refused")
	n := r.notice(&mail.Envelope{Sender: "root@mail.example.org", EnvID: "env+id"}, "Subject: dead\n\nbody\n",
		Report{Rcpt: &mail.Rcpt{Addr: "a@dead.test"}, Status: st, Action: "delayed"},
		Report{Rcpt: &mail.Rcpt{Addr: "b@dead.test", Notify: mail.NotifyFailure}, Status: st, Action: "delayed"})
	sent, err := r.b.Send(Delay, n)
	if err != nil || len(sent) != 2 {
		t.Fatal(sent, err)
	}
	got, _ := r.text(sent[0])
	for _, want := range []string{
		"Subject: Delayed Mail (still being retried)\nTo: root@mail.example.org\n",
		"Your message could not be delivered for more than 4 hour(s).\nIt will be retried until it is 5 day(s) old.\n",
		"\n<a@dead.test>: connect to 127.0.0.1[127.0.0.1]:2599: Connection refused\n\n--",
		"Original-Envelope-Id: env+2Bid\n", "Action: delayed\nStatus: 4.4.1\nDiagnostic-Code: X-Postfix; connect to 127.0.0.1[127.0.0.1]:2599: Connection\n    refused\nWill-Retry-Until: Sat, 28 Nov 2026 14:07:05 +0000 (UTC)\n",
		"Content-Description: Undelivered Message Headers\nContent-Type: text/rfc822-headers\n",
		"Return-Path: <root@mail.example.org>\nSubject: dead\n\n--",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "b@dead.test") || strings.Contains(got, "\nbody") {
		t.Error(got)
	}
	copied, env := r.text(sent[1])
	if env.Sender != "double-bounce@mail.example.org" || env.Rcpts[0].Addr != "postmaster@mail.example.org" || env.Rcpts[0].Orig != "postmaster" {
		t.Errorf("%+v", env)
	}
	if !strings.Contains(copied, "Subject: Postmaster Warning: Delayed Mail\nTo: postmaster@mail.example.org\nAuto-Submitted: auto-generated\n") ||
		!strings.Contains(copied, "Content-Transfer-Encoding: 8bit\n\n\n<a@dead.test>: connect") || !strings.Contains(copied, "b@dead.test") {
		t.Error(copied)
	}
}

// TestWho: who is told of a failure, and that no report makes a loop.
func TestWho(t *testing.T) {
	bad := mail.Bounce("5.0.0", "gone")
	fail := func(n mail.Notify) Report {
		return Report{Rcpt: &mail.Rcpt{Addr: "c@err.test", Notify: n}, Status: bad, Action: "failed"}
	}
	for _, c := range []struct {
		name    string
		from    mail.Address
		notify  mail.Notify
		classes []string
		to      []mail.Address // recipients of what is written
		log     string
	}{
		{"sender", "me@x", 0, nil, []mail.Address{"me@x"}, ""},
		{"never", "me@x", mail.NotifyNever, nil, nil, ""},
		{"success only", "me@x", mail.NotifySuccess, nil, nil, ""},
		{"never, copy", "me@x", mail.NotifyNever, []string{"bounce"}, []mail.Address{"postmaster@mail.example.org"}, ""},
		{"copy", "me@x", 0, []string{"Bounce"}, []mail.Address{"me@x", "postmaster@mail.example.org"}, ""},
		{"null", "", 0, nil, nil, ""},
		{"null, told", "", 0, []string{"2bounce"}, []mail.Address{"postmaster@mail.example.org"}, "postmaster non-delivery notification"},
		{"double", "double-bounce@mail.example.org", 0, []string{"bounce", "2bounce"}, nil, "undeliverable postmaster notification discarded"},
	} {
		r := newRig(t, Options{NotifyClasses: c.classes})
		sent, err := r.b.Send(Failure, r.notice(&mail.Envelope{Sender: c.from}, "Subject: x\n\nbody\n", fail(c.notify)))
		if err != nil {
			t.Fatal(err)
		}
		var to []mail.Address
		for _, s := range sent {
			text, env := r.text(s)
			to = append(to, env.Rcpts[0].Addr)
			if env.Sender != "" && env.Sender != "double-bounce@mail.example.org" {
				t.Errorf("%s: from %q", c.name, env.Sender)
			}
			if c.from == "" && !strings.Contains(text, "Return-Path: <MAILER-DAEMON@mail.example.org>\n") {
				t.Errorf("%s: %s", c.name, text)
			}
		}
		if strings.Join(strs(to), " ") != strings.Join(strs(c.to), " ") || !strings.Contains(r.log.String(), c.log) {
			t.Errorf("%s: to %v, log %s", c.name, to, r.log.String())
		}
	}
}

func strs(as []mail.Address) (out []string) {
	for _, a := range as {
		out = append(out, string(a))
	}
	return out
}

// TestHostile: what strangers say cannot add a header, end a part or grow without
// bound, and a large message comes back as its header.
func TestHostile(t *testing.T) {
	r := newRig(t, Options{SizeLimit: 1000})
	evil := "550 no\r\nSubject: forged\n\n--boundary\x00\x1b[2J" + strings.Repeat("A", 1<<20)
	st := &mail.Status{Outcome: mail.Bounced, Code: "5.0.0\nX: y", Text: evil, Remote: evil, MTA: "mx\nX-Evil: 1"}
	n := r.notice(&mail.Envelope{Sender: "me@x\nBcc: z@z", EnvID: "a\nb"}, "Subject: big\n\n"+strings.Repeat("secret\n", 1000),
		Report{Rcpt: &mail.Rcpt{Addr: "u\n@x", ORCPT: "rfc822;\nq"}, Status: st, Action: "failed"})
	sent, err := r.b.Send(Failure, n)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := r.text(sent[0])
	for _, bad := range []string{"\nSubject: forged", "\nBcc:", "\nX-Evil", "\nX: y", "\x00", "\x1b", "secret"} {
		if strings.Contains(got, bad) {
			t.Errorf("%q came through", bad)
		}
	}
	if len(got) > 20000 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestNoNewline: a message without a last newline, and one without a body.
func TestNoNewline(t *testing.T) {
	for body, end := range map[string]string{"Subject: x\n\nno end": "no end\n\n--", "Subject: only": "Subject: only\n\n--", "": "\n\n--"} {
		for _, ret := range []string{"", "HDRS"} {
			r := newRig(t, Options{})
			n := r.notice(&mail.Envelope{Sender: "me@x", Ret: ret}, body, Report{Rcpt: &mail.Rcpt{Addr: "u@x"}, Status: mail.Bounce("5.0.0", "no"), Action: "failed"})
			sent, err := r.b.Send(Failure, n)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := r.text(sent[0])
			if ret == "HDRS" && strings.Contains(body, "no end") {
				end = "Subject: x\n\n--"
			}
			if !strings.Contains(got, end) {
				t.Errorf("%q %s: %s", body, ret, got)
			}
		}
	}
}

// TestWrap: lines as bounce(8) breaks them.
func TestWrap(t *testing.T) {
	long := strings.Repeat("x", 100)
	for in, want := range map[string]string{
		"":               "\n",
		"a b":            "a b\n",
		long + " b":      long + "\n    b\n",
		"a " + long:      "a\n    " + long + "\n",
		"a  " + long:     "a\n    " + long + "\n",
		"a " + long[:77]: "a " + long[:77] + "\n",
		"a " + long[:78]: "a\n    " + long[:78] + "\n",
	} {
		if got := wrap(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

// FuzzWrap: no text makes wrap lose a word, loop or panic.
func FuzzWrap(f *testing.F) {
	f.Add("a b  c")
	f.Add(strings.Repeat("word ", 100))
	f.Fuzz(func(t *testing.T, s string) {
		s = clean(s)
		got := strings.Fields(strings.ReplaceAll(wrap(s), "\n", " "))
		if strings.Join(got, " ") != strings.Join(strings.Fields(s), " ") {
			t.Fatalf("%q: %q", s, got)
		}
	})
}

// TestThreaded holds enable_threaded_bounces: the two fields as Postfix 3.7
// writes them, in the sender's report and the postmaster's copy.
func TestThreaded(t *testing.T) {
	for _, c := range []struct {
		threaded bool
		id, want string
	}{
		{true, "<one@example.org>", "References: <one@example.org>\nIn-Reply-To: <one@example.org>\nAuto-Submitted: auto-"},
		{true, "<a@b>\nBcc: eve@example.net", "References: <a@b> Bcc: eve@example.net\nIn-Reply-To: <a@b> Bcc: eve@example.net\nAuto-Submitted: auto-"},
		{true, "", "Auto-Submitted: auto-"},
		{false, "<one@example.org>", "Auto-Submitted: auto-"},
	} {
		r := newRig(t, Options{Threaded: c.threaded, NotifyClasses: []string{"bounce"}})
		n := r.notice(&mail.Envelope{Sender: "me@example.org", MessageID: c.id}, "Subject: x\nReferences: <a@b> <c@d>\n\nbody\n",
			Report{Rcpt: &mail.Rcpt{Addr: "c@err.test"}, Status: mail.Bounce("5.0.0", "gone"), Action: "failed"})
		sent, err := r.b.Send(Failure, n)
		if err != nil || len(sent) != 2 {
			t.Fatal(sent, err)
		}
		for i, to := range []string{"me@example.org", "postmaster@mail.example.org"} {
			if got, _ := r.text(sent[i]); !strings.Contains(got, "\nTo: "+to+"\n"+c.want) {
				t.Errorf("%q: no %q in\n%s", c.id, c.want, got)
			}
		}
	}
}
