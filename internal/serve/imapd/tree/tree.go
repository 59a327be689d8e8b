// Package tree joins the namespaces of a user (RFC 2342) into the one tree of
// names that a client sees. It is the only place where the client's names, with
// their prefixes and separators, become those of a store, which are separated
// by "/" and have no prefix.
package tree

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"packetboat/internal/store"
)

// Refusal is a command that was understood and cannot be done: its text follows
// "NO ".
type Refusal string

// Error returns the text.
func (r Refusal) Error() string { return string(r) }

// Kind says whose mail a namespace holds (RFC 2342 section 5).
type Kind uint8

// The values of Kind.
const (
	Private Kind = iota
	Shared
	Public
)

// Namespace is a namespace { } block. The zero value of all but Store is a
// private one without prefix, separated by "/".
type Namespace struct {
	Store         store.Store
	Prefix        string // UTF-8, with the separator at its end
	Separator     byte   // 0 = "/"
	Layout        byte   // what stands between levels on disk, and therefore in no name: "." in a Maildir++; 0 = "/"
	Kind          Kind
	Inbox         bool // INBOX is here
	Hidden        bool // not told by NAMESPACE
	Unlisted      bool // list = no: LIST finds its folders only by their prefix
	ChildrenOnly  bool // list = children: its own name is listed only when there is something below
	Unsubscribing bool // subscriptions = no: they are kept by the namespace around it
	Mailboxes     []Mailbox
}

// Mailbox is what a mailbox { } block says of a folder.
type Mailbox struct {
	Name      string   // with the namespace's separator, without its prefix
	Use       []string // special_use: \Sent, \Drafts ... (RFC 6154)
	Create    bool     // auto = create or subscribe: it is there although nobody made it
	Subscribe bool     // auto = subscribe
}

// Tree is all namespaces of one user, as one session sees them.
type Tree struct {
	spaces []*Namespace // the longest prefix first
	inbox  *Namespace
}

// New joins namespaces. At least one is needed; where none has INBOX the first
// one has it.
func New(list []Namespace) *Tree {
	t := &Tree{}
	for i := range list {
		n := list[i]
		if n.Separator == 0 {
			n.Separator = '/'
		}
		if n.Layout == 0 {
			n.Layout = '/'
		}
		t.spaces = append(t.spaces, &n)
		if n.Inbox && t.inbox == nil {
			t.inbox = &n
		}
	}
	if t.inbox == nil {
		t.inbox, t.spaces[0].Inbox = t.spaces[0], true
	}
	slices.SortStableFunc(t.spaces, func(a, b *Namespace) int { return len(b.Prefix) - len(a.Prefix) })
	return t
}

// Separator returns what stands between the levels of a name. Dovecot refuses
// namespaces that are listed and differ in it.
func (t *Tree) Separator() byte { return t.inbox.Separator }

// Namespaces returns those of a kind that clients are told of, the shortest
// prefix first, as Dovecot does.
func (t *Tree) Namespaces(k Kind) (list []*Namespace) {
	for _, n := range slices.Backward(t.spaces) {
		if n.Kind == k && !n.Hidden {
			list = append(list, n)
		}
	}
	return list
}

// Root returns the prefix of the namespace that a reference of LIST lies in:
// RFC 3501 section 6.3.8, the question for the separator.
func (t *Tree) Root(ref string) string {
	for _, n := range t.spaces {
		if n.Prefix == "" {
			continue
		}
		if _, ok := n.cut(ref); ok || foldInbox(ref)+string(n.Separator) == n.Prefix {
			return n.Prefix
		}
	}
	return ""
}

// foldInbox writes INBOX, which is the same in any case, in capitals.
func foldInbox(name string) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

// cut takes the prefix off a name. An INBOX in front is the same in any case.
func (n *Namespace) cut(name string) (string, bool) {
	k := len(n.Prefix)
	if len(name) < k {
		return "", false
	}
	if len(n.Prefix) > 5 && n.Prefix[5] == n.Separator && strings.EqualFold(name[:5], n.Prefix[:5]) && strings.EqualFold(n.Prefix[:5], "INBOX") {
		return name[k:], name[5:k] == n.Prefix[5:]
	}
	return name[k:], name[:k] == n.Prefix
}

// find returns the namespace of a name, and the name as its store has it.
func (t *Tree) find(name string) (*Namespace, string, error) {
	if strings.EqualFold(name, "INBOX") {
		return t.inbox, "INBOX", nil
	}
	if name == "" {
		return nil, "", Refusal("[CANNOT] Invalid mailbox name: Name is empty")
	}
	for _, n := range t.spaces {
		if rest, ok := n.cut(name); ok {
			inner, err := n.inner(rest)
			return n, inner, err
		}
		if name+string(n.Separator) == n.Prefix {
			return nil, "", Refusal("Mailbox isn't selectable")
		}
	}
	text := "Client tried to access nonexistent namespace."
	if t.inbox.Prefix != "" {
		text += " (Mailbox name should probably be prefixed with: " + t.inbox.Prefix + ")"
	}
	return nil, "", Refusal(text)
}

// inner returns a store's name for one without its prefix.
func (n *Namespace) inner(rest string) (string, error) {
	switch {
	case rest == "" && n.Inbox, strings.EqualFold(rest, "INBOX") && n.Inbox:
		return "INBOX", nil
	case rest == "":
		return "", Refusal("Mailbox isn't selectable")
	case strings.EqualFold(rest, "INBOX"):
		return "", store.ErrNoMailbox // every store has one, but it is shown by its own namespace only
	}
	if why := n.bad(rest); why != "" {
		return "", Refusal("[CANNOT] Invalid mailbox name: " + why)
	}
	if n.Separator != '/' {
		rest = strings.ReplaceAll(rest, string(n.Separator), "/")
	}
	return rest, nil
}

// bad says what is wrong with a name, in Dovecot's words.
func (n *Namespace) bad(name string) string {
	sep := string(n.Separator)
	switch {
	case !utf8.ValidString(name):
		return "Not valid UTF-8"
	case strings.HasPrefix(name, sep):
		return "Begins with hierarchy separator"
	case strings.HasSuffix(name, sep):
		return "Ends with hierarchy separator"
	case strings.Contains(name, sep+sep):
		return "Has adjacent hierarchy separators"
	}
	for _, c := range []byte{n.Layout, '/'} {
		if c != n.Separator && strings.IndexByte(name, c) >= 0 {
			return "Name must not have '" + string(c) + "' characters"
		}
	}
	for part := range strings.SplitSeq(name, sep) {
		if part == "." || part == ".." {
			return "Contains '" + part + "' part"
		}
	}
	return ""
}

// outer returns the client's name for one of the store. ok is false for a name
// that cannot be said with this separator.
func (n *Namespace) outer(name string) (string, bool) {
	if n.Separator != '/' {
		if strings.IndexByte(name, n.Separator) >= 0 {
			return "", false
		}
		name = strings.ReplaceAll(name, "/", string(n.Separator))
	}
	return n.Prefix + name, true
}

// block returns what is configured of a folder, by its name in the store.
func (n *Namespace) block(inner string) *Mailbox {
	for i := range n.Mailboxes {
		m := &n.Mailboxes[i]
		if len(m.Name) == len(inner) && strings.ReplaceAll(m.Name, string(n.Separator), "/") == inner || inner == "INBOX" && strings.EqualFold(m.Name, inner) {
			return m
		}
	}
	return nil
}

// Same tells whether two names are one mailbox.
func (t *Tree) Same(a, b string) bool {
	na, sa, erra := t.find(a)
	nb, sb, errb := t.find(b)
	return erra == nil && errb == nil && na == nb && sa == sb
}

// Open opens a mailbox. One that is made automatically is made now.
func (t *Tree) Open(name string) (store.Mailbox, error) {
	n, inner, err := t.find(name)
	if err != nil {
		return nil, err
	}
	box, err := n.Store.Open(inner)
	if errors.Is(err, store.ErrNoMailbox) && n.auto(inner) {
		if err = n.Store.Create(inner); err == nil || errors.Is(err, store.ErrExists) {
			box, err = n.Store.Open(inner)
		}
	}
	return box, err
}

func (n *Namespace) auto(inner string) bool {
	m := n.block(inner)
	return m != nil && m.Create
}

// Create makes a mailbox. children says that the client named a place for
// folders only, with a separator at the end.
func (t *Tree) Create(name string, children bool) error {
	n, inner, err := t.find(name)
	if err != nil {
		return err
	}
	if inner == "INBOX" {
		return store.ErrExists
	}
	_ = children // Dovecot makes the mailbox all the same where the store allows both
	return n.Store.Create(inner)
}

// Delete removes a mailbox.
func (t *Tree) Delete(name string) error {
	n, inner, err := t.find(name)
	if err != nil {
		return err
	}
	if inner == "INBOX" {
		return Refusal("INBOX can't be deleted")
	}
	err = n.Store.Delete(inner)
	if errors.Is(err, store.ErrNoMailbox) && n.auto(inner) {
		return nil // it comes back with its next use
	}
	return err
}

// Rename renames a mailbox, within its namespace.
func (t *Tree) Rename(from, to string) error {
	nf, a, err := t.find(from)
	if err != nil {
		return err
	}
	nt, b, err := t.find(to)
	switch {
	case err != nil:
		return err
	case nf != nt:
		return Refusal("[CANNOT] Can't rename mailboxes across specified storages")
	case a == b:
		return Refusal("[ALREADYEXISTS] Can't rename mailbox to itself")
	case strings.HasPrefix(b, a+"/") && a != "INBOX":
		return Refusal("Can't rename mailbox under its own child")
	}
	return nf.Store.Rename(a, b)
}

// Subscribe adds a name to the subscriptions or takes it away.
func (t *Tree) Subscribe(name string, on bool) error {
	n, inner, err := t.find(name)
	if err != nil {
		return err
	}
	if n.Unsubscribing {
		if p := t.around(n); p != nil {
			if n, inner = p, strings.ReplaceAll(strings.TrimPrefix(name, p.Prefix), string(p.Separator), "/"); inner == "" {
				return store.ErrBadName
			}
		}
	}
	return n.Store.Subscribe(inner, on)
}

// around returns the namespace that keeps the subscriptions of n.
func (t *Tree) around(n *Namespace) *Namespace {
	for _, p := range t.spaces {
		if p != n && !p.Unsubscribing && strings.HasPrefix(n.Prefix, p.Prefix) {
			return p
		}
	}
	return nil
}

// IsPersonal tells whether a name lies in a namespace of one's own.
func (t *Tree) IsPersonal(name string) bool {
	n, _, err := t.find(name)
	return err == nil && n.Kind == Private
}
