package deliver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
)

func TestPlace(t *testing.T) {
	a := Account{User: "alice", Home: "/home/alice"}
	for want, c := range map[string]struct {
		o Options
		a Account
	}{
		"/var/mail/alice":      {Options{}, a},
		"/spool/alice":         {Options{Spool: "/spool"}, a},
		"/spool/alice/":        {Options{Spool: "/spool/"}, a},
		"/home/alice/Maildir/": {Options{Spool: "/spool", Home: "Maildir/"}, a},
		"/home/alice/Mailbox":  {Options{Home: "Mailbox"}, a},
		"/v/example.org/a":     {Options{Home: "Maildir/"}, Account{Inbox: "/v/example.org/a"}},
	} {
		if got := New(c.o, c.a).Path(); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
}

func TestMaildir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Maildir") + "/"
	g := New(Options{Host: "a/b:c"}, Account{User: "u", Inbox: dir})
	for _, st := range g.Deliver([]Message{
		{Sender: "a@b", ReturnPath: true, OrigTo: "o@x", To: "d@x", Body: strings.NewReader("Status: RO\nFrom: x\n\nFrom me\n")},
		{Body: strings.NewReader("two\n")}}, nil) {
		if st.Outcome != mail.Sent || st.Text != "delivered to maildir" {
			t.Errorf("%+v", st)
		}
	}
	list, _ := os.ReadDir(dir + "new")
	left, _ := os.ReadDir(dir + "tmp")
	if len(list) != 2 || len(left) != 0 {
		t.Fatalf("new %v tmp %v", list, left)
	}
	form := regexp.MustCompile(`^\d+\.V[0-9a-f]+I[0-9a-f]+M\d+\.a\\057b\\072c,S=(\d+),W=(\d+)$`)
	for _, e := range list {
		m := form.FindStringSubmatch(e.Name())
		b, _ := os.ReadFile(dir + "new/" + e.Name())
		if m == nil || m[1] != fmt.Sprint(len(b)) || m[2] != fmt.Sprint(len(b)+bytes.Count(b, []byte("\n"))) {
			t.Errorf("%s of %d octets", e.Name(), len(b))
		}
		if len(b) > 4 && string(b) != "Return-Path: <a@b>\nX-Original-To: o@x\nDelivered-To: d@x\nStatus: RO\nFrom: x\n\nFrom me\n" {
			t.Errorf("%s", b)
		}
	}
}

// failing ends early with an error.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cannot be read") }

// TestMaildirBatch: of many messages that come at once, one that fails leaves
// nothing and hurts no other one.
func TestMaildirBatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Maildir") + "/"
	msgs := make([]Message, 30)
	for i := range msgs {
		msgs[i].Body = strings.NewReader(strings.Repeat(fmt.Sprintf("message %d\n", i), 1+i*200))
	}
	msgs[7].Body = failing{}
	for i, st := range New(Options{}, Account{Inbox: dir}).Deliver(msgs, nil) {
		if (st.Outcome == mail.Sent) != (i != 7) {
			t.Errorf("%d: %+v", i, st)
		}
	}
	list, _ := os.ReadDir(dir + "new")
	left, _ := os.ReadDir(dir + "tmp")
	if len(list) != 29 || len(left) != 0 {
		t.Fatalf("new %d tmp %v", len(list), left)
	}
	seen := map[string]bool{}
	for _, e := range list {
		b, _ := os.ReadFile(dir + "new/" + e.Name())
		line, _, _ := strings.Cut(string(b), "\n")
		seen[line] = true
	}
	if len(seen) != 29 {
		t.Errorf("%v", seen)
	}
}

func TestMaildirInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	os.WriteFile(path, nil, 0o600)
	st := New(Options{}, Account{Inbox: path + "/"}).Deliver([]Message{{Body: strings.NewReader("x")}}, nil)[0]
	if st.Outcome != mail.Deferred {
		t.Errorf("%+v", st)
	}
}

// who is a table of recipients.
type who map[string]Account

func (w who) Recipient(a mail.Address) (Account, *mail.Status) {
	acc, ok := w[a.Local()]
	if !ok {
		return acc, mail.Bounce("5.1.1", "User unknown")
	}
	return acc, nil
}

// TestLMTP: one message for two mailboxes, one that cannot be written.
func TestLMTP(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "folder"), 0o700)
	w := who{"a": {User: "a", Inbox: dir + "/a"}, "b": {User: "b", Inbox: dir + "/b/"}, "c": {User: "c", Inbox: dir + "/folder"}}
	var told []Result
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- lmtpd.Serve(b, lmtpd.Options{}, NewLMTP(Options{}, w, func(r Result) { told = append(told, r) }))
	}()
	go fmt.Fprintf(a, "LHLO x\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nRCPT TO:<d>\r\nDATA\r\nMessage-ID: <m@x>\r\n\r\nhi\r\n.\r\nQUIT\r\n")
	var out strings.Builder
	for sc := bufio.NewScanner(a); sc.Scan(); {
		if len(sc.Text()) > 3 && sc.Text()[3] == ' ' {
			out.WriteString(sc.Text()[:3] + " ")
		}
	}
	a.Close()
	if err := <-done; err != nil || out.String() != "220 250 250 250 250 250 550 354 250 250 451 221 " {
		t.Fatalf("%v %s", err, out.String())
	}
	mbox, _ := os.ReadFile(dir + "/a")
	if !strings.HasPrefix(string(mbox), "From s@x  ") || !strings.Contains(string(mbox), "Delivered-To: a\nMessage-ID: <m@x>\n\nhi\n\n") {
		t.Errorf("%s", mbox)
	}
	if len(told) != 3 || told[0].MessageID != "<m@x>" || told[2].Status.Outcome != mail.Deferred {
		t.Errorf("%+v", told)
	}
}

func TestInput(t *testing.T) {
	for in, want := range map[string]string{
		"From a@b  Mon Nov 23 14:03:58 2026\nS: x\n": "a@b true S: x\n",
		"From a@b\nS: x\n":                           "a@b true S: x\n",
		"From: a@b\nS: x\n":                          " false From: a@b\nS: x\n",
		"From no end of line":                        " false From no end of line",
		"":                                           " false ",
	} {
		r := bufio.NewReader(strings.NewReader(in))
		sender, _, found := Input(r)
		var rest strings.Builder
		r.WriteTo(&rest)
		if got := fmt.Sprint(sender, " ", found, " ", rest.String()); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestUnwanted: what its sender will send again stays out of either mailbox.
func TestUnwanted(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir + "/mbox", dir + "/Maildir/"} {
		msgs := []Message{{Body: strings.NewReader("one\n")}, {Body: strings.NewReader("two\n")}}
		for _, st := range New(Options{}, Account{Inbox: path}).Deliver(msgs, func() bool { return false }) {
			if st.Outcome != mail.Deferred {
				t.Errorf("%s: %+v", path, st)
			}
		}
	}
	if b, err := os.ReadFile(dir + "/mbox"); err != nil || len(b) > 0 {
		t.Errorf("mbox has %q, %v", b, err)
	}
	for _, sub := range []string{"new", "tmp", "cur"} {
		if list, err := os.ReadDir(dir + "/Maildir/" + sub); err != nil || len(list) > 0 {
			t.Errorf("%s has %v, %v", sub, list, err)
		}
	}
}
