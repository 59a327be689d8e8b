package folders

import (
	"strings"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
)

// Chosen returns the mailboxes, in the order of LIST, that a filter means: RFC 5465
// section 6. Those of the selected mailbox are not among them.
func (c *Commands) Chosen(f syntax.Filter) ([]tree.Entry, error) {
	var names []string
	for _, n := range f.Names {
		name, err := c.decode(n)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	list, err := c.Tree.List([]string{"*"})
	if err != nil {
		return nil, err
	}
	var chosen []tree.Entry
	for i := range list {
		if !list[i].Missing && c.chooses(f, names, &list[i]) {
			chosen = append(chosen, list[i])
		}
	}
	return chosen, nil
}

// chooses tells whether a filter means a mailbox.
func (c *Commands) chooses(f syntax.Filter, names []string, e *tree.Entry) bool {
	switch f.Kind {
	case syntax.Inboxes:
		return e.Name == "INBOX"
	case syntax.Personal:
		return c.Tree.IsPersonal(e.Name)
	case syntax.Subscribed:
		return e.Subscribed
	}
	for _, n := range names {
		if strings.EqualFold(n, "INBOX") {
			n = "INBOX"
		}
		below, under := strings.CutPrefix(e.Name, n+string(c.Tree.Separator()))
		switch {
		case e.Name == n:
			return true
		case f.Kind == syntax.Subtree && under:
			return true
		case f.Kind == syntax.SubtreeOne && under && strings.IndexByte(below, c.Tree.Separator()) < 0:
			return true
		}
	}
	return false
}
