package imapd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/config/dovecot"
)

// confText is a file of testdata with "~" replaced.
func confText(t testing.TB, name, home string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "~", home)
}

// diskUser is a user whose namespaces are those of a configuration, over stores
// on disk.
func diskUser(t testing.TB, conf, where string, msgs [][]byte) User {
	t.Helper()
	home := t.TempDir()
	file := filepath.Join(home, "dovecot.conf")
	if err := os.WriteFile(file, []byte(confText(t, conf, home)), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := config.LoadDovecot(file)
	if err != nil {
		t.Fatal(err)
	}
	spaces, err := d.Namespaces()
	if err != nil {
		t.Fatal(err)
	}
	u := User{Name: "alice"}
	for _, n := range spaces {
		loc := n.Location
		if loc == "" {
			loc = strings.ReplaceAll(where, "~", home)
		}
		st, err := location.Open(loc, location.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		if n.Inbox {
			fill(t, st, msgs)
		}
		u.Namespaces = append(u.Namespaces, spaceOf(n, st, loc))
	}
	return u
}

// spaceOf does what cmd/mrad does with a namespace block.
func spaceOf(n dovecot.Namespace, st store.Store, loc string) tree.Namespace {
	l, _ := location.Parse(loc)
	out := tree.Namespace{Store: st, Prefix: n.Prefix, Layout: l.Separator(), Inbox: n.Inbox, Hidden: n.Hidden,
		Unlisted: n.List == "no", ChildrenOnly: n.List == "children", Unsubscribing: !n.Subscriptions}
	out.Separator = l.Separator()
	if n.Separator != "" {
		out.Separator = n.Separator[0]
	}
	out.Kind = map[string]tree.Kind{"shared": tree.Shared, "public": tree.Public}[n.Type]
	for _, m := range n.Mailboxes {
		out.Mailboxes = append(out.Mailboxes, tree.Mailbox{Name: m.Name, Use: m.SpecialUse, Create: m.Auto != "no", Subscribe: m.Auto == "subscribe"})
	}
	return out
}

// fill puts the messages into INBOX.
func fill(t testing.TB, st store.Store, msgs [][]byte) {
	t.Helper()
	box, err := st.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	var list []store.New
	for i, m := range msgs {
		list = append(list, store.New{Body: bytes.NewReader(m), Date: time.Unix(1700000000+int64(i), 0)})
	}
	if _, err := box.Append(list); len(msgs) > 0 && err != nil {
		t.Fatal(err)
	}
}

// dovecotSpaces gives a Dovecot home those namespaces.
func dovecotSpaces(t testing.TB, home, conf, where string, msgs [][]byte) {
	t.Helper()
	if strings.HasPrefix(where, "mbox:") {
		os.RemoveAll(home + "/mail")
		os.Mkdir(home+"/mail", 0o700)
		var b bytes.Buffer
		for i, m := range msgs {
			fmt.Fprintf(&b, "From a@b.example %s\n%s\n", time.Unix(1700000000+int64(i), 0).UTC().Format(time.ANSIC), bytes.ReplaceAll(m, []byte("\r\n"), []byte("\n")))
		}
		if err := os.WriteFile(home+"/inbox", b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := "base_dir = " + home + "/run\nlog_path = " + home + "/log\nssl = no\nprotocols = imap\nfirst_valid_uid = 0\nmaildir_stat_dirs = yes\n" +
		"mail_location = " + strings.ReplaceAll(where, "~", home) + "\n" + confText(t, conf, home)
	if err := os.WriteFile(home+"/dovecot.conf", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	giveAway(t, home)
}
