package intake

import (
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/receive/milter"
	"packetboat/internal/receive/milter/miltertest"
)

// localMail brings a message as pickup does and returns what is queued.
func (u *ours) localMail(t *testing.T, text string, actions mail.Actions) (result, error) {
	t.Helper()
	u.log.Reset()
	m, err := u.in.OpenFrom(u.src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Abort()
	env := &mail.Envelope{Sender: "alice", UID: 1500, Rcpts: []mail.Rcpt{{Addr: "bob"}}, Actions: actions}
	if err := m.Start(env); err != nil {
		return result{}, err
	}
	io.WriteString(m, text)
	err = m.Commit()
	var r result
	u.read(t, &r, m.ID())
	r.log = u.lines(m.ID())
	return r, err
}

func withMilter(t *testing.T, o Options, answer func(cmd byte, data string) []string) (*ours, *miltertest.Fake) {
	t.Helper()
	f := miltertest.Start(t, &miltertest.Fake{Answer: answer})
	set, err := milter.New(milterOptions(), f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	u := newOurs(t, o)
	u.src = &Source{Milters: set}
	return u, f
}

// Local mail: an SMTP session is pretended, and the file is written anew.
func TestLocalMilters(t *testing.T) {
	u, f := withMilter(t, Options{}, func(cmd byte, _ string) []string {
		if cmd == 'E' {
			return []string{"i\x00\x00\x00\x00DKIM-Signature\x00v=1;\n\tb=x\x00", "bnew\r\n", "c"}
		}
		return nil
	})
	body := strings.Repeat("a line of a long body\n", 20000)
	r, err := u.localMail(t, "Subject: s\n\n"+body, mail.Actions{})
	if err != nil || !strings.HasPrefix(r.content, "DKIM-Signature: v=1;\n\tb=x\nReceived: by mail.example.org") || !strings.HasSuffix(r.content, "\n\nnew") {
		t.Errorf("%v %.300s", err, r.content)
	}
	told := f.Told()
	for _, want := range []string{"C localhost|4", "H localhost|", "M alice@mail.example.org|", "R bob@mail.example.org|", "\nT ", "L Subject|s|", "\nN ", "\nB a line", "\nE "} {
		if !strings.Contains(told, want) {
			t.Errorf("the milter never heard %q", want)
		}
	}
	if strings.Contains(told, "L Received") {
		t.Error("the milter saw our Received:")
	}
	if names, _ := os.ReadDir(u.q.Dir() + "/incoming"); len(names) != 1 {
		t.Errorf("%d files in incoming", len(names))
	}
}

// What a milter does not change stays octet by octet, however large.
func TestMilterLargeMail(t *testing.T) {
	u, _ := withMilter(t, Options{}, func(cmd byte, _ string) []string {
		if cmd == 'E' {
			return []string{"i\x00\x00\x00\x01X-Scanned\x00yes\x00", "c"}
		}
		return nil
	})
	body := strings.Repeat(strings.Repeat("x", 76)+"\n", 5000)
	r, err := u.localMail(t, "Subject: s\nFrom: a@b\n\n"+body, mail.Actions{})
	_, rest, ok := strings.Cut(r.content, "\n\n")
	if err != nil || !ok || rest+"\n" != body || !strings.Contains(r.content, "\nX-Scanned: yes\nSubject: s\n") {
		t.Errorf("%v, %d octets: %.300s", err, len(r.content), r.content)
	}
}

func TestLocalMilterVerdicts(t *testing.T) {
	for _, c := range []struct {
		at           byte
		answer       string
		folder, text string
		code, filter string
	}{
		{'R', "r", "", "milter configuration error: can't reject recipient", "4.3.5", ""},
		{'M', "r", "", "milter-reject: MAIL from localhost[127.0.0.1]: 5.7.1 Command rejected;", "", "error:5.7.1 Command rejected"},
		{'E', "t", "", "milter-reject: END-OF-MESSAGE from localhost[127.0.0.1]: 4.7.1 Service unavailable", "4.7.1", ""},
		{'E', "d", "gone", "milter-discard: END-OF-MESSAGE", "", ""},
		{'E', "qwhy\x00", "hold", "milter-hold: END-OF-MESSAGE", "", ""},
	} {
		u, _ := withMilter(t, Options{}, func(cmd byte, _ string) []string {
			if cmd != c.at {
				return nil
			}
			return []string{c.answer, "c"}
		})
		r, err := u.localMail(t, "Subject: s\n\nx\n", mail.Actions{})
		log := strings.Join(r.log, "\n")
		code := ""
		if err != nil {
			code = mail.AsStatus(err).Code
		}
		if code != c.code || r.filter != c.filter || !strings.Contains(log, c.text) || c.folder == "hold" && r.folder != "hold" || c.folder == "gone" && r.content != "" {
			t.Errorf("%c %q: %v %+v", c.at, c.answer, err, r)
		}
	}
}

// milter_header_checks judge what milters write.
func TestMilterHeaderChecks(t *testing.T) {
	table := writeTable(t, t.TempDir(), "mhc", "/^X-Spam: yes/ REJECT spam\n/^X-Hold/ HOLD\n/^X-No/ IGNORE\n/^X-Old/ REPLACE X-New: y\n/^X-F/ FILTER smtp:x\n/^X-B/ BCC b@c.test\n/^X-D/ DISCARD\n/^X-R/ REDIRECT r@s.test\n")
	for add, want := range map[string]string{
		"X-Spam\x00yes\x00":  "milter-header-reject: header X-Spam: yes from localhost[127.0.0.1]; from=<alice@mail.example.org> to=<bob@mail.example.org>: 5.7.1 spam",
		"X-Hold\x00\x20\x00": "milter-header-hold", "X-F\x00y\x00": "milter-header-filter", "X-B\x00y\x00": "milter-header-bcc",
		"X-D\x00y\x00": "milter-header-discard", "X-R\x00y\x00": "milter-header-redirect", "X-No\x00y\x00": "", "X-Old\x00y\x00": "milter-header-replace"} {
		u, _ := withMilter(t, Options{Content: ContentOptions{MilterChecks: []string{table}}}, func(cmd byte, _ string) []string {
			if cmd == 'E' {
				return []string{"h" + add, "c"}
			}
			return nil
		})
		r, err := u.localMail(t, "Subject: s\n\nx\n", mail.Actions{})
		if log := strings.Join(r.log, "\n"); err != nil || !strings.Contains(log, want) {
			t.Errorf("%q: %v\n%s", add, err, log)
		}
		name, _, _ := strings.Cut(add, "\x00")
		switch name {
		case "X-Hold":
			if r.folder != "hold" {
				t.Errorf("%q: %s", add, r)
			}
		case "X-Spam":
			if r.filter != "error:5.7.1 spam" {
				t.Errorf("%q: %s", add, r)
			}
		case "X-No":
			if strings.Contains(r.content, "X-No") {
				t.Errorf("%q: %s", add, r)
			}
		case "X-Old":
			if !strings.Contains(r.content, "X-New: y") {
				t.Errorf("%q: %s", add, r)
			}
		case "X-B", "X-R":
			if !strings.Contains(strings.Join(r.rcpts, " "), "@") || name == "X-R" && strings.Join(r.rcpts, " ") != "r@s.test" {
				t.Errorf("%q: %s", add, r)
			}
		}
	}
}

// What access tables ask for is carried out.
func TestActions(t *testing.T) {
	u := newOurs(t, Options{})
	u.src = &Source{Filter: "amavis:[127.0.0.1]:10024"}
	r, err := u.localMail(t, "Subject: s\n\nx\n", mail.Actions{Prepend: []string{"X-One: 1", "X-Two: 2"}, BCC: []mail.Address{"c@d.test"}})
	if err != nil || !strings.HasPrefix(r.content, "X-One: 1\nX-Two: 2\nReceived: by") || strings.Join(r.rcpts, " ") != "bob@mail.example.org c@d.test" || r.filter != "amavis:[127.0.0.1]:10024" {
		t.Errorf("%v %s", err, r)
	}
	if r, err = u.localMail(t, "x\n", mail.Actions{Hold: true, Filter: "smtp:y", Redirect: "else@x.test"}); err != nil || r.folder != "hold" || r.filter != "smtp:y" || strings.Join(r.rcpts, " ") != "else@x.test" {
		t.Errorf("%v %s", err, r)
	}
	if r, err = u.localMail(t, "x\n", mail.Actions{Discard: true}); err != nil || r.content != "" {
		t.Errorf("%v %s", err, r)
	}
}

// receive_override_options switch off what they name, and nothing else.
func TestOverride(t *testing.T) {
	table := writeTable(t, t.TempDir(), "hc", "/^Subject/ REJECT\n")
	f := miltertest.Start(t, &miltertest.Fake{Answer: func(cmd byte, _ string) []string { return []string{"r"} }})
	set, err := milter.New(milterOptions(), f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	src, unknown := NewSource(SourceOptions{Override: []string{"no_header_body_checks", "no_address_mappings", "no_milters", "no_unknown_recipient_checks"}})
	if unknown != "" {
		t.Error(unknown)
	}
	if _, unknown := NewSource(SourceOptions{Override: []string{"no_such"}}); unknown != "no_such" {
		t.Error("an unknown word is taken")
	}
	src.Milters = set
	u := newOurs(t, Options{Content: ContentOptions{HeaderChecks: []string{table}}, Maps: MapOptions{AlwaysBCC: "x@y.test", Canonical: []string{"static:z@z.test"}}})
	u.src = src
	r, err := u.localMail(t, "Subject: s\n\nx\n", mail.Actions{})
	if err != nil || strings.Join(r.rcpts, " ") != "bob@mail.example.org" || r.filter != "" || f.Told() != "" {
		t.Errorf("%v %s %q", err, r, f.Told())
	}
}

// The small things: stray CR, the declared body, the form of a missing From:.
func TestDetails(t *testing.T) {
	u := newOurs(t, Options{Content: ContentOptions{StrayCR: true}, FromFormat: "obsolete"})
	r, err := u.localMail(t, "Subject: a\rb\n\nx\ry\n", mail.Actions{})
	if err != nil || strings.Contains(r.content, "\r") || !strings.Contains(r.content, "x y") {
		t.Errorf("%v %q", err, r.content)
	}
	m, err := u.in.Open()
	if err != nil {
		t.Fatal(err)
	}
	env := &mail.Envelope{Sender: "alice", Body: mail.Body7Bit, Rcpts: []mail.Rcpt{{Addr: "bob"}},
		Peer: mail.Peer{Proto: "ESMTP", Addr: netip.MustParseAddr("127.0.0.1")}}
	m.SetFullName("Alice (x) B")
	m.Start(env)
	io.WriteString(m, "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Transfer-Encoding: 8bit\n\nx\n--a--\n")
	if err := m.Commit(); err != nil || env.Body != mail.Body8Bit {
		t.Errorf("%v body %v", err, env.Body)
	}
	c, err := u.q.OpenContent(m.ID(), queue.Incoming)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, _ := io.ReadAll(c.Reader()); !strings.Contains(string(b), "\nFrom: alice@mail.example.org (Alice  x  B)\n") {
		t.Errorf("%s", b)
	}
}
