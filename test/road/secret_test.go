package road

import (
	"context"
	"database/sql/driver"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modernc.org/sqlite"

	"packetboat/test/sandbox"
)

// TestSecretTables runs the system with an engine without rights over tables of
// every kind that root alone may read, in a folder that root alone may enter: the
// parent opens them, and nothing is unknown for want of a right.
func TestSecretTables(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has files that the engine may not read")
	}
	s := sandbox.Start(t)
	s.Stop()
	os.Chmod(s.Dir, 0o755)
	secret := filepath.Join(s.Dir, "secret")
	writeSecrets(t, secret)
	for _, set := range []string{"mail_owner=nobody", "setgid_group=nogroup", "default_privs=daemon",
		"mydestination=" + secret + "/here", "alias_maps=hash:" + secret + "/aliases",
		"virtual_alias_maps=proxy:hash:" + secret + "/virtual", "virtual_alias_domains=cidr:" + secret + "/none, sqlite:names",
		"names_dbpath=" + secret + "/names.db", "names_query=SELECT v FROM a WHERE k='%s'",
		"virtual_mailbox_domains=box.test", "virtual_mailbox_maps=sqlite:" + secret + "/box.cf",
		"relay_recipient_maps=mysql:" + secret + "/mysql.cf", "relay_domains=relay.test",
		"smtpd_recipient_restrictions=check_recipient_access pcre:" + secret + "/access, reject_unauth_destination",
		"smtp_sasl_password_maps=hash:" + secret + "/sasl", "transport_maps=regexp:" + secret + "/transport"} {
		if out, err := s.Command("postconf", "-e", set).CombinedOutput(); err != nil {
			t.Fatalf("postconf -e %s: %v\n%s", set, err, out)
		}
	}
	s.Start()
	for rcpt, want := range map[string]string{
		"info@virtual.test": "250", "nobody@virtual.test": "550", "in@box.test": "250", "out@box.test": "550",
		"team@here.test": "250", "ghost@here.test": "550", "who@relay.test": "451", "bad@box.test": "554 5.7.1 <bad@box.test>: Recipient address rejected: pcre says so",
		"x@elsewhere.test": "554 5.7.1",
	} {
		if got := rcptReply(t, s.Addr(25), rcpt); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", rcpt, got, want)
		}
	}
	if err := plainSMTP(s.Addr(25), "a@b.test", "team@here.test", []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Error(err)
	}
	s.Wait(10*time.Second, "delivery through the alias", func() bool {
		return strings.Contains(s.Log(), "to=<gone@discard.test>, orig_to=<team@here.test>, relay=none")
	})
	// A changed source is seen, though the engine may not look into the folder: a
	// reload reads it again.
	put(t, secret, "virtual", "other@virtual.test gone@discard.test\n")
	if out, err := s.Command("postfix", "reload").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s.Wait(10*time.Second, "new table", func() bool {
		return strings.HasPrefix(rcptReply(t, s.Addr(25), "other@virtual.test"), "250") && strings.HasPrefix(rcptReply(t, s.Addr(25), "info@virtual.test"), "550")
	})
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func writeSecrets(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"here":      "# mail for these\nhere.test, localhost\n",
		"aliases":   "team: gone@discard.test\nnobody: gone@discard.test\n",
		"virtual":   "info@virtual.test gone@discard.test\n",
		"none":      "192.0.2.0/24 none\n",
		"box.cf":    "dbpath = " + dir + "/names.db\nquery = SELECT v FROM a WHERE k='%s'\n",
		"mysql.cf":  "hosts = 127.0.0.1:1\nuser = x\npassword = hidden\ndbname = x\nquery = SELECT 1\n",
		"access":    "/^bad@/ REJECT pcre says so\n",
		"sasl":      "[smart.test] user:hidden\n",
		"transport": "/@discard\\.test$/ discard:\n/^in@/ discard:\n",
	} {
		put(t, dir, name, text)
	}
	path := filepath.Join(dir, "names.db")
	c, err := (&sqlite.Driver{}).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, q := range []string{"CREATE TABLE a (k TEXT, v TEXT)", "INSERT INTO a VALUES ('virtual.test','x'), ('in@box.test','in')"} {
		if _, err := c.(driver.ExecerContext).ExecContext(context.Background(), q, nil); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(path, 0o600)
}

// rcptReply returns the reply to a recipient.
func rcptReply(t *testing.T, addr, rcpt string) string {
	t.Helper()
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	line, _ := c.ReadLine()
	for _, cmd := range []string{"HELO client.test", "MAIL FROM:<a@b.test>", "RCPT TO:<" + rcpt + ">"} {
		c.PrintfLine("%s", cmd)
		line, _ = c.ReadLine()
	}
	return line
}
