package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestOthersMail: a mailbox of another user does not exist, whatever command
// asks and however it is named (security.md 28).
func TestOthersMail(t *testing.T) {
	s := launch(t, "no")
	os.Mkdir(filepath.Join(s.dir, "home/mail"), 0o700)
	s.write(t, "mail/bob", "From a@b.c  Mon Nov 23 14:03:58 2026\nSubject: secret\n\nhello\n\n")
	c := s.dial(t, "imap")
	c.do("", "* OK")
	c.do("a LOGIN alice secret", "a ")
	took := regexp.MustCompile(`\([0-9. +]+secs\)`)
	for _, name := range []string{s.dir + "/mail/bob", "../../mail/bob", "../mail/../../mail/bob", "~bob/inbox", "x/../../../mail/bob", "./bob", ".imap/INBOX"} {
		for _, command := range []string{"SELECT", "EXAMINE", "STATUS %s (MESSAGES)", "DELETE", "RENAME %s mine", "SUBSCRIBE", "CREATE", "APPEND %s {1+}\r\nx"} {
			if !strings.Contains(command, "%s") {
				command += " %s"
			}
			got := took.ReplaceAllString(c.do("b "+fmt.Sprintf(command, name), "b "), "")
			if !strings.HasPrefix(got, "b NO ") || strings.Contains(got, "[NOPERM]") || strings.Contains(got, "denied") {
				t.Errorf("%s %s: %q", command, name, got)
			}
		}
		if got := c.do(`b LIST "" "`+name+`*"`, "b "); strings.Contains(got, "* LIST") {
			t.Errorf("LIST %s: %q", name, got)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(s.dir, "mail/bob")); !strings.Contains(string(b), "secret") {
		t.Error("bob's mail was changed")
	}
}

// TestGarbage throws random bytes at every socket; who comes then is served
// (security.md 37).
func TestGarbage(t *testing.T) {
	s := launch(t, "no")
	dial := []func() (net.Conn, error){}
	for _, name := range []string{"private/auth", "run/anvil", "run/auth-userdb", "run/lmtp", "run/auth-client"} {
		dial = append(dial, func() (net.Conn, error) { return net.Dial("unix", filepath.Join(s.dir, name)) })
	}
	for _, port := range []string{"imap", "pop3", "lmtp"} {
		dial = append(dial, func() (net.Conn, error) { return net.Dial("tcp4", s.ports[port]) })
	}
	const letters = "AUTH\tUSER\t1\nCONT\x01\x00{}(\"\\\r\n 9+"
	random := rand.New(rand.NewPCG(1, 2))
	for _, d := range dial {
		for _, size := range []int{1, 100, 100000} {
			c, err := d()
			if err != nil {
				continue // this one is not made here
			}
			b := make([]byte, size)
			for i := range b {
				b[i] = letters[random.IntN(len(letters))]
			}
			c.SetDeadline(time.Now().Add(300 * time.Millisecond))
			c.Write(b)
			io.Copy(io.Discard, c)
			c.Close()
		}
	}
	s.authSocket(t)
	c := s.dial(t, "imap")
	c.do("", "* OK")
	if got := c.do("a LOGIN alice secret", "a "); !strings.HasPrefix(got, "a OK") || strings.Contains(s.log(), "panic") || strings.Contains(s.log(), " ended with ") {
		t.Error(got, s.log())
	}
}

// TestAddresses are recipients that brought others down (security.md 31).
func TestAddresses(t *testing.T) {
	s := launch(t, "no")
	c := s.dial(t, "lmtp")
	c.do("", "220")
	c.do("LHLO x", "250 ")
	c.do("MAIL FROM:<>", "250")
	for _, rcpt := range []string{`<""@x>`, `<>`, `<@>`, `<a b@x>`, `<"a`, `<@x:@y:a@b>`, `<group:a@b,c@d;>`, `<"..\..\bob"@x>`, `<../bob>`, `<` + strings.Repeat("a", 5000) + `@x>`, `<%{home}@x>`} {
		if got := c.do("RCPT TO:"+rcpt, "5"); !strings.HasPrefix(got, "5") {
			t.Fatalf("%.60s: %q", rcpt, got)
		}
	}
	if got := c.do("RCPT TO:<alice+shop@x>", ""); !strings.HasPrefix(got, "550 5.1.1") {
		t.Error(got)
	}
	if got := c.do("RCPT TO:<alice+shop>", ""); !strings.HasPrefix(got, "250") {
		t.Error("a detail address:", got)
	}
}
