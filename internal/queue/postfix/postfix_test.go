package postfix

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

func read(t *testing.T, name string) (*Message, string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if !Is(f) {
		t.Fatalf("%s is not taken for a Postfix file", name)
	}
	m, err := Read(f, &b)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m, b.String()
}

// Files that Postfix 3.7 wrote.
func TestRealFiles(t *testing.T) {
	m, text := read(t, "testdata/A63C89C800B")
	e := m.Env
	if e.Sender != "s@mail.example.org" || e.EnvID != "env+1" && e.EnvID != "env" || e.Ret != "HDRS" || len(e.Rcpts) != 1 ||
		e.Rcpts[0].Addr != "a@far.example" || e.Rcpts[0].Notify != mail.NotifySuccess|mail.NotifyFailure || e.Rcpts[0].ORCPT != "rfc822;a@far.example" ||
		e.Peer.Service != "pickup" || e.Arrived.Unix() != 1795473634 || !strings.HasSuffix(text, "\n"+strings.Repeat("x", 5000)+"\n") {
		t.Errorf("%v %q", m, text)
	}
	if m, text := read(t, "testdata/AA4AA9C8001"); m.Env.Sender != "" || m.Env.Rcpts[0].Addr != "x@far.example" || !strings.HasSuffix(text, "\n\nhello\n") {
		t.Errorf("%v %q", m, text)
	}
	m, text = read(t, "testdata/71C789C80FC")
	e = m.Env
	if e.Sender != "alice+ext@mail.example.org" || len(e.Rcpts) != 2 || e.Rcpts[1].Addr != "bob x@far.example" || e.Body != mail.Body8Bit ||
		e.Peer.Addr != netip.MustParseAddr("127.0.0.1") || e.Peer.Name != "localhost" || e.Peer.Helo != "x" || e.Peer.Proto != "ESMTP" || e.Peer.Port != 40808 ||
		!strings.Contains(text, "Subject: =?x?= conversion \n") || !strings.Contains(text, "\n.dot\n\nlast\n") {
		t.Errorf("%v %q", m, text)
	}
}

// Records that mark delivered recipients, deleted files and changed places.
func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	build := func(recs ...string) (*Message, string, error) {
		var b bytes.Buffer
		for _, r := range recs {
			b.WriteByte(r[0])
			b.WriteByte(byte(len(r) - 1))
			b.WriteString(r[1:])
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var out bytes.Buffer
		m, err := Read(f, &out)
		return m, out.String(), err
	}
	head := []string{"C              1", "T1000 5", "Ss@x", "LFILTER:[x]", "V+=", "Oo@x", "Dd@x", "Rr@x", "p              0", "M"}
	m, text, err := build(append(head, "Lpart", "Nend", "X", "E")...)
	if err != nil || text != "partend\n" || m.Env.Rcpts[0].State != mail.Done || m.Env.Rcpts[1].State != mail.Pending || m.Env.Filter != "FILTER:[x]" ||
		m.Env.Verp != "+=" || m.Env.Rcpts[0].Orig != "o@x" || m.Env.Arrived != time.Unix(1000, 5000) {
		t.Fatalf("%v %q %v", m, text, err)
	}
	if m, _, err := build("C              1", "T1000", "Ss@x", "K", "M", "X", "E"); err != nil || !m.Killed {
		t.Errorf("%v %v", m, err)
	}
	// The line at 20 is replaced by the one behind the end.
	jump := []string{"C              1", "T1000", "S", "Ra@b", "M", "p             66", "Nold", "Nrest", "X", "E", "w", "Nnew", "p             54"}
	if _, text, err := build(jump...); err != nil || text != "new\nrest\n" {
		t.Errorf("%q %v", text, err)
	}
	for _, bad := range [][]string{{"C              1"}, head, append(head, "Nx"), append(head, "Nx", "E"), {"C              1", "T1", "S", "M", "X", "E"},
		{"C              1", "p              0", "p              0", "p             -1"}, {"p              0", "E"}, {"C              1", "p              0", "Tx", "E"}} {
		if _, _, err := build(bad...); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What is written is read again.
func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	rapid.Check(t, func(rt *rapid.T) {
		addr := rapid.StringMatching(`[a-z "+=]{1,9}@[a-z]{1,9}`)
		env := &mail.Envelope{UID: -1, Sender: mail.Address(addr.Draw(rt, "s")), Arrived: time.Unix(1795473634, 123456000),
			Body: rapid.SampledFrom([]mail.Body{mail.BodyUnknown, mail.Body7Bit, mail.Body8Bit}).Draw(rt, "body"), SMTPUTF8: rapid.Bool().Draw(rt, "u"),
			Ret: rapid.SampledFrom([]string{"", "FULL", "HDRS"}).Draw(rt, "ret"), EnvID: rapid.StringMatching(`[a-z +=%]{0,5}`).Draw(rt, "id"), Verp: "+="}
		env.Verify = rapid.Bool().Draw(rt, "verify")
		env.Peer = mail.Peer{Service: "smtpd", Proto: "ESMTPSA", Name: "c.test", Addr: netip.MustParseAddr("2001:db8::1"), Port: 99, Helo: "h", SASL: "plain", User: "u", SASLFrom: "x@y"}
		for range rapid.IntRange(1, 5).Draw(rt, "n") {
			env.Rcpts = append(env.Rcpts, mail.Rcpt{Addr: mail.Address(addr.Draw(rt, "r")), Orig: "o@x", ORCPT: "rfc822;" + addr.Draw(rt, "o"),
				Notify: mail.Notify(rapid.IntRange(0, 15).Draw(rt, "notify")), State: rapid.SampledFrom([]mail.State{mail.Pending, mail.Done}).Draw(rt, "st")})
		}
		text := strings.Repeat("long ", rapid.IntRange(0, 1000).Draw(rt, "long")) + "\n" + rapid.StringMatching(`([a-z.]{0,9}\n){0,4}`).Draw(rt, "text")
		f, err := os.Create(path)
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		if err := Write(f, env, strings.NewReader(text)); err != nil {
			rt.Fatal(err)
		}
		var out bytes.Buffer
		m, err := Read(f, &out)
		if err != nil || out.String() != text || !reflect.DeepEqual(m.Env, env) {
			rt.Fatalf("%v\n got %v\nwant %+v\n%q %q", err, m, *env, out.String(), text)
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, n := range []string{"A63C89C800B", "71C789C80FC"} {
		b, err := os.ReadFile("testdata/" + n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if m, err := Read(g, &bytes.Buffer{}); err == nil && len(m.Env.Rcpts) == 0 && !m.Killed {
			t.Error("a message for nobody")
		}
	})
}
