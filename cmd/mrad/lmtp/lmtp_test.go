package lmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"packetboat/internal/auth"
	"packetboat/internal/deliver"
	"packetboat/internal/deliver/dovecot"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/store/location"
	"packetboat/internal/store/quota"
)

func TestSplit(t *testing.T) {
	for _, c := range [][4]string{{"a+b@c", "+", "a@c", "b"}, {"a-b+c@d+e", "+-", "a@d+e", "b+c"}, {"+b@c", "+", "+b@c", ""}, {"a+b@c", "", "a+b@c", ""}, {"a+b", "+", "a", "b"}} {
		if got, detail := split(c[0], c[1]); got != c[2] || detail != c[3] {
			t.Errorf("%q without %q: %q and %q, want %q and %q", c[0], c[1], got, detail, c[2], c[3])
		}
	}
}

// door is a parent whose deliver processes are goroutines: each user has a Maildir
// below dir, held to o.
type door struct {
	dir   string
	o     dovecot.Options
	proxy map[string]map[string]string
	mu    sync.Mutex
	began map[string]int
}

func (d *door) Lookup(_ context.Context, address string) (Recipient, error) {
	switch {
	case d.proxy[address] != nil:
		return Recipient{User: address, Proxy: d.proxy[address]}, nil
	case strings.HasPrefix(address, "no"):
		return Recipient{}, auth.ErrNoUser
	case strings.HasPrefix(address, "down"):
		return Recipient{}, errors.New("the database does not answer")
	}
	return Recipient{User: address}, nil
}

func (d *door) Deliver(_ context.Context, user string) (net.Conn, error) {
	l, err := location.Parse("maildir:" + d.dir + "/" + user)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.began[user]++
	d.mu.Unlock()
	near, far := net.Pipe()
	u := dovecot.Open(d.o, deliver.Account{User: user}, l)
	go func() {
		defer u.Close()
		lmtpd.Serve(far, lmtpd.Options{Raw: true}, u)
	}()
	return near, nil
}

func newDoor(t *testing.T) *door { return &door{dir: t.TempDir(), began: map[string]int{}} }

// talk says lines to the service and returns the answers' lines.
func talk(t *testing.T, o Options, d Door, lines ...string) []string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	o.Host, o.Busy = "h.test", &Users{}
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err == nil {
			Serve(c, o, d)
		}
	}()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go io.WriteString(c, strings.Join(append([]string{"LHLO cli.test"}, append(lines, "QUIT")...), "\r\n")+"\r\n")
	var out []string
	for sc := bufio.NewScanner(c); sc.Scan(); {
		if line := sc.Text(); len(line) > 3 && line[3] == ' ' {
			out = append(out, line)
		}
	}
	<-done
	return out[2 : len(out)-1] // without greeting, LHLO and QUIT
}

// TestAnswers: one answer a recipient, in Dovecot's words; a process a user serves a
// whole conversation.
func TestAnswers(t *testing.T) {
	d := newDoor(t)
	d.o.Quota = quota.Settings{"quota": "maildir:U", "quota_rule": "*:bytes=2000", "quota_grace": "0"}
	body := "DATA\r\nSubject: x\r\nMessage-ID: <m@x>\r\n\r\n" + strings.Repeat("y", 900) + "\r\n."
	got := talk(t, Options{Received: true, Delimiters: "+", Detail: true}, d,
		"MAIL FROM:<s@x>", "RCPT TO:<u>", "RCPT TO:<nobody@x>", "RCPT TO:<down@x>", "RCPT TO:<v+Box@x>", body,
		"MAIL FROM:<s@x>", "RCPT TO:<u>", body, "MAIL FROM:<s@x>", "RCPT TO:<u>", "RCPT TO:<v@x>", body)
	for i, want := range []string{"250 2.1.0", "250 2.1.5", "550 5.1.1 <nobody@x> User doesn't exist: nobody@x", "451 4.3.0 <down@x> Temporary internal error", "250 2.1.5", "354 ",
		"250 2.0.0 <u> ", "250 2.0.0 <v+Box@x> ", "250 2.1.0", "250 2.1.5", "354", "552 5.2.2 <u> Quota exceeded (mailbox for user is full)",
		"250 2.1.0", "250 2.1.5", "250 2.1.5", "354", "552 5.2.2 <u> Quota exceeded (mailbox for user is full)", "552 5.2.2 <v@x> Quota"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("answer %d of\n%s\nis not %s", i, strings.Join(got, "\n"), want)
		}
	}
	if !strings.HasSuffix(got[6], " Saved") || !strings.Contains(got[7], ":R4 Saved") {
		t.Errorf("%s, %s", got[6], got[7])
	}
	if d.began["u"] != 1 || d.began["v@x"] != 1 {
		t.Errorf("processes: %v", d.began)
	}
}

// TestCheckQuota: with lmtp_rcpt_check_quota a full mailbox refuses at RCPT.
func TestCheckQuota(t *testing.T) {
	d := newDoor(t)
	d.o.TempFail = true
	d.o.Quota = quota.Settings{"quota": "maildir:U", "quota_rule": "*:messages=1"}
	got := talk(t, Options{CheckQuota: true}, d, "MAIL FROM:<s@x>", "RCPT TO:<u>", "DATA\r\nx: y\r\n\r\n.")
	got = append(got, talk(t, Options{CheckQuota: true}, d, "MAIL FROM:<s@x>", "RCPT TO:<u>", "RCPT TO:<w>")...)
	if len(got) != 7 || !strings.HasPrefix(got[3], "250 ") || got[5] != "452 4.2.2 <u> Quota exceeded (mailbox for user is full)" || !strings.HasPrefix(got[6], "250 ") {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// far is another LMTP server: it refuses recipients that begin with "bad" and the mail
// of those that begin with "full".
type far struct{ got []string }

func (f *far) serve(t *testing.T) (host, port string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.conversation(c)
			c.Close()
		}
	}()
	host, port, _ = net.SplitHostPort(l.Addr().String())
	return host, port
}

func (f *far) conversation(c net.Conn) {
	fmt.Fprint(c, "220 far LMTP\r\n")
	var rcpts []string
	r := bufio.NewScanner(c)
	for r.Scan() {
		line := r.Text()
		f.got = append(f.got, line)
		switch {
		case strings.HasPrefix(line, "RCPT TO:<bad"):
			fmt.Fprint(c, "550 5.1.1 <bad@x> No such user\r\n")
		case strings.HasPrefix(line, "RCPT"):
			rcpts = append(rcpts, line)
			fmt.Fprint(c, "250 2.1.5 Ok\r\n")
		case line == "DATA":
			fmt.Fprint(c, "354 go\r\n")
			for r.Scan() && r.Text() != "." {
				f.got = append(f.got, r.Text())
			}
			for _, rc := range rcpts {
				if strings.Contains(rc, "<full") {
					fmt.Fprint(c, "452 4.2.2 Full\r\n")
				} else {
					fmt.Fprint(c, "250 2.0.0 Taken\r\n")
				}
			}
		default:
			fmt.Fprint(c, "250 2.0.0 Ok\r\n")
		}
	}
}

// TestProxy: recipients of another server get its answers; one that does not answer
// is a temporary failure, and our own address is a loop.
func TestProxy(t *testing.T) {
	f := &far{}
	host, port := f.serve(t)
	d := newDoor(t)
	there := func(more string) map[string]string {
		m := map[string]string{"proxy": "", "host": host, "port": port}
		if more != "" {
			m["destuser"] = more
		}
		return m
	}
	d.proxy = map[string]map[string]string{"a@x": there(""), "bad@x": there(""), "full@x": there(""), "b@x": there("c@y"),
		"gone@x": {"proxy": "", "host": "127.0.0.1", "port": "1"}}
	got := talk(t, Options{Received: true}, d, "MAIL FROM:<s@x>", "RCPT TO:<a@x>", "RCPT TO:<bad@x>", "RCPT TO:<full@x>", "RCPT TO:<b@x>", "RCPT TO:<gone@x>", "RCPT TO:<here@x>",
		"DATA\r\nSubject: x\r\n\r\n..dot\r\n.")
	answers := got[len(got)-6:]
	for i, want := range []string{"250 2.0.0 <a@x> ", "550 5.1.1 <bad@x> No such user", "452 4.2.2 <full@x> Full", "250 2.0.0 <b@x> ", "451 4.4.0 <gone@x> Remote server not answering", "250 2.0.0 <here@x> "} {
		if !strings.HasPrefix(answers[i], want) {
			t.Errorf("%s, want %s", answers[i], want)
		}
	}
	all := strings.Join(f.got, "\n")
	for _, want := range []string{"LHLO h.test", "MAIL FROM:<s@x>", "RCPT TO:<c@y>", "Subject: x\n\n..dot", "Received: from cli.test ([127.0.0.1])\n\tby h.test with LMTP\n\tid "} {
		if !strings.Contains(all, want) {
			t.Errorf("%q was not said:\n%s", want, all)
		}
	}
	b := backend{local: net.JoinHostPort(host, port)}
	if !b.loops(there("")) || b.loops(d.proxy["gone@x"]) {
		t.Error("a loop is not seen, or one where there is none")
	}
}

// TestPolicy: the answers of quota-status, byte for byte those of Dovecot 2.3.19.
func TestPolicy(t *testing.T) {
	d := newDoor(t)
	d.o.Quota = quota.Settings{"quota": "maildir:U", "quota_rule": "*:bytes=1000"}
	ask := func(p *Policy, q string) string {
		p.Door = d
		a, b := net.Pipe()
		go p.Serve(b)
		defer a.Close()
		go io.WriteString(a, q)
		buf := make([]byte, 4096)
		n, _ := io.ReadAtLeast(a, buf, 9)
		return string(buf[:n])
	}
	for _, c := range []struct {
		p       *Policy
		q, want string
	}{
		{&Policy{}, "request=smtpd_access_policy\nrecipient=u\nsize=10\n\n", "OK"},
		{&Policy{Success: "DUNNO"}, "recipient=u\n\n", "DUNNO"},
		{&Policy{Delimiters: "+"}, "recipient=u+x\nsize=900\n\n", "OK"},
		{&Policy{}, "recipient=u\nsize=2000\n\n", "554 5.2.2 Quota exceeded (mailbox for user is full)"},
		{&Policy{OverQuota: `"552 5.2.2 over"`}, "recipient=u\nsize=2000\n\n", `"552 5.2.2 over"`},
		{&Policy{TooLarge: "552 too large"}, "recipient=u\nsize=2000\n\n", "552 too large"},
		{&Policy{}, "recipient=nobody\nsize=1\n\n", "REJECT Unknown user"},
		{&Policy{NoUser: "DUNNO nouser"}, "recipient=nobody\n\n", "DUNNO nouser"},
		{&Policy{}, "size=1\n\n", "DUNNO"},
		{&Policy{}, "recipient=\nsize=1\n\n", "DUNNO"},
		{&Policy{}, "recipient=u\nsize=x\n\n", "OK"},
		{&Policy{}, "recipient=u\nprotocol_state=DATA\nsize=99999\n\n", "DUNNO"},
		{&Policy{}, "recipient=down\n\n", "DEFER_IF_PERMIT Internal error occurred. Refer to server log for more information."},
	} {
		if got := ask(c.p, c.q); got != "action="+c.want+"\n\n" {
			t.Errorf("%q: %q, want %q", c.q, got, c.want)
		}
	}
	if got := ask(&Policy{}, "recipient="+strings.Repeat("x", maxAttributes)+"\n\n"); got != "" {
		t.Errorf("an endless question was answered: %q", got)
	}
}

// FuzzAnswer: what a deliver process says, which runs as the user, is bounded and
// never more than an answer.
func FuzzAnswer(f *testing.F) {
	f.Add("250 2.0.0 ok")
	f.Add("552-a\r\n552 5.2.2 b")
	f.Fuzz(func(t *testing.T, text string) {
		c := conv{r: bufio.NewReaderSize(strings.NewReader(text+"\r\n"), maxAnswer)}
		if st, err := c.answer(); err == nil && st == nil {
			t.Fatal("no answer and no error")
		}
	})
}
