package spaces

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/memstore"
	"packetboat/internal/sys/config"
)

// TestRead: blocks become namespaces, each over its own store, and names are
// found there.
func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dovecot.conf")
	text := `mail_location = maildir:~/Maildir
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
  subscriptions = no
  location = mbox:~/old:INBOX=/nowhere/%n
}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := config.LoadDovecot(file)
	if err != nil {
		t.Fatal(err)
	}
	list, err := Read(conf)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	stores := map[string]store.Store{}
	u := User{Name: "alice@example.org", Home: "/home/a", Mail: "maildir:/home/a/Maildir"}
	spaces, opened, err := Open(list, u, func(where string) (store.Store, error) {
		stores[where] = memstore.New()
		return stores[where], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"maildir:/home/a/Maildir", "mbox:/home/a/old:INBOX=/nowhere/alice"}; !slices.Equal(opened, want) {
		t.Errorf("opened %q, want %q", opened, want)
	}
	tr := tree.New(spaces)
	for name, where := range map[string]string{"INBOX.a.b": opened[0], "Old.c": opened[1]} {
		if err := tr.Create(name, false); err != nil {
			t.Fatal(name, err)
		}
		list, _ := stores[where].List()
		if inner := map[string]string{"INBOX.a.b": "a/b", "Old.c": "c"}[name]; !slices.ContainsFunc(list, func(f store.Folder) bool { return f.Name == inner }) {
			t.Errorf("%s is not %s in %s: %+v", name, inner, where, list)
		}
	}
	if err := tr.Create("x", false); err == nil {
		t.Error("a name outside of all namespaces was created")
	}
}

// TestHomeless: "~" without a home is an error, not the root of the disk.
func TestHomeless(t *testing.T) {
	u := User{Name: "a"}
	if got, err := u.expand("mbox:~/mail"); err == nil {
		t.Error(got)
	}
	if got, err := (&User{Name: "../x", Home: "/h"}).expand("mbox:/mail/%u"); err == nil {
		t.Error(got)
	}
}
