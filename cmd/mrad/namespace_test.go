package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNamespaces: the namespaces of dovecot.conf are those of a session, each over
// its own mail, and imap_capability, imap_id_send and
// imap_client_workarounds are what it says.
func TestNamespaces(t *testing.T) {
	s := launch(t, `no
imap_capability = +XTEST
imap_client_workarounds = tb-extra-mailbox-sep
imap_metadata = yes
mail_attribute_dict = file:%h/attributes
imap_id_send = name * support-url https://example.org/
namespace inbox {
  inbox = yes
  prefix = INBOX.
  separator = .
  mailbox Drafts {
    special_use = \Drafts
    auto = subscribe
  }
}
namespace old {
  prefix = Old.
  separator = .
  hidden = yes
  list = no
  location = maildir:~/old-%n
}`)
	c := s.dial(t, "imap")
	c.do("", "* OK")
	if got := c.do("a LOGIN alice secret", "a "); !strings.Contains(got, " METADATA LIST-METADATA SPECIAL-USE CREATE-SPECIAL-USE XTEST] Logged in") {
		t.Fatal(got, s.log())
	}
	for _, step := range [][2]string{
		{"NAMESPACE", `* NAMESPACE (("INBOX." ".")) NIL NIL`},
		{`ID NIL`, `("name" "Packetboat" "support-url" "https://example.org/")`},
		{`LIST "" *`, `* LIST (\HasNoChildren \Drafts) "." INBOX.Drafts`},
		{`LSUB "" *`, `* LSUB (\Drafts) "." INBOX.Drafts`},
		{`SETMETADATA INBOX.Drafts (/private/comment "of %h")`, "b OK"},
		{`GETMETADATA INBOX.Drafts /private/comment`, "{5}"},
		{`CREATE INBOX.Arch (USE (\Archive))`, "b OK"},
		{`LIST (SPECIAL-USE) "" *`, `* LIST (\NoInferiors \Archive) "." INBOX.Arch`},
		{"SELECT INBOX", "* 1 EXISTS"},
		{"COPY 1 INBOX.Drafts", "b OK [COPYUID"},
		{"STATUS INBOX.Drafts. (MESSAGES)", "* STATUS INBOX.Drafts. (MESSAGES 1)"},
		{"CREATE Old.a.b", "b OK"},
		{"COPY 1 Old.a.b", "b OK [COPYUID"},
		{`LIST "" Old.*`, "Old.a.b"},
	} {
		if got := c.do("b "+step[0], "b "); !strings.Contains(got, step[1]) {
			t.Errorf("%s: %s\nwant %s", step[0], got, step[1])
		}
	}
	if b, err := os.ReadFile(filepath.Join(s.dir, "home/attributes")); err != nil || !strings.Contains(string(b), "/comment\nof %h\n") {
		t.Errorf("attributes: %q %v", b, err)
	}
	if list, _ := filepath.Glob(filepath.Join(s.dir, "home/old-alice/.a.b/[cn][ue][rw]/*")); len(list) != 1 {
		t.Errorf("mail in the Maildir: %q", list)
	}
	if fi, err := os.Stat(filepath.Join(s.dir, "home/mail/Drafts")); err != nil || fi.Size() == 0 {
		t.Errorf("mail in the mbox: %v", err)
	}
	c.do("b LOGOUT", "b ")
}
