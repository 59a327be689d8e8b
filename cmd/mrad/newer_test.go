package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/sys/config/dovecot"
	"packetboat/internal/sys/config/dovecot/upgrade"
	"packetboat/internal/sys/proc"
)

// TestNewerSyntax: the same system runs from a file in the syntax of Dovecot 2.4.
func TestNewerSyntax(t *testing.T) {
	s := launch(t, "no")
	s.proc.Signal(proc.SIGTERM)
	<-s.ended
	path := filepath.Join(s.dir, "dovecot.conf")
	d, err := dovecot.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := upgrade.Newer(d, nil)
	if err != nil || !strings.HasPrefix(text, "dovecot_config_version = 2.4") || !strings.Contains(text, "mail_driver = mbox") {
		t.Fatalf("%v\n%s", err, text)
	}
	// The comments of the translation play no part.
	text, _, _ = strings.Cut(text, "\n# What Dovecot 2.4")
	s.write(t, "dovecot.conf", text)
	s.start(t)
	c := s.dial(t, "imap")
	c.do("", "* OK")
	if got := c.do("a LOGIN alice secret", "a "); !strings.HasPrefix(got, "a OK") {
		t.Error(got)
	}
	if got := c.do("b STATUS INBOX (MESSAGES)", "b "); !strings.Contains(got, "MESSAGES 1") {
		t.Error(got)
	}
	p := s.dial(t, "pop3")
	p.do("", "+OK")
	p.do("USER alice", "+OK")
	if got := p.do("PASS secret", "+OK"); !strings.HasPrefix(got, "+OK") {
		t.Error(got)
	}
}

// TestForce: a setting that is not built keeps mrad from starting, unless --force
// is given; then the log names it.
func TestForce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	text := "mail_location = mbox:~/mail:INBOX=/var/mail/%u\nmail_save_crlf = yes\nlmtp_rawlog_dir = /x\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(path, false); err == nil || !strings.Contains(err.Error(), path+":2: mail_save_crlf = yes") || !strings.Contains(err.Error(), path+":3: lmtp_rawlog_dir") {
		t.Error(err)
	}
	s, err := load(path, true)
	if err != nil || len(s.without) != 2 {
		t.Errorf("%v %v", s, err)
	}
	if err := os.WriteFile(path, []byte(text+"nosuch = yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(path, true); err == nil || !strings.Contains(err.Error(), "Unknown setting: nosuch") {
		t.Error("an unknown setting is no matter of --force:", err)
	}
}
