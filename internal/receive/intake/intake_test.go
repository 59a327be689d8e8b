package intake

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

// memFile is a queue file in memory.
type memFile struct {
	bytes.Buffer
	env     *mail.Envelope
	aborted bool
	held    bool
	full    bool // fails all writes
}

func (f *memFile) ID() string { return "4F00A1B2C" }
func (f *memFile) Write(p []byte) (int, error) {
	if f.full {
		return 0, errors.New("no space left on device")
	}
	return f.Buffer.Write(p)
}
func (f *memFile) Commit(env *mail.Envelope) error { f.env = env; return nil }
func (f *memFile) CommitHold(env *mail.Envelope) error {
	f.env, f.held = env, true
	return nil
}
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.Bytes()).ReadAt(p, off)
}
func (f *memFile) Restart() error { f.Reset(); return nil }
func (f *memFile) Abort()         { f.aborted = true }

// bench is an Intake that writes into one memFile after the other.
type rig struct {
	*Intake
	file   *memFile
	log    bytes.Buffer
	queued int
}

func newRig(o Options) *rig {
	r := &rig{file: &memFile{}}
	if o.Hostname == "" {
		o.Hostname, o.Origin = "mail.example.org", "mail.example.org"
	}
	o.SwapBangpath, o.PercentHack, o.OriginalRecipient = true, true, true
	l := maillog.To(&r.log, maillog.Options{Host: "mail"})
	r.Intake = &Intake{o: o, log: l.Program("cleanup"), queued: func(string, *mail.Envelope, int64) { r.queued++ }}
	r.create = func() (file, error) { return r.file, nil }
	if err := r.open(); err != nil {
		panic(err)
	}
	return r
}

var arrival = time.Date(2026, 11, 23, 14, 7, 5, 0, time.UTC)

func local(rcpts ...string) *mail.Envelope {
	env := &mail.Envelope{Sender: "alice", Arrived: arrival, UID: 1500}
	for _, r := range rcpts {
		env.Rcpts = append(env.Rcpts, mail.Rcpt{Addr: mail.Address(r)})
	}
	return env
}

// submit feeds text in chunks of n bytes and returns the file's bytes without
// the Received: header.
func (r *rig) submit(t testing.TB, env *mail.Envelope, name, text string, n int) (string, error) {
	t.Helper()
	r.file = &memFile{full: r.file.full}
	m, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	m.SetFullName(name)
	if err := m.Start(env); err != nil {
		m.Abort()
		return "", err
	}
	for b := []byte(text); len(b) > 0; b = b[min(n, len(b)):] {
		if _, err := m.Write(b[:min(n, len(b))]); err != nil {
			m.Abort()
			return "", err
		}
	}
	err = m.Commit()
	out := r.file.String()
	out = out[strings.Index(out, "(UTC)\n")+6:]
	return regexp.MustCompile(`<\d{14}\.`).ReplaceAllString(out, "<T."), err
}

const (
	addID   = "Message-Id: <T.4F00A1B2C@mail.example.org>\n"
	addDate = "Date: Mon, 23 Nov 2026 14:07:05 +0000 (UTC)\n"
	addFrom = "From: Alice <alice@mail.example.org>\n"
	added   = addID + addDate + addFrom
)

// Each case is what Postfix 3.7 makes of the same input.
func TestLocalHeaders(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", added},
		{"\n", added + "\n"},
		{"just text\nno header\n", added + "\njust text\nno header\n"},
		{"no newline", added + "\nno newline\n"},
		{"Subject: s\nFrom: a\n\nbody\n", "Subject: s\nFrom: a@mail.example.org\n" + addID + addDate + "\nbody\n"},
		{"Subject: x", "Subject: x\n" + added},
		{"Subject: x\n\nno end", "Subject: x\n" + added + "\nno end\n"},
		{"Subject: nul\n\na\x00b\n", "Subject: nul\n" + added + "\na\x00b\n"},
		{"From x y\n>From z\nSubject: f\n\n>From here\n", "Subject: f\n" + added + "\n>From here\n"},
		{"To : spaced\nSubject : y\nBad header line\nmore\n",
			"To: spaced@mail.example.org\nSubject: y\n" + added + "\nBad header line\nmore\n"},
		{" leading\nSubject: x\n\nb\n", added + "\n leading\nSubject: x\n\nb\n"},
		{"Resent-To: a\nReceived: foo\nTo: b\nFrom: c\nMessage-Id: <q>\n\nx\n",
			"Resent-To: a@mail.example.org\nReceived: foo\nTo: b@mail.example.org\nFrom: c@mail.example.org\nMessage-Id: <q>\n" +
				"Resent-Message-Id: <T.4F00A1B2C@mail.example.org>\nResent-Date: Mon, 23 Nov 2026 14:07:05 +0000 (UTC)\n" +
				"Resent-From: Alice <alice@mail.example.org>\n\nx\n"},
		{"Subject:x\nTO: bob ,\n   carol\n , dave@x , eve\nCc: \"A B\"@foo , a.b@c.d (hi) ,<root>\nSender:me\n" +
			"X-Foo: a\n  b\nreturn-path: <a>\nContent-LENGTH: 3\nbcc: u\n more\nResent-Bcc: x\nX-UID: 3\n\nbody\n",
			"Subject:x\nTO: bob@mail.example.org, carol@mail.example.org, dave@x,\n\teve@mail.example.org\n" +
				"Cc: \"A B\"@foo, a.b@c.d (hi), <root@mail.example.org>\nSender: me@mail.example.org\n" +
				"X-Foo: a\n  b\nX-UID: 3\nResent-" + addID + "Resent-" + addDate + "Resent-" + addFrom + "\nbody\n"},
		{"From: a b <x!y>\nTo: user%dom, a@b@c, u@[1.2.3.4], <@r1,@r2:rt@d>, grp: a, b;, \"q\\\"x\"@y\nDate: \nMessage-ID:\n\n",
			"From: a b <y@x>\nTo: user@dom, \"a@b\"@c, u@[1.2.3.4], <rt@d>, grp: a@mail.example.org,\n\tb@mail.example.org;, \"q\\\"x\"@y\n" +
				"Date: \nMessage-ID:\n\n"},
		{"From: x@y.z\nTo: bob@x (c),\n\tcarol@y,\n\tFoo Bar\n\t <foo@bar>\n\n",
			"From: x@y.z\nTo: bob@x (c),\n\tcarol@y,\n\tFoo Bar\n\t <foo@bar>\n" + addID + addDate + "\n"},
	} {
		for _, n := range []int{1, 3, 7, 1 << 20} {
			got, err := newRig(Options{}).submit(t, local("bob"), "Alice", c.in, n)
			if err != nil || got != c.want {
				t.Errorf("%q in chunks of %d: %v\n got %q\nwant %q", c.in, n, err, got, c.want)
			}
		}
	}
}

func TestMissingFrom(t *testing.T) {
	for _, c := range []struct{ sender, name, want string }{
		{"alice", "", "From: alice@mail.example.org\n"},
		{"alice", `A "q" (B), C`, `From: "A \"q\" (B), C" <alice@mail.example.org>` + "\n"},
		{"alice", "x\nBcc: y", "From: \"x Bcc: y\" <alice@mail.example.org>\n"},
		{"", "Alice", "From: MAILER-DAEMON\n"},
		{"a b@c", "Foo", "From: Foo <\"a b\"@c>\n"},
	} {
		env := local("bob")
		env.Sender = mail.Address(c.sender)
		got, err := newRig(Options{}).submit(t, env, c.name, "x\n", 100)
		if want := addID + addDate + c.want + "\nx\n"; err != nil || got != want {
			t.Errorf("%+v: %v\n got %q\nwant %q", c, err, got, want)
		}
	}
}

func TestReceived(t *testing.T) {
	smtp := mail.Peer{Name: "localhost", Addr: netip.MustParseAddr("127.0.0.1"), Helo: "c.ok.test", Proto: "ESMTP"}
	secure := smtp
	secure.TLS, secure.SASL, secure.User = "TLSv1.3 with cipher X (256/256 bits)", "PLAIN", "bob"
	six := smtp
	six.Name, six.Addr = "", netip.MustParseAddr("2001:db8::1")
	plain := smtp
	plain.Proto = "SMTP"
	for _, c := range []struct {
		peer  mail.Peer
		uid   int
		rcpts []string
		want  string
	}{
		{mail.Peer{}, 1500, []string{"bob"}, "Received: by mail.example.org (Postfix, from userid 1500)\n\tid 4F00A1B2C; "},
		{mail.Peer{}, -1, []string{"bob"}, "Received: by mail.example.org (Postfix)\n\tid 4F00A1B2C; "},
		{smtp, -1, []string{"a@b"}, "Received: from c.ok.test (localhost [127.0.0.1])\n\tby mail.example.org (Postfix) with ESMTP id 4F00A1B2C\n\tfor <a@b>; "},
		{smtp, -1, []string{"a@b", "c@d"}, "Received: from c.ok.test (localhost [127.0.0.1])\n\tby mail.example.org (Postfix) with ESMTP id 4F00A1B2C;\n\t"},
		{plain, -1, []string{"a@b"}, "Received: from c.ok.test (localhost [127.0.0.1])\n\tby mail.example.org (Postfix) with SMTP id 4F00A1B2C\n\tfor <a@b>; "},
		{six, -1, []string{"a b@c"}, "Received: from c.ok.test (unknown [IPv6:2001:db8::1])\n\tby mail.example.org (Postfix) with ESMTP id 4F00A1B2C\n\tfor <\"a b\"@c>; "},
		{secure, -1, []string{"a@b"}, "Received: from c.ok.test (localhost [127.0.0.1])\n\t(using TLSv1.3 with cipher X (256/256 bits))\n" +
			"\t(No client certificate requested)\n\t(Authenticated sender: bob)\n\tby mail.example.org (Postfix) with ESMTPSA id 4F00A1B2C\n\tfor <a@b>; "},
	} {
		r := newRig(Options{SASLHeader: true, TLSHeader: true})
		env := local(c.rcpts...)
		env.Peer, env.UID = c.peer, c.uid
		if _, err := r.submit(t, env, "", "", 1); err != nil {
			t.Fatal(err)
		}
		if got := r.file.String(); !strings.HasPrefix(got, c.want+"Mon, 23 Nov 2026 14:07:05 +0000 (UTC)\n") {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

// To mail of strangers nothing is added; what must not travel is removed.
func TestStrangers(t *testing.T) {
	env := local("bob@mail.example.org")
	env.UID = -1
	env.Peer = mail.Peer{Name: "x", Addr: netip.MustParseAddr("192.0.2.7"), Proto: "ESMTP", Helo: "x"}
	r := newRig(Options{})
	in := "From x y\nFrom: a\nTo: b (c) ,\n d\nBcc: secret\nSubject: s\n\nbody\n"
	want := "X-Mailbox-Line: From x y\nFrom: a\nTo: b (c) ,\n d\nSubject: s\n\nbody\n"
	if got, err := r.submit(t, env, "", in, 5); err != nil || got != want {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
	if !strings.Contains(r.log.String(), "4F00A1B2C: message-id=<>\n") {
		t.Errorf("log: %s", r.log.String())
	}
	r = newRig(Options{AlwaysAddMissing: true, RemoteDomain: "domain.invalid", Undisclosed: "To: undisclosed-recipients:;"})
	got, err := r.submit(t, env, "", "From: a\n\nx\n", 100)
	want = "From: a@domain.invalid\n" + addID + addDate + "To: undisclosed-recipients:;\n\nx\n"
	if err != nil || got != want {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
}

func TestLocalRewriteClients(t *testing.T) {
	r := newRig(Options{RewriteClients: []string{"permit_mynetworks", "permit_sasl_authenticated", "check_address_map", "inline:{192.0.2.7=x}",
		"cidr:{{2001:db8::/32 x}}", "permit_tls_clientcerts"},
		Networks: func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") }})
	for _, c := range []struct {
		peer mail.Peer
		want bool
	}{
		{mail.Peer{}, true},
		{mail.Peer{Addr: netip.MustParseAddr("192.0.2.1")}, true},
		{mail.Peer{Addr: netip.MustParseAddr("::ffff:192.0.2.1")}, true},
		{mail.Peer{Addr: netip.MustParseAddr("192.0.2.2")}, false},
		{mail.Peer{Addr: netip.MustParseAddr("127.0.0.1")}, false},
		{mail.Peer{Addr: netip.MustParseAddr("192.0.2.2"), SASL: "PLAIN"}, true},
		{mail.Peer{Addr: netip.MustParseAddr("192.0.2.7")}, true},
		{mail.Peer{Addr: netip.MustParseAddr("2001:db8::7")}, true},
		{mail.Peer{Addr: netip.MustParseAddr("2001:db9::7")}, false},
		{mail.Peer{Addr: netip.MustParseAddr("192.0.2.2"), CertListed: true}, true},
		{mail.Peer{Addr: netip.MustParseAddr("192.0.2.2"), CertVerified: true}, false},
	} {
		if got, err := r.local(c.peer); got != c.want || err != nil {
			t.Errorf("%+v: %v %v", c.peer, got, err)
		}
	}
	r = newRig(Options{RewriteClients: []string{"permit_tls_all_clientcerts"}})
	if ok, _ := r.local(mail.Peer{Addr: netip.MustParseAddr("192.0.2.2"), CertVerified: true}); !ok {
		t.Error("permit_tls_all_clientcerts does not permit a certificate that a CA vouches for")
	}
	for _, bad := range [][]string{{"check_address_map", "nosuch:x"}, {"mynetworks"}} {
		if err := new(clients).open(&Options{RewriteClients: bad}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	// A table that cannot be asked: the message has to wait.
	r = newRig(Options{RewriteClients: []string{"tcp:127.0.0.1:1"}})
	m, err := r.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Abort()
	env := local("bob")
	env.Peer.Addr = netip.MustParseAddr("192.0.2.2")
	var st *mail.Status
	if err := m.Start(env); !errors.As(err, &st) || !st.Temporary() {
		t.Errorf("a table without an answer: %v", err)
	}
}

// Refusals of a network client are statuses; a local user's mail is queued to
// be returned.
func TestRefusals(t *testing.T) {
	hops := strings.Repeat("Received: x\n", 49)
	big := "Subject: x\n\n" + strings.Repeat("x\n", 5000)
	for _, c := range []struct {
		in, code string
		reply    int
		filter   string
	}{
		{hops, "5.4.0", 554, "error:5.4.0 too many hops"},
		{big, "5.3.4", 552, "error:5.3.4 message file too big"},
	} {
		o := Options{MessageSizeLimit: 5000}
		env := local("bob")
		if _, err := newRig(o).submit(t, env, "", c.in, 100); err != nil || env.Filter != c.filter {
			t.Errorf("local: %v, filter %q", err, env.Filter)
		}
		env = local("bob")
		env.Peer = mail.Peer{Proto: "ESMTP", Addr: netip.MustParseAddr("192.0.2.1")}
		r := newRig(o)
		_, err := r.submit(t, env, "", c.in, 100)
		st, ok := errors.AsType[*mail.Status](err)
		if !ok || st.Code != c.code || st.Reply != c.reply || st.Temporary() || !r.file.aborted || r.queued != 0 {
			t.Errorf("network: %+v, aborted %v", err, r.file.aborted)
		}
		if r.file.Len() > 5000 {
			t.Errorf("wrote %d octets", r.file.Len())
		}
	}
	if _, err := newRig(Options{}).submit(t, local("bob"), "", strings.Repeat("Received: x\n", 48), 100); err != nil {
		t.Errorf("48 hops: %v", err)
	}
	r := newRig(Options{})
	if _, err := r.submit(t, local(), "", "x\n", 100); err == nil || mail.AsStatus(err).Code != "5.5.1" {
		t.Errorf("no recipients: %v", err)
	}
	r.file.full = true
	if _, err := r.submit(t, local("bob"), "", "x\n", 100); err == nil || !mail.AsStatus(err).Temporary() {
		t.Errorf("full disk: %v", err)
	}
	if s := r.log.String(); strings.Count(s, "warning: 4F00A1B2C: write queue file: no space left on device") != 1 {
		t.Errorf("the cause is told once: %s", s)
	}
}

func TestHeaderLimit(t *testing.T) {
	for _, n := range []int{10, 1 << 20} {
		r := newRig(Options{HeaderSizeLimit: 200})
		got, err := r.submit(t, local("bob"), "Alice", "X: "+strings.Repeat("y", 300)+"\nY: 1\n "+strings.Repeat("z\n z", 100)+"\n\nb\n", n)
		if err != nil || !strings.HasPrefix(got, "X: "+strings.Repeat("y", 197)+"\nY: 1\n z\n z") || len(got) > 700 {
			t.Errorf("chunks of %d: %v, %d octets: %q", n, err, len(got), got)
		}
		body := strings.Repeat("\xff", 1000) + "\n"
		if got, err = r.submit(t, local("bob"), "Alice", body, n); err != nil || got != added+"\n"+body {
			t.Errorf("body without header, chunks of %d: %v %q", n, err, got)
		}
	}
}

type aliases map[mail.Address][]mail.Address

func (a aliases) Expand(x mail.Address) ([]mail.Address, error) {
	if x == "broken@mail.example.org" {
		return nil, errors.New("table is gone")
	}
	if m, ok := a[x]; ok {
		return m, nil
	}
	return []mail.Address{x}, nil
}

func TestRecipients(t *testing.T) {
	table := aliases{"list@mail.example.org": {"bob", "Carol@x.org", "bob"}, "huge@mail.example.org": make([]mail.Address, 1001)}
	for _, c := range []struct{ in, want string }{
		{"bob", "bob@mail.example.org<bob"},
		{"bob bob BOB", "bob@mail.example.org<bob"},
		{"bob bob@mail.example.org", "bob@mail.example.org<bob bob@mail.example.org<bob@mail.example.org"},
		{"list", "bob@mail.example.org<list Carol@x.org<list"},
		{"x!y u%d a@b.", "y@x<x!y u@d<u%d a@b<a@b."},
		{"broken", "4.3.0"},
		{"huge", "4.6.0"},
	} {
		env := local(strings.Fields(c.in)...)
		_, err := newRig(Options{Expander: table}).submit(t, env, "", "x\n", 100)
		var got []string
		for _, r := range env.Rcpts {
			got = append(got, string(r.Addr)+"<"+string(r.Orig))
		}
		if err != nil {
			got = []string{mail.AsStatus(err).Code}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q: got %s, want %s", c.in, s, c.want)
		}
	}
	env := local("")
	if _, err := newRig(Options{}).submit(t, env, "", "x\n", 100); err != nil || env.Rcpts[0].Addr != "MAILER-DAEMON@mail.example.org" {
		t.Errorf("empty recipient: %v %+v", err, env.Rcpts)
	}
}

func TestLog(t *testing.T) {
	r := newRig(Options{})
	env := local("bob")
	if _, err := r.submit(t, env, "", "Message-ID: <a@b>\n\nx", 100); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.log.String(), ": 4F00A1B2C: message-id=<a@b>\n") || env.MessageID != "<a@b>" || r.queued != 1 {
		t.Errorf("log %s, id %s, queued %d", r.log.String(), env.MessageID, r.queued)
	}
}

// However the bytes are cut, the file is the same; and a body is never changed.
func TestChunks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := rapid.StringMatching(`((To|X|Bcc|Subject) ?: ?[a-c ,<>@]{0,9}\n( [a-c]{0,3}\n)?){0,3}[ -~\n]{0,30}`).Draw(rt, "message")
		want, err1 := newRig(Options{HeaderSizeLimit: 40}).submit(t, local("bob"), "Alice", in, 1<<20)
		got, err2 := newRig(Options{HeaderSizeLimit: 40}).submit(t, local("bob"), "Alice", in, rapid.IntRange(1, 9).Draw(rt, "n"))
		if got != want || err1 != nil || err2 != nil {
			rt.Fatalf("%q\n got %q %v\nwant %q %v", in, got, err2, want, err1)
		}
		if _, body, ok := strings.Cut(in, "\n\n"); ok && body != "" && !strings.HasSuffix(strings.TrimSuffix(want, "\n"), strings.TrimSuffix(body, "\n")) {
			rt.Fatalf("%q: body changed: %q", in, want)
		}
	})
}

func FuzzIntake(f *testing.F) {
	f.Add([]byte("From: a\nTo: b, c;\n\nx"), 3)
	f.Add([]byte("From x\n: y\n \n\n"), 1)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		r := newRig(Options{HeaderSizeLimit: 64, MessageSizeLimit: 4096})
		out, err := r.submit(t, local("bob"), "Alice", string(in), max(n, 1))
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(out, "\n\n")
		for line := range strings.Lines(header) {
			if len(line) >= 4 && strings.EqualFold(line[:4], "bcc:") {
				t.Fatalf("Bcc: came through: %q", out)
			}
		}
	})
}

// nullFile is a queue file that costs nothing.
type nullFile struct{ size int }

func (f *nullFile) CommitHold(*mail.Envelope) error         { return nil }
func (f *nullFile) ReadAt(p []byte, off int64) (int, error) { return 0, io.EOF }
func (f *nullFile) Restart() error                          { return nil }

func (f *nullFile) ID() string                    { return "4F00A1B2C" }
func (f *nullFile) Write(p []byte) (int, error)   { f.size += len(p); return len(p), nil }
func (f *nullFile) Commit(_ *mail.Envelope) error { return nil }
func (f *nullFile) Abort()                        {}

// BenchmarkIntake takes a message of a usual size, line by line as SMTP brings it.
func BenchmarkIntake(b *testing.B) {
	r := newRig(Options{})
	r.log = bytes.Buffer{}
	r.Intake.log = maillog.To(io.Discard, maillog.Options{Host: "mail"}).Program("cleanup")
	r.create = func() (file, error) { return &nullFile{}, nil }
	text := "From: Alice <alice@example.org>\nTo: bob@example.org\nSubject: benchmark\nMessage-ID: <x@y>\n" +
		"Date: Mon, 23 Nov 2026 14:07:05 +0000\nMIME-Version: 1.0\nContent-Type: text/plain\n\n" + strings.Repeat(strings.Repeat("x", 75)+"\n", 130)
	lines := bytes.SplitAfter([]byte(text), []byte{'\n'})
	peer := mail.Peer{Name: "c.ok.test", Addr: netip.MustParseAddr("192.0.2.1"), Helo: "c.ok.test", Proto: "ESMTP"}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		m, err := r.Open()
		if err != nil {
			b.Fatal(err)
		}
		env := &mail.Envelope{Sender: "a@b.org", Arrived: arrival, Peer: peer, Rcpts: []mail.Rcpt{{Addr: "bob@example.org"}}}
		if err := m.Start(env); err != nil {
			b.Fatal(err)
		}
		for _, line := range lines {
			if _, err := m.Write(line); err != nil {
				b.Fatal(err)
			}
		}
		if err := m.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}
