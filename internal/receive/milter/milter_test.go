package milter

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"packetboat/internal/receive/milter/miltertest"
	"packetboat/internal/sys/maillog"
)

// text is a Content.
type text string

func (s text) Reader() io.Reader { return strings.NewReader(string(s)) }

// noted is an Editor that writes down what it is asked.
type noted struct {
	bytes.Buffer
	fail Reply
}

func (n *noted) note(format string, args ...any) Reply {
	fmt.Fprintf(n, format+"\n", args...)
	return n.fail
}

func (n *noted) AddHeader(name, space, value string) Reply {
	return n.note("add %s:%s%s", name, space, value)
}
func (n *noted) InsertHeader(p int, name, space, value string) Reply {
	return n.note("insert %d %s:%s%s", p, name, space, value)
}
func (n *noted) ChangeHeader(o int, name, space, value string) Reply {
	return n.note("change %d %s:%s%s", o, name, space, value)
}
func (n *noted) DeleteHeader(o int, name string) Reply { return n.note("delete %d %s", o, name) }
func (n *noted) ChangeFrom(a, params string) Reply     { return n.note("from %s %s", a, params) }
func (n *noted) AddRcpt(a, params string) Reply        { return n.note("rcpt+ %s %s", a, params) }
func (n *noted) DelRcpt(a string) Reply                { return n.note("rcpt- %s", a) }
func (n *noted) BeginBody() Reply                      { return n.note("body") }
func (n *noted) WriteBody(p []byte) Reply              { return n.note("write %q", p) }
func (n *noted) EndBody() Reply                        { return n.note("end") }

var client = netip.MustParseAddr("192.0.2.7")

// open begins a session with fakes, and returns it with what it says in the log.
func open(t testing.TB, o Options, extra string, fakes ...*miltertest.Fake) (*Session, *bytes.Buffer) {
	t.Helper()
	var list []string
	for _, f := range fakes {
		list = append(list, "{ "+f.Addr+extra+" }")
	}
	set, err := New(o, strings.Join(list, ", "))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	x := set.Open(func(name string) (string, bool) {
		return map[string]string{"{i}": "ID", "{client_addr}": "192.0.2.7"}[name], name == "{i}" || name == "{client_addr}"
	}, maillog.To(&log, maillog.Options{}).Program("smtpd"))
	t.Cleanup(x.Close)
	return x, &log
}

func macros() Options {
	return Options{Hostname: "mail.test", Version: "Postfix 3.7", ConnectMacros: []string{"j", "{daemon_name}", "v", "{nothing}"},
		MailMacros: []string{"i"}, EndMacros: []string{"i", "{x}"}, MacroDefaults: "x=default { y = b c }", CommandTimeout: 2 * time.Second, ContentTimeout: 2 * time.Second}
}

const sample = "Received: by us\nSubject:  two blanks\nX-Fold: a\n\tb\n\nline one\n\nlast\n"

// One message, all events, in the words of the protocol.
func TestEvents(t *testing.T) {
	f := miltertest.Start(t, &miltertest.Fake{})
	x, log := open(t, macros(), "", f)
	ed := &noted{}
	for i, r := range []Reply{x.Connect("c.test", client, 4711), x.Helo("c.test"), x.Mail("<a@b>", "SIZE=3"), x.Rcpt(false, "<c@d>"),
		x.Rcpt(true, "<no@d>"), x.Unknown("FOO bar"), x.Data(), x.Message(text(sample), "Received: by us", ed)} {
		if r != (Reply{}) {
			t.Errorf("event %d: %+v", i, r)
		}
	}
	x.Abort()
	x.Close()
	waitFor(t, f, "Q ")
	want := "D Cj|mail.test|{daemon_name}|mail.test|v|Postfix 3.7|\nC c.test|4\x12\x67192.0.2.7|\nD H\nH c.test|\nD Mi|ID|\nM <a@b>|SIZE=3|\n" +
		"D R\nR <c@d>|\nD U\nU FOO bar|\nD T\nT \nD L\nL Subject| two blanks|\nD L\nL X-Fold|a\n\tb|\nD N\nN \n" +
		"D Bi|ID|{x}|default|\nB line one\r\n\r\nlast\r\n\nD Ei|ID|{x}|default|\nE \nA \nQ "
	if got := f.Told(); got != want {
		t.Errorf("heard\n%q\nwant\n%q\nlog %s", got, want, log)
	}
	if ed.Len() > 0 {
		t.Errorf("edits: %s", ed)
	}
}

func waitFor(t *testing.T, f *miltertest.Fake, what string) {
	t.Helper()
	for range 200 {
		if strings.Contains(f.Told(), what) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("the milter never heard %q: %q", what, f.Told())
}

// What a milter does not want to hear is not sent, and what it does not answer is
// not waited for.
func TestSpared(t *testing.T) {
	f := miltertest.Start(t, &miltertest.Fake{Events: noHelo | noHeaders | noUnknown | quietMail | quietBody | leadingSpace | wantRejected})
	f.Answer = func(cmd byte, _ string) []string {
		if cmd == cmdMail || cmd == cmdBody {
			return []string{}
		}
		return nil
	}
	x, log := open(t, macros(), "", f)
	x.Connect("unknown", client, 1)
	x.Helo("h")
	x.Mail("<>")
	x.Rcpt(true, "<refused@x>")
	x.Unknown("U")
	if r := x.Message(text(sample), "", &noted{}); r != (Reply{}) {
		t.Errorf("%+v %s", r, log)
	}
	got := f.Told()
	for _, bad := range []string{"\nH ", "\nL ", "\nU "} {
		if strings.Contains(got, bad) {
			t.Errorf("heard %q in %q", bad, got)
		}
	}
	for _, good := range []string{"C [192.0.2.7]|4", "R <refused@x>|", "\nB line", "\nE "} {
		if !strings.Contains(got, good) {
			t.Errorf("did not hear %q in %q", good, got)
		}
	}
}

// An old version hears only of what it knows.
func TestOldVersion(t *testing.T) {
	f := miltertest.Start(t, &miltertest.Fake{Version: 2, Actions: 0x3f})
	x, _ := open(t, macros(), "", f)
	x.Connect("c", client, 1)
	x.Mail("<>")
	x.Unknown("U")
	x.Data()
	x.Rcpt(false, "<a>")
	if got := f.Told(); strings.Contains(got, "\nU ") || strings.Contains(got, "\nT ") || !strings.Contains(got, "\nR ") {
		t.Errorf("%q", got)
	}
	for _, f := range []*miltertest.Fake{{Version: 7, Actions: 1}, {Version: 6, Actions: 1 << 12}} {
		x, log := open(t, macros(), "", miltertest.Start(t, f))
		if r := x.Connect("c", client, 1); r.Text != "451 4.7.1 Service unavailable - try again later" || !strings.Contains(log.String(), "conflict") {
			t.Errorf("%+v %s", r, log)
		}
	}
}

// milter_protocol bounds what is offered: a filter that wants more has none.
func TestProtocol(t *testing.T) {
	for _, c := range []struct {
		protocol string
		version  uint32
		agreed   bool
	}{{"", 6, true}, {"6", 6, true}, {"4", 4, true}, {"4", 6, false}, {"2", 2, true}, {"2", 6, false}} {
		o := macros()
		o.Protocol = c.protocol
		x, log := open(t, o, "", miltertest.Start(t, &miltertest.Fake{Version: c.version, Actions: 0x3f}))
		x.Connect("c", client, 1)
		if conflict := strings.Contains(log.String(), "conflict"); conflict == c.agreed {
			t.Errorf("protocol %q, a filter of version %d: %s", c.protocol, c.version, log)
		}
	}
	for _, bad := range []string{"no_header_reply", "5", "6 7", "six"} {
		if _, _, err := version(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, events, err := version("6, no_header_reply"); err != nil || events&quietHeader == 0 {
		t.Errorf("%x %v", events, err)
	}
}

// The milter's own list of macros goes before ours.
func TestSymbols(t *testing.T) {
	f := miltertest.Start(t, &miltertest.Fake{Symbols: "\x00\x00\x00\x02{client_addr} i\x00\x00\x00\x00\x63zz\x00"})
	x, log := open(t, macros(), "", f)
	x.Connect("c", client, 1)
	x.Mail("<>")
	if !strings.Contains(f.Told(), "D M{client_addr}|192.0.2.7|i|ID|") || !strings.Contains(log.String(), "ignoring unknown macro type 99") {
		t.Errorf("%q %s", f.Told(), log)
	}
}

// Answers to each event.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		at     byte
		answer []string
		want   Reply
	}{
		{cmdMail, []string{"r"}, refusal("550 5.7.1 Command rejected")},
		{cmdMail, []string{"t"}, refusal("451 4.7.1 Service unavailable - try again later")},
		{cmdRcpt, []string{"y550 5.1.1 100%% no\x00"}, refusal("550 5.1.1 100% no")},
		{cmdRcpt, []string{"y450-4.2.2 one\r\n450 4.2.2 two\x00"}, refusal("450-4.2.2 one\r\n450 4.2.2 two")},
		{cmdRcpt, []string{"y250 fine\x00"}, refusal("451 4.3.5 Server configuration problem - try again later")},
		{cmdRcpt, []string{"y550 5.7.1 x\r\n250 forged\x00"}, refusal("451 4.3.5 Server configuration problem - try again later")},
		{cmdRcpt, []string{"y550 4.7.1 mixed\x00"}, refusal("451 4.3.5 Server configuration problem - try again later")},
		{cmdData, []string{"d"}, Reply{Verdict: Discard}},
		{cmdConnect, []string{"d"}, Reply{}},
		{cmdHelo, []string{"4"}, Reply{Verdict: Shutdown}},
		{cmdConnect, []string{"a"}, Reply{}},
		{cmdEnd, []string{"p", "p", "qbad\x00", "c"}, Reply{Verdict: Hold}},
		{cmdEnd, []string{"CLOSE"}, refusal("451 4.7.1 Service unavailable - try again later")},
		{cmdMail, []string{"z"}, refusal("451 4.7.1 Service unavailable - try again later")},
		{cmdMail, []string{"cxx"}, refusal("451 4.7.1 Service unavailable - try again later")},
		{cmdMail, []string{"hName\x00value\x00"}, refusal("451 4.7.1 Service unavailable - try again later")},
		{cmdHeader, []string{"s"}, Reply{}},
		{cmdEOH, []string{"r"}, refusal("550 5.7.1 Command rejected")},
		{cmdBody, []string{"a"}, Reply{}},
	} {
		f := miltertest.Start(t, &miltertest.Fake{Answer: func(cmd byte, _ string) []string {
			if cmd == c.at {
				return c.answer
			}
			return nil
		}})
		x, _ := open(t, macros(), "", f)
		var got Reply
		for _, ask := range []func() Reply{func() Reply { return x.Connect("c", client, 1) }, func() Reply { return x.Helo("h") },
			func() Reply { return x.Mail("<>") }, func() Reply { return x.Rcpt(false, "<a>") }, func() Reply { return x.Data() },
			func() Reply { return x.Message(text(sample), "", &noted{}) }} {
			if got = ask(); got != (Reply{}) {
				break
			}
		}
		if got != c.want {
			t.Errorf("%c %q: %+v, want %+v", c.at, c.answer, got, c.want)
		}
	}
}

// What is said at CONNECT holds for the connection.
func TestRefusedClient(t *testing.T) {
	f := miltertest.Start(t, &miltertest.Fake{Answer: func(cmd byte, _ string) []string {
		if cmd == cmdConnect {
			return []string{"r"}
		}
		return nil
	}})
	x, _ := open(t, macros(), "", f)
	for i, r := range []Reply{x.Connect("c", client, 1), x.Helo("h"), x.Mail("<>"), x.Other()} {
		if r != refusal("550 5.7.1 Command rejected") {
			t.Errorf("%d: %+v", i, r)
		}
	}
}

// A milter that is not there, or goes, or sleeps: milter_default_action.
func TestDefaultAction(t *testing.T) {
	for action, want := range map[string]Reply{"accept": {}, "reject": refusal("550 5.5.0 Service unavailable"),
		"tempfail": refusal("451 4.7.1 Service unavailable - try again later"), "quarantine": {Verdict: Hold}, "shutdown": {Verdict: Shutdown}} {
		set, err := New(macros(), "{ inet:127.0.0.1:1, { default_action = "+action+" }, connect_timeout=1s }")
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		x := set.Open(nil, maillog.To(&log, maillog.Options{}).Program("smtpd"))
		if r := x.Connect("c", client, 1); r != want {
			t.Errorf("%s: %+v", action, r)
		}
		if !strings.Contains(log.String(), "warning: connect to Milter service inet:127.0.0.1:1: Connection refused") {
			t.Errorf("log %s", &log)
		}
		x.Close()
	}
	sleepy := miltertest.Start(t, &miltertest.Fake{Answer: func(cmd byte, _ string) []string {
		if cmd == cmdMail {
			return []string{}
		}
		return nil
	}})
	var log *bytes.Buffer
	for try := 1; ; try++ { // a busy machine may be late once, not always
		var x *Session
		x, log = open(t, macros(), ", { command_timeout = 1s }", sleepy)
		x.Connect("c", client, 1)
		begun := time.Now()
		r := x.Mail("<>")
		took := time.Since(begun)
		if r.Text[:3] != "451" || took < 900*time.Millisecond {
			t.Errorf("%+v after %v", r, took)
		}
		if took <= 1900*time.Millisecond {
			break
		}
		if try == 5 {
			t.Fatalf("%d times more than 1.9 s, at last %v", try, took)
		}
	}
	if !strings.Contains(log.String(), "can't read SMFIC_MAIL reply packet header: Connection timed out") {
		t.Errorf("log %s", log)
	}
}

// All modifications reach the editor, in their order.
func TestEdits(t *testing.T) {
	f := miltertest.Start(t, &miltertest.Fake{Answer: func(cmd byte, _ string) []string {
		if cmd != cmdEnd {
			return nil
		}
		return []string{"hX-A\x00one\x00", "i\x00\x00\x00\x00X-B\x00two\x00", "m\x00\x00\x00\x02To\x00new\x00", "m\x00\x00\x00\x00Cc\x00\x00",
			"e<new@s>\x00RET=FULL\x00", "+<add@r>\x00", "2<par@r>\x00NOTIFY=NEVER\x00", "-<del@r>\x00",
			"bfirst\r", "b\nsec\rond", "p", "a"}
	}})
	x, log := open(t, macros(), "", f)
	x.Connect("c", client, 1)
	x.Mail("<>")
	ed := &noted{}
	if r := x.Message(text(sample), "", ed); r != (Reply{}) {
		t.Errorf("%+v %s", r, log)
	}
	want := "add X-A: one\ninsert 1 X-B: two\nchange 2 To: new\ndelete 1 Cc\nfrom <new@s> RET=FULL\nrcpt+ <add@r> \nrcpt+ <par@r> NOTIFY=NEVER\nrcpt- <del@r>\n" +
		"body\nwrite \"first\"\nwrite \"\\nsec ond\"\nwrite \"\\n\"\nend\n"
	if ed.String() != want {
		t.Errorf("got\n%s\nwant\n%s", ed, want)
	}
	// After a failed change the rest is read and passed over.
	x.Abort()
	x.Mail("<>")
	bad := &noted{fail: refusal("451 4.3.0 queue file write error")}
	if r := x.Message(text(sample), "", bad); r != bad.fail || strings.Count(bad.String(), "\n") != 1 {
		t.Errorf("%+v %s", r, bad)
	}
}

// A long body comes in pieces of the protocol's size, and whole.
func TestChunks(t *testing.T) {
	var got strings.Builder
	f := miltertest.Start(t, &miltertest.Fake{})
	f.Answer = func(cmd byte, data string) []string {
		if cmd == cmdBody {
			if len(data) > chunkSize {
				t.Errorf("piece of %d octets", len(data))
			}
			got.WriteString(data)
		}
		return nil
	}
	x, _ := open(t, macros(), "", f)
	x.Connect("c", client, 1)
	x.Mail("<>")
	body := strings.Repeat("x", 65534) + "\n" + strings.Repeat("y", 65535) + "\n" + strings.Repeat(strings.Repeat("z", 76)+"\n", 3000)
	x.Message(text("Subject: s\n\n"+body), "", &noted{})
	if got.String() != strings.ReplaceAll(body, "\n", "\r\n") {
		t.Errorf("%d octets, want %d", got.Len(), len(body))
	}
}

func TestParse(t *testing.T) {
	for list, bad := range map[string]string{
		"": "", "DISABLE": "", "inet:localhost:1, unix:/x": "", "inet:8891": "", "{ unix:x default_action=accept { connect_timeout = 3m } }": "",
		"localhost": "needs transport:endpoint", "tcp:x:1": "invalid transport name", "{ inet:a:1": "missing '}'",
		"{ inet:a:1, foo=bar }": "unknown attribute name", "{ inet:a:1, default_action=maybe }": "unrecognized default action",
		"{ inet:a:1, protocol=9 }": "bad protocol", "{ inet:a:1, connect_timeout=x }": "bad time value", "{ }": "empty milter definition",
	} {
		_, err := New(Options{QueueDirectory: "/q"}, list)
		if bad == "" && err != nil || bad != "" && (err == nil || !strings.Contains(err.Error(), bad)) {
			t.Errorf("%q: %v, want %q", list, err, bad)
		}
	}
}

// FuzzAnswer: nothing that a milter says makes us panic or wait.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("hX\x00y\x00"), byte('E'))
	f.Add([]byte("i\x00\x00\x00\x01X\x00"), byte('E'))
	f.Add([]byte("y550-x\r\n"), byte('R'))
	f.Add([]byte("b"), byte('E'))
	f.Fuzz(func(t *testing.T, packet []byte, at byte) {
		if len(packet) == 0 {
			return
		}
		m := miltertest.Start(t, &miltertest.Fake{Answer: func(cmd byte, _ string) []string {
			if cmd == at {
				return []string{string(packet), "c"}
			}
			return nil
		}})
		o := macros()
		o.CommandTimeout, o.ContentTimeout = time.Second, time.Second
		x, _ := open(t, o, "", m)
		x.Connect("c", client, 1)
		x.Helo("h")
		x.Mail("<>")
		x.Rcpt(false, "<a>")
		if r := x.Message(text(sample), "", &noted{}); r.Verdict == Refuse && !goodReply(strings.Split(r.Text, "\r\n")[0], r.Text) {
			t.Errorf("reply %q", r.Text)
		}
	})
}
