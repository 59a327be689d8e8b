package pipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
	"packetboat/internal/sys/maillog"
)

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"user=u argv=/bin/x a b":                        "",
		"-o a=b -v user=u:g argv=/bin/x":                "",
		"flags=BDFORX.>hqu user=u argv=/bin/x":          "",
		"argv=/bin/x":                                   "missing user= command-line attribute",
		"user=u":                                        "missing argv= command-line attribute",
		"user=u argv=":                                  "missing argv= command-line attribute",
		"flags=Z user=u argv=/x":                        "unknown flag: Z (ignored)",
		"user=u frob=1 argv=/x":                         "unknown attribute name: frob=1",
		"user=u size=-1 argv=/x":                        "bad size= value: -1",
		"user=u size=many argv=/x":                      "bad size= value: many",
		"user=u directory=/d chroot=/c size=9 argv=/x ": "",
	} {
		_, err := Parse(strings.Fields(args))
		if got := text(err); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
	a, err := Parse([]string{"user=u:g", `eol=\r\n\011\\`, "null_sender=", "argv=/bin/x", "user=other"})
	if err != nil || a.User != "u" || a.Group != "g" || a.EOL != "\r\n\t\\" || a.NullSender != "" || !slices.Equal(a.Argv, []string{"/bin/x", "user=other"}) {
		t.Errorf("%+v %v", a, err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestExpand: what strangers chose stays in one argument and is never looked at again.
func TestExpand(t *testing.T) {
	v := &Values{Sender: "a b;$(id)`x`@X.test", Nexthop: "Hop.Test", Size: 77, QueueID: "ABC", Delims: "+",
		Client: Client{Address: "192.0.2.1", Helo: "$recipient"},
		Rcpts:  []Rcpt{{"Bob+Ext@Y.test", "info@y.test"}, {"-oQ@z.test", "$sender"}, {"@z.test", "x"}}}
	for _, c := range []struct {
		flags Flags
		arg   string
		want  []string
	}{
		{Flags{}, "$sender", []string{"a b;$(id)`x`@X.test"}},
		{Flags{Quote: true}, "-f${sender}", []string{"-f\"a b;$(id)`x`\"@X.test"}},
		{Flags{}, "$recipient", []string{"Bob+Ext@Y.test", "-oQ@z.test", "@z.test"}},
		{Flags{FoldHost: true, FoldUser: true}, "$(recipient)/$nexthop", []string{"bob+ext@y.test/hop.test", "-oq@z.test/hop.test", "@z.test/hop.test"}},
		{Flags{FoldUser: true}, "${recipient}", []string{"bob+ext@Y.test", "-oq@z.test", "@z.test"}},
		{Flags{}, "u=${user}", []string{"u=Bob", "u=-oQ"}}, // no user, no argument
		{Flags{}, "x${extension}", []string{"xExt", "x", "x"}},
		{Flags{}, "${mailbox}@${domain}", []string{"Bob+Ext@Y.test", "-oQ@z.test", "@z.test"}},
		{Flags{}, "${original_recipient}", []string{"info@y.test", "$sender", "x"}},
		{Flags{}, "$$sender $size $queue_id", []string{"$sender 77 ABC"}},
		{Flags{}, "$client_helo $client_address x${sasl_username}x", []string{"$recipient 192.0.2.1 xx"}},
		{Flags{}, "plain", []string{"plain"}},
		{Flags{}, "$", []string{""}},
	} {
		a := &Attrs{Flags: c.flags, Argv: []string{c.arg}, NullSender: "MAILER-DAEMON"}
		if got, _ := a.Expand(v); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.arg, got, c.want)
		}
	}
	a := &Attrs{Argv: []string{"$sender"}, NullSender: "nobody"}
	if got, _ := a.Expand(&Values{}); got[0] != "nobody" {
		t.Errorf("%q", got)
	}
	for _, arg := range []string{"${nothing}", "${sender?x}", "$recipients"} {
		a := &Attrs{Argv: []string{arg}}
		if _, unknown := a.Expand(v); unknown == "" {
			t.Errorf("%s has a meaning", arg)
		}
	}
}

// TestOneArgument: no address makes another number of arguments.
func TestOneArgument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := mail.Address(rapid.String().Draw(t, "addr"))
		a := &Attrs{Argv: []string{"x", "$sender", "--", "$recipient"}}
		got, _ := a.Expand(&Values{Sender: addr, Rcpts: []Rcpt{{addr, addr}}})
		if len(got) != 4 || addr != "" && got[1] != string(addr) {
			t.Fatalf("%q", got)
		}
	})
}

// fakeParent runs nothing: it takes the input and answers.
type fakeParent struct {
	input  bytes.Buffer
	values *Values
	exit   int
	output string
	err    error
	reads  int64 // octets of the input that are read; 0 = all
}

func (f *fakeParent) Pipe(_ context.Context, _ string, v *Values, _ time.Duration, feed func(io.Writer) error) (int, string, error) {
	f.values = v
	var w io.Writer = &f.input
	if f.reads > 0 {
		w = &stopping{f.reads}
	}
	if err := feed(w); err != nil {
		return 0, "", err
	}
	return f.exit, f.output, f.err
}

// stopping fails like the pipe of a command that has gone.
type stopping struct{ left int64 }

func (s *stopping) Write(p []byte) (int, error) {
	if s.left -= int64(len(p)); s.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

const body = "Subject: x\n\nFrom me\n.\n..two\nFrom\nend\n"

// deliver sends body through a service with these attributes.
func deliver(t *testing.T, f *fakeParent, attrs, msg string, rcpts ...mail.Rcpt) []mail.Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m")
	os.WriteFile(path, []byte(msg), 0o600)
	p, err := New(Options{Delims: "+"}, "svc", append(strings.Fields(attrs), "user=u", "argv=/bin/x"), f, maillog.To(io.Discard, maillog.Options{}).Program("pipe"))
	if err != nil {
		t.Fatal(err)
	}
	if len(rcpts) == 0 {
		rcpts = []mail.Rcpt{{Addr: "Bob@Y.test", Orig: "info@y.test"}}
	}
	out := make([]mail.Result, len(rcpts))
	p.Deliver(context.Background(), &mail.Job{ID: "A", Env: &mail.Envelope{Sender: "s@x.test"}, Size: int64(len(msg)), Transport: "svc",
		Rcpts: rcpts, Report: func(i int, r mail.Result) { out[i] = r },
		Open: func() (mail.Content, error) {
			file, err := os.Open(path)
			return mail.Content{File: file, Len: int64(len(msg))}, err
		}})
	return out
}

func TestFlags(t *testing.T) {
	for attrs, want := range map[string]string{
		"":                body,
		"flags=R":         "Return-Path: <s@x.test>\n" + body,
		"flags=O":         "X-Original-To: info@y.test\n" + body,
		"flags=Dhu":       "Delivered-To: Bob@Y.test\n" + body,
		"flags=B":         body + "\n",
		"flags=.":         "Subject: x\n\nFrom me\n..\n...two\nFrom\nend\n",
		"flags=>":         "Subject: x\n\n>From me\n.\n..two\nFrom\nend\n",
		`eol=\r\n`:        strings.ReplaceAll(body, "\n", "\r\n"),
		`flags=B eol=|\n`: strings.ReplaceAll(body, "\n", "|\n") + "|\n",
	} {
		f := &fakeParent{}
		if r := deliver(t, f, attrs, body); r[0].Status.Text != "delivered via svc service" || r[0].Relay != "svc" || r[0].Program != "pipe" {
			t.Errorf("%s: %+v", attrs, r[0].Status)
		}
		if f.input.String() != want {
			t.Errorf("%s: %q\nwant %q", attrs, f.input.String(), want)
		}
	}
	f := &fakeParent{}
	deliver(t, f, "flags=FR", body)
	if first, rest, _ := strings.Cut(f.input.String(), "\n"); !strings.HasPrefix(first, "From s@x.test  ") || rest != "Return-Path: <s@x.test>\n"+body {
		t.Errorf("%q", f.input.String())
	}
}

// TestLongLine: a line longer than the buffer is changed only where it begins.
func TestLongLine(t *testing.T) {
	long := "." + strings.Repeat(".From ", copyBuffer) + "\n"
	f := &fakeParent{}
	deliver(t, f, "flags=.>", long)
	if f.input.String() != "."+long {
		t.Error("a long line came out otherwise")
	}
}

func TestResults(t *testing.T) {
	for _, c := range []struct {
		f     fakeParent
		attrs string
		want  string
	}{
		{fakeParent{output: "ok\n"}, "", "2.0.0 delivered via svc service (ok)"},
		{fakeParent{exit: 75}, "", "4.3.0 temporary failure"},
		{fakeParent{exit: 67, output: "who?\n"}, "", "5.1.1 user unknown. Command output: who? "},
		{fakeParent{exit: 3}, "", `5.3.0 Command died with status 3: "/bin/x"`},
		{fakeParent{exit: -11}, "", `4.3.0 Command died with signal 11: "/bin/x"`},
		{fakeParent{exit: 255, output: "4.7.1 greylisted"}, "", "4.7.1 greylisted"},
		{fakeParent{err: errors.New("no parent")}, "", "4.3.0 no parent"},
		{fakeParent{}, "size=5", "5.2.3 message too large"},
		{fakeParent{reads: 3}, "", "2.0.0 delivered via svc service"}, // it did not want more
	} {
		r := deliver(t, &c.f, c.attrs, body)[0].Status
		if got := r.Code + " " + r.Text; got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	if r := deliver(t, &fakeParent{}, "flags=X", body)[0].Status; r.Action != "" {
		t.Errorf("%+v", r)
	}
	if r := deliver(t, &fakeParent{}, "", body)[0].Status; r.Action != mail.Relayed {
		t.Errorf("%+v", r)
	}
}

func TestLoopAndMany(t *testing.T) {
	if r := deliver(t, &fakeParent{}, "flags=D", "Delivered-To: BOB@y.TEST\n"+body)[0].Status; r.Code != "5.4.6" {
		t.Errorf("%+v", r)
	}
	two := []mail.Rcpt{{Addr: "a@y.test"}, {Addr: "b@y.test"}}
	for _, attrs := range []string{"flags=D", "flags=O"} {
		for _, r := range deliver(t, &fakeParent{}, attrs, body, two...) {
			if r.Status.Code != "4.3.5" {
				t.Errorf("%s: %+v", attrs, r.Status)
			}
		}
	}
	var many []mail.Rcpt
	for range 1000 {
		many = append(many, mail.Rcpt{Addr: mail.Address(strings.Repeat("x", 60) + "@y.test")})
	}
	for i, r := range deliver(t, &fakeParent{}, "", body, many...) {
		if r.Status == nil || r.Status.Outcome != mail.Sent {
			t.Fatalf("%d: %+v", i, r.Status)
		}
	}
}

// TestTruncated: a message that cannot be read to its end is tried again, whatever
// the command said of the half that it saw.
func TestTruncated(t *testing.T) {
	a := &Attrs{EOL: "\n"}
	file, err := os.Create(filepath.Join(t.TempDir(), "m"))
	if err != nil {
		t.Fatal(err)
	}
	file.Close() // reading fails
	for _, flags := range []Flags{{}, {Dot: true}} {
		a.Flags = flags
		err := a.write(io.Discard, &Values{}, "", mail.Content{File: file, Len: 10}, time.Now())
		var unread *unreadError
		if err == nil || errors.As(err, &unread) {
			t.Errorf("%v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("flags=DRhu user=u:g argv=/bin/x ${recipient}")
	f.Add(`eol=\r\n size=1 user=a argv=$x ${`)
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(strings.Fields(s))
		if err != nil {
			return
		}
		a.Expand(&Values{Sender: "a@b", Rcpts: []Rcpt{{"c@d", "e@f"}}})
		if a.EOL == "" || len(a.Argv) == 0 || a.User == "" {
			t.Errorf("%q: %+v", s, a)
		}
	})
}
