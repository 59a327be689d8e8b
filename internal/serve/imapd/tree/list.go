package tree

import (
	"strings"

	"packetboat/internal/store"
)

// Entry is one name of the tree.
type Entry struct {
	Name        string // the client's, UTF-8
	Missing     bool   // only a subscription is left of it
	NoSelect    bool
	NoInferiors bool
	HasChildren bool
	Subscribed  bool
	Use         []string // special uses
}

// lister builds a list.
type lister struct {
	tree *Tree
	list []Entry
	at   map[string]int // by name
}

// List returns all names, also those of unlisted namespaces whose prefix is
// named by the beginning of a pattern, and every subscription.
func (t *Tree) List(patterns []string) ([]Entry, error) {
	l := &lister{tree: t, at: map[string]int{}}
	for i := len(t.spaces) - 1; i >= 0; i-- {
		n := t.spaces[i]
		if n.Unlisted && !names(patterns, n.Prefix) {
			continue
		}
		if err := l.space(n); err != nil {
			return nil, err
		}
	}
	l.children()
	return l.list, nil
}

// names tells whether some pattern begins with a prefix.
func names(patterns []string, prefix string) bool {
	for _, p := range patterns {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	return false
}

// space adds a namespace.
func (l *lister) space(n *Namespace) error {
	folders, err := n.Store.List()
	if err != nil {
		return err
	}
	if n.Inbox {
		l.add(Entry{Name: "INBOX"})
	}
	shown := len(l.list)
	for _, f := range folders {
		l.folder(n, f)
	}
	for i := range n.Mailboxes {
		l.block(n, &n.Mailboxes[i])
	}
	root := strings.TrimSuffix(n.Prefix, string(n.Separator))
	if root != "" && !n.Inbox && (!n.ChildrenOnly || len(l.list) > shown) {
		l.add(Entry{Name: root, NoSelect: true})
	}
	return nil
}

// folder adds what the store lists.
func (l *lister) folder(n *Namespace, f store.Folder) {
	e := Entry{NoSelect: f.NoSelect, NoInferiors: f.NoInferiors, HasChildren: f.HasChildren, Subscribed: f.Subscribed,
		Missing: f.NoSelect && f.Subscribed && !f.HasChildren}
	var ok bool
	if f.Name == "INBOX" {
		if !n.Inbox {
			return
		}
		e.Name, ok = "INBOX", true
	} else {
		e.Name, ok = n.outer(f.Name)
	}
	if ok {
		l.add(e)
	}
}

// block adds what is configured of a folder.
func (l *lister) block(n *Namespace, m *Mailbox) {
	name := n.Prefix + m.Name
	if strings.EqualFold(m.Name, "INBOX") {
		name = "INBOX"
	}
	i, ok := l.at[name]
	if !ok || l.list[i].Missing && m.Create {
		if !m.Create {
			return
		}
		l.add(Entry{Name: name})
		i = l.at[name]
	}
	l.list[i].Use = m.Use
	l.list[i].Subscribed = l.list[i].Subscribed || m.Subscribe
}

// add adds a name, or what is new about one that is there: a subscription may
// stand in another namespace's list.
func (l *lister) add(e Entry) {
	i, ok := l.at[e.Name]
	if !ok {
		l.at[e.Name] = len(l.list)
		l.list = append(l.list, e)
		return
	}
	have := &l.list[i]
	have.Subscribed = have.Subscribed || e.Subscribed
	if have.Missing && !e.Missing {
		e.Subscribed, e.Use = have.Subscribed, have.Use
		*have = e
	}
	have.HasChildren = have.HasChildren || e.HasChildren
}

// children marks every name that has another one below it.
func (l *lister) children() {
	sep := l.tree.Separator()
	for i := range l.list {
		if l.list[i].Missing {
			continue
		}
		name := l.list[i].Name
		for k := strings.LastIndexByte(name, sep); k > 0; k = strings.LastIndexByte(name[:k], sep) {
			if p, ok := l.at[name[:k]]; ok {
				l.list[p].HasChildren = true
			}
		}
	}
}

// Exists tells whether a name stands in the tree.
func (t *Tree) Exists(name string) error {
	if _, _, err := t.find(name); err != nil {
		for _, n := range t.spaces {
			if name+string(n.Separator) == n.Prefix {
				return nil
			}
		}
		return err
	}
	list, err := t.List([]string{name})
	if err != nil {
		return err
	}
	for i := range list {
		if !list[i].Missing && t.Same(list[i].Name, name) {
			return nil
		}
	}
	return store.ErrNoMailbox
}
