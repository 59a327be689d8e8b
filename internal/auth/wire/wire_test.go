package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/test/oracle"
)

// letters is the test's backend: PLAIN with user = password is right; LOGIN
// asks twice; BLOCK waits until it is cancelled; PANIC panics.
type letters struct{ cancelled chan struct{} }

func (letters) Mechs() []Mech {
	return []Mech{{"PLAIN", Plaintext}, {"LOGIN", Plaintext}, {"CRAM-MD5", Dictionary | Active}, {"APOP", Private | Active}}
}

func (b letters) Begin(r Request) Conversation {
	switch r.Mech {
	case "PLAIN", "BLOCK", "PANIC":
		return &plainTest{r.Mech, b.cancelled}
	case "LOGIN":
		return &loginTest{}
	}
	return nil
}

type plainTest struct {
	mech      string
	cancelled chan struct{}
}

func (p *plainTest) Step(ctx context.Context, resp []byte) Answer {
	switch {
	case p.mech == "PANIC":
		panic("boom")
	case p.mech == "BLOCK":
		<-ctx.Done()
		close(p.cancelled)
		return Answer{}
	case resp == nil:
		return Answer{State: Continue}
	}
	f := strings.Split(string(resp), "\x00")
	if len(f) == 3 && f[1] == f[2] {
		return Answer{State: OK, User: f[1], Fields: map[string]string{"nodelay": ""}, Hidden: map[string]string{"userdb_uid": "5"}}
	}
	return Answer{User: "x", Reason: "tab\there", Temporary: true, Code: CodeTempFail}
}

type loginTest struct{ user string }

func (l *loginTest) Step(_ context.Context, resp []byte) Answer {
	switch {
	case resp == nil:
		return Answer{State: Continue, Challenge: []byte("Username:")}
	case l.user == "":
		l.user = string(resp)
		return Answer{State: Continue, Challenge: []byte("Password:")}
	case l.user == string(resp):
		return Answer{State: OK, User: l.user}
	}
	return Answer{User: l.user}
}

// start runs a server on a socket in the test's folder.
func start(t *testing.T) (*Server, string, letters) {
	b := letters{make(chan struct{})}
	s := &Server{Backend: b}
	path := filepath.Join(t.TempDir(), "auth")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go s.Serve(l)
	return s, path, b
}

func dial(t *testing.T, path string) *Client {
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConversation(t *testing.T) {
	s, path, _ := start(t)
	c := dial(t, path)
	if got := c.Mechs(); !reflect.DeepEqual(got, letters{}.Mechs()) {
		t.Errorf("Mechs = %v", got)
	}
	r := Request{Service: "imap", Mech: "PLAIN", Login: true, Initial: []byte("\x00al\tice\x00al\tice")}
	x, a, err := c.Start(t.Context(), r)
	if err != nil || a.State != OK || a.User != "al\tice" || a.Hidden != nil {
		t.Fatalf("PLAIN: %+v %v", a, err)
	}
	if _, ok := a.Fields["nodelay"]; !ok {
		t.Error("a field without value is lost")
	}
	bad := x.Ticket()
	bad.Cookie = "0"
	if _, _, ok := s.Claim(bad); ok {
		t.Error("a wrong cookie was accepted")
	}
	req, ans, ok := s.Claim(x.Ticket())
	if !ok || req.Service != "imap" || ans.Hidden["userdb_uid"] != "5" || req.Initial != nil {
		t.Errorf("Claim = %v %v %v", req, ans, ok)
	}
	if _, _, ok := s.Claim(x.Ticket()); ok {
		t.Error("a ticket worked twice")
	}
	r.Initial = []byte("\x00a\x00b")
	if _, a, _ = c.Start(t.Context(), r); a.State != Fail || !a.Temporary || a.Code != CodeTempFail || a.Reason != "tab\there" {
		t.Errorf("failure: %+v", a)
	}
}

func TestLoginAndNologin(t *testing.T) {
	s, path, _ := start(t)
	c := dial(t, path)
	x, a, err := c.Start(t.Context(), Request{Service: "smtp", Mech: "LOGIN"})
	if err != nil || string(a.Challenge) != "Username:" {
		t.Fatal(a, err)
	}
	if a, err = x.Next(t.Context(), []byte("bob")); err != nil || string(a.Challenge) != "Password:" {
		t.Fatal(a, err)
	}
	if a, err = x.Next(t.Context(), []byte("bob")); err != nil || a.State != OK || a.User != "bob" {
		t.Fatal(a, err)
	}
	if _, _, ok := s.Claim(x.Ticket()); ok {
		t.Error("a nologin request was kept")
	}
	if _, a, err = c.Start(t.Context(), Request{Service: "smtp", Mech: "NONE"}); err != nil || a.State != Fail {
		t.Error(a, err)
	}
	if _, a, err = c.Start(t.Context(), Request{Service: "smtp", Mech: "PANIC"}); err != nil || !a.Temporary {
		t.Error(a, err)
	}
}

func TestManyAtOnceAndCancel(t *testing.T) {
	_, path, b := start(t)
	c := dial(t, path)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			pw := strings.Repeat("p", i+1)
			_, a, err := c.Start(t.Context(), Request{Service: "smtp", Mech: "PLAIN", Initial: []byte("\x00" + pw + "\x00" + pw)})
			if err != nil || a.User != pw {
				t.Errorf("%d: %v %v", i, a, err)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Start(ctx, Request{Service: "smtp", Mech: "BLOCK"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	select {
	case <-b.cancelled:
	case <-time.After(oracle.Patience):
		t.Error("the server was not told")
	}
}

// TestReconnect takes the server away and brings it back: the next Start works.
func TestReconnect(t *testing.T) {
	s, path, _ := start(t)
	near := make(chan net.Conn, 2)
	c := New(func(ctx context.Context) (net.Conn, error) {
		conn, err := net.Dial("unix", path)
		near <- conn
		return conn, err
	})
	defer c.Close()
	r := Request{Service: "smtp", Mech: "PLAIN", Initial: []byte("\x00a\x00a")}
	for range 2 {
		if _, a, err := c.Start(t.Context(), r); err != nil || a.State != OK {
			t.Fatal(a, err)
		}
		(<-near).Close()
	}
	if n := s.cuid.Load(); n != 2 {
		t.Errorf("%d connections, not 2", n)
	}
}

// TestGarbage feeds a server what it must not be harmed by (security.md 37).
func TestGarbage(t *testing.T) {
	_, path, _ := start(t)
	for _, in := range []string{
		"\n\n\n", "AUTH\n", "AUTH\tx\tPLAIN\n", "AUTH\t1\n", "CONT\n", "CONT\t7\tAAAA\n", "CPID\n", "CPID\tx\n",
		"VERSION\t2\t0\n", "VERSION\n", "CANCEL\n", "CANCEL\tx\n", "\x00\x01\x02\n", "AUTH\t1\tPLAIN\tresp=AA==\n",
		"AUTH\t4294967296\tPLAIN\tservice=x\n", strings.Repeat("x", MaxLine+1), "AUTH\t1\tPLAIN\tservice=x\tresp=!\n",
		"AUTH\t1\tBLOCK2\tservice=x\nAUTH\t1\tPLAIN\tservice=x\nAUTH\t1\tPLAIN\tservice=x\n",
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(in))
		conn.Close()
	}
	c := dial(t, path)
	if _, a, err := c.Start(t.Context(), Request{Service: "smtp", Mech: "PLAIN", Initial: []byte("\x00a\x00a")}); err != nil || a.State != OK {
		t.Fatal(a, err)
	}
}

func TestExactLine(t *testing.T) {
	r := Request{Service: "smtp", Mech: "PLAIN", Local: netip.MustParseAddrPort("127.0.0.1:25"),
		Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Secured: true, Initial: []byte("\x00a\x00b")}
	want := "AUTH\t7\tPLAIN\tservice=smtp\tnologin\tlip=127.0.0.1\trip=192.0.2.7\tlport=25\trport=4711\tsecured\tresp=AGEAYg==\n"
	if got := string(appendAuth(nil, 7, r)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if strings.Contains(r.String(), "b\x00") || strings.Contains(r.String(), "AGEAYg") {
		t.Error("String shows the password")
	}
}

// genField makes fields with the bytes that must be escaped.
var genField = rapid.StringOfN(rapid.SampledFrom([]rune("ab=\t\n\r\x00\x01%é@.")), 0, 20, -1)

func TestAuthRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Request{Service: genField.Draw(t, "service"), Mech: "X-" + rapid.StringMatching("[A-Z0-9]{1,9}").Draw(t, "mech"),
			Secured: rapid.Bool().Draw(t, "secured"), Session: genField.Draw(t, "session"), Login: rapid.Bool().Draw(t, "login")}
		if rapid.Bool().Draw(t, "ends") {
			r.Local, r.Remote = netip.MustParseAddrPort("[::1]:143"), netip.MustParseAddrPort("10.1.2.3:9")
		}
		if rapid.Bool().Draw(t, "initial") {
			r.Initial = append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "resp")...)
		}
		line := string(appendAuth(nil, 42, r))
		if strings.Count(line, "\n") != 1 {
			t.Fatalf("%q is more than a line", line)
		}
		id, got, err := parseAuth(strings.Split(line[:len(line)-1], "\t")[1:])
		if err != nil || id != 42 || !reflect.DeepEqual(got, r) {
			t.Fatalf("%q: %d %#v %v, want %#v", line, id, got, err, r)
		}
	})
}

func TestAnswerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Answer{State: State(rapid.IntRange(0, 1).Draw(t, "state")), ID: rapid.Uint32().Draw(t, "id"),
			User: genField.Draw(t, "user"), Reason: genField.Draw(t, "reason")}
		if rapid.Bool().Draw(t, "fields") {
			a.Fields = map[string]string{"k1": genField.Draw(t, "v"), "k2": ""}
		}
		line := string(appendAnswer(nil, a))
		got, err := parseAnswer(strings.TrimSuffix(line, "\n"))
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("%q: %#v %v, want %#v", line, got, err, a)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"OK\t1\tuser=a", "FAIL\t2\ttemp\tcode=temp_fail", "CONT\t3\tAAAA", "CONT\t3", "OK", "", "FAIL\tx", "OK\t1\t=\t\x01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		a, err := parseAnswer(line)
		if err == nil && a.State > Continue {
			t.Errorf("%q: state %d", line, a.State)
		}
	})
}

func FuzzAuth(f *testing.F) {
	for _, s := range []string{"1\tPLAIN\tservice=smtp\tresp=AGEAYg==", "1\tPLAIN", "1", "", "x\ty", "1\tPLAIN\tservice=\x01t\trip=::1\trport=99999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		id, r, err := parseAuth(strings.Split(line, "\t"))
		if err != nil {
			return
		}
		out := string(appendAuth(nil, id, r))
		if strings.Count(out, "\n") != 1 {
			t.Errorf("%q became %q", line, out)
		}
	})
}

func TestUserdb(t *testing.T) {
	path := filepath.Join(t.TempDir(), "userdb")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	db := func(_ context.Context, user, service string) (string, map[string]string, error) {
		switch user {
		case "zed":
			return "", nil, ErrNoUser
		case "down":
			return "", nil, errors.New("no answer")
		}
		return user, map[string]string{"x": service, "home": "/h\t", "uid": "5"}, nil
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go ServeUserdb(c, db, func(f map[string]string) bool { return f["home"] != "" })
		}
	}()
	name, f, order, err := LookupUser(t.Context(), path, "al\tice", "doveadm")
	if err != nil || name != "al\tice" || f["home"] != "/h\t" || f["x"] != "doveadm" || strings.Join(order, " ") != "uid home x" {
		t.Error(name, f, order, err)
	}
	if _, _, _, err := LookupUser(t.Context(), path, "zed", "x"); !errors.Is(err, ErrNoUser) {
		t.Error(err)
	}
	if _, _, _, err := LookupUser(t.Context(), path, "down", "x"); err == nil || errors.Is(err, ErrNoUser) {
		t.Error(err)
	}
}
