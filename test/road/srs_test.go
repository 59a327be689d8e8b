package road

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/test/sandbox"
)

// TestSRS: mail of a stranger that one system forwards to another one goes out with a
// sender of the forwarder's, and the other's bounce finds the stranger (SRS).
func TestSRS(t *testing.T) {
	a, b := sandbox.Start(t), sandbox.Start(t)
	set := func(s *sandbox.Sandbox, aliases string, settings ...string) {
		t.Helper()
		if out, err := s.Command("postconf", append([]string{"-e"}, settings...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := os.WriteFile(filepath.Join(s.Dir, "etc/aliases"), []byte(aliases), 0o644); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		s.Start()
	}
	set(a, "out: x@far.test, y@far.test\n", "mydestination=localhost, fwd.test", "srs_domain=fwd.test",
		"transport_maps=inline:{ far.test=smtp:["+strings.Replace(b.Addr(25), ":", "]:", 1)+", else.test=smtp:["+strings.Replace(b.Addr(25), ":", "]:", 1)+" }")
	boxes := filepath.Join(b.Dir, "boxes")
	if err := os.Mkdir(boxes, 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(boxes, 0o777) // files of aliases are written as default_privs
	os.Chmod(b.Dir, 0o755)
	set(b, "x: nobody-of-this-name\ny: "+boxes+"/y\nstranger: "+boxes+"/stranger\n", "mydestination=localhost, far.test, else.test",
		"transport_maps=inline:{ fwd.test=smtp:["+strings.Replace(a.Addr(25), ":", "]:", 1)+" }")
	cmd := a.Command("sendmail", "-f", "stranger@else.test", "out@fwd.test")
	cmd.Stdin = strings.NewReader("From: stranger@else.test\nSubject: forwarded\n\nhello\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(boxes, name))
		return string(text)
	}
	b.Wait(time.Minute, "forwarded mail", func() bool { return strings.Contains(read("y"), "hello\n") })
	if y := read("y"); !strings.Contains(y, "Return-Path: <SRS0=") || !strings.Contains(y, "=else.test=stranger@fwd.test>\n") {
		t.Errorf("the sender was not rewritten:\n%s", y)
	}
	b.Wait(time.Minute, "bounce", func() bool { return strings.Contains(read("stranger"), "--\n") })
	s := read("stranger")
	for _, want := range []string{"From MAILER-DAEMON ", "Return-Path: <>\n", "Final-Recipient: rfc822; nobody-of-this-name@", "Action: failed\n", "Subject: forwarded\n"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in the bounce:\n%s", want, s)
		}
	}
	a.Drained(time.Minute)
	b.Drained(time.Minute)
}
