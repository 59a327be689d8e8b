package tree

import (
	"errors"
	"strings"
	"testing"

	"packetboat/internal/store"
	"packetboat/internal/store/memstore"
)

// dots is a tree with a prefix and dots, and a hidden namespace with slashes on disk.
func dots() (*Tree, *memstore.Store, *memstore.Store) {
	a, b := memstore.New(), memstore.New()
	return New([]Namespace{
		{Store: a, Prefix: "INBOX.", Separator: '.', Inbox: true, Mailboxes: []Mailbox{{Name: "Sent", Use: []string{`\Sent`}, Create: true, Subscribe: true}}},
		{Store: b, Prefix: "Old.", Separator: '.', Hidden: true, Unlisted: true, Unsubscribing: true},
	}), a, b
}

// TestOtherStores: no name leads to a mailbox that its namespace does not have.
func TestOtherStores(t *testing.T) {
	tr, _, b := dots()
	if err := b.Create("a/b"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"Old.a.b": nil, "old.a.b": errRefused, "Old.INBOX": store.ErrNoMailbox, "INBOX.a.b": store.ErrNoMailbox, "Old.a/b": errRefused,
		"Old": errRefused, "Old.": errRefused, "": errRefused, "INBOX..": errRefused, "INBOX.INBOX": nil, "inbox.": nil, "INBOX": nil, "a": errRefused, "INBOX.Sent": nil} {
		_, err := tr.Open(name)
		if refused := new(Refusal); errors.As(err, refused) {
			err = errRefused
		}
		if err != want {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
}

var errRefused = errors.New("refused")

// TestUnlisted: such a namespace is found only by its prefix; its subscriptions
// are kept by nobody where no namespace is around it.
func TestUnlisted(t *testing.T) {
	tr, _, b := dots()
	b.Create("x")
	for pattern, want := range map[string]int{"*": 2, "Old.*": 4} {
		list, err := tr.List([]string{pattern})
		if err != nil || len(list) != want {
			t.Errorf("%s: %+v %v", pattern, list, err)
		}
	}
}

// FuzzNames: what a client may call a mailbox comes back as it was said, and no part
// of it is empty or leaves the store.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"INBOX.a.b", "inbox.x", "Old..x", "Old...", "INBOX.a/b", "INBOX.\xff", "a", "Old.~x", "INBOX.a.", "Old./etc"} {
		f.Add(s)
	}
	tr, _, _ := dots()
	f.Fuzz(func(t *testing.T, name string) {
		n, inner, err := tr.find(name)
		if err != nil || inner == "INBOX" {
			return
		}
		for part := range strings.SplitSeq(inner, "/") {
			if part == "" || part == "." || part == ".." {
				t.Fatalf("%q is %q", name, inner)
			}
		}
		back, ok := n.outer(inner)
		if !ok || !tr.Same(back, name) || len(back) != len(name) {
			t.Fatalf("%q is %q is %q", name, inner, back)
		}
	})
}
