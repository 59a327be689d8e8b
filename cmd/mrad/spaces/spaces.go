// Package spaces makes the namespaces of a session (RFC 2342) out of the
// namespace { } blocks of dovecot.conf. The parent reads the blocks and sends
// them to a user's process, which opens a store for each.
package spaces

import (
	"fmt"
	"strings"

	"packetboat/internal/auth"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/config"
)

// Space is one namespace, in a form that goes over a channel.
type Space struct {
	Prefix        string
	Separator     string // empty = that of the location
	Location      string // with variables; empty = mail_location
	Public        bool
	Inbox         bool
	Hidden        bool
	List          string // yes, no, children
	Subscriptions bool
	Mailboxes     []tree.Mailbox
}

// Read returns the namespaces of a configuration. Without a block there is one.
func Read(conf *config.Dovecot) ([]Space, error) {
	blocks, err := conf.Namespaces()
	if err != nil {
		return nil, err
	}
	var list []Space
	for _, n := range blocks {
		s := Space{Prefix: n.Prefix, Separator: n.Separator, Location: n.Location, Public: n.Type == "public", Inbox: n.Inbox,
			Hidden: n.Hidden, List: n.List, Subscriptions: n.Subscriptions}
		for _, m := range n.Mailboxes {
			s.Mailboxes = append(s.Mailboxes, tree.Mailbox{Name: m.Name, Use: m.SpecialUse,
				Create: m.Auto == "create" || m.Auto == "subscribe", Subscribe: m.Auto == "subscribe"})
		}
		list = append(list, s)
	}
	return list, nil
}

// User is whose namespaces are opened.
type User struct {
	Name string
	Home string
	Mail string // mail_location with all variables expanded
}

// Open opens the stores of all namespaces with open, which may be asked for one
// location several times. The locations that were opened are returned also with
// an error, so that the caller can give them back.
func Open(list []Space, u User, open func(where string) (store.Store, error)) (out []tree.Namespace, opened []string, err error) {
	for i := range list {
		s := &list[i]
		where := u.Mail
		if s.Location != "" && !s.Inbox {
			if where, err = u.expand(s.Location); err != nil {
				return nil, opened, err
			}
		}
		loc, err := location.Parse(where)
		if err != nil {
			return nil, opened, fmt.Errorf("namespace %s: %w", s.Prefix, err)
		}
		st, err := open(where)
		if err != nil {
			return nil, opened, fmt.Errorf("namespace %s: %w", s.Prefix, err)
		}
		opened = append(opened, where)
		out = append(out, s.namespace(st, loc.Separator()))
	}
	return out, opened, nil
}

// namespace joins a space with its store.
func (s *Space) namespace(st store.Store, layout byte) tree.Namespace {
	n := tree.Namespace{Store: st, Prefix: s.Prefix, Separator: layout, Layout: layout, Inbox: s.Inbox, Hidden: s.Hidden,
		Unlisted: s.List == "no", ChildrenOnly: s.List == "children", Unsubscribing: !s.Subscriptions, Mailboxes: s.Mailboxes}
	if s.Separator != "" {
		n.Separator = s.Separator[0]
	}
	if s.Public {
		n.Kind = tree.Public
	}
	return n
}

// expand puts the user into a location. "~" is his home where a path begins.
func (u *User) expand(pattern string) (string, error) {
	where, err := auth.ExpandPath(pattern, &auth.Query{User: u.Name, Home: u.Home, Service: "imap"})
	if err != nil {
		return "", err
	}
	parts := strings.Split(where, ":")
	for i, p := range parts {
		key, path, ok := strings.Cut(p, "=")
		if !ok {
			key, path = "", p
		} else {
			key += "="
		}
		if path != "~" && !strings.HasPrefix(path, "~/") {
			continue
		}
		if u.Home == "" {
			return "", fmt.Errorf("location %s: the user has no home", pattern)
		}
		parts[i] = key + u.Home + path[1:]
	}
	return strings.Join(parts, ":"), nil
}
