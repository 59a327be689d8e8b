// Package notify watches the mailboxes that a client has named to NOTIFY (RFC 5465)
// and finds what there is to tell of them. The session alone writes: it is woken, and
// asks.
package notify

import (
	"slices"
	"strings"
	"time"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
)

// Limits of one session: mailboxes that are watched, which take a descriptor each,
// and how often names are looked at.
const (
	MaxBoxes  = 200
	namesTime = time.Second
)

// Names finds the mailboxes that a filter means.
type Names interface {
	Chosen(f syntax.Filter) ([]tree.Entry, error)
}

// Watcher is what one NOTIFY SET has asked for.
type Watcher struct {
	Wake     chan struct{} // gets a value when there may be something to tell
	Selected *syntax.Group // nil = as without NOTIFY
	Full     bool          // there are more mailboxes than MaxBoxes

	names  Names
	open   func(name string) (store.Mailbox, error)
	groups []syntax.Group
	boxes  map[string]*box
	known  map[string]tree.Entry // mailboxes whose names or subscriptions are told
	done   chan struct{}
}

// box is one mailbox that is watched.
type box struct {
	store.Mailbox
	group  *syntax.Group
	cancel func()
	last   Status
}

// Status is what is told of a mailbox that is not selected.
type Status struct {
	Name                      string
	Messages, UIDNext, Unseen uint32
	UIDValidity               uint32
	ModSeq                    uint64
}

// Changed is one name, or subscription, that has changed.
type Changed struct {
	tree.Entry
	Gone bool
}

// New begins to watch. Mailboxes that cannot be opened are passed over.
func New(n *syntax.Notify, names Names, open func(name string) (store.Mailbox, error)) (*Watcher, error) {
	w := &Watcher{Wake: make(chan struct{}, 1), names: names, open: open, boxes: map[string]*box{}, done: make(chan struct{})}
	poll := false
	for i := range n.Groups {
		g := &n.Groups[i]
		if g.Kind <= syntax.SelectedDelayed {
			w.Selected = g
			continue
		}
		w.groups = append(w.groups, *g)
		poll = poll || g.Names || g.Subs
	}
	if err := w.look(); err != nil {
		w.Close()
		return nil, err
	}
	var err error
	if w.known, err = w.entries(); err != nil {
		w.Close()
		return nil, err
	}
	if poll {
		go w.poll()
	}
	return w, nil
}

// look opens the mailboxes of the groups; the first group that means one counts.
func (w *Watcher) look() error {
	for i := range w.groups {
		g := &w.groups[i]
		list, err := w.names.Chosen(g.Filter)
		if err != nil {
			return err
		}
		for _, e := range list {
			if w.boxes[e.Name] != nil || e.NoSelect {
				continue
			}
			if len(w.boxes) >= MaxBoxes {
				w.Full = true
				return nil
			}
			w.add(e.Name, g)
		}
	}
	return nil
}

func (w *Watcher) add(name string, g *syntax.Group) {
	m, err := w.open(name)
	if err != nil {
		return
	}
	b := &box{Mailbox: m, group: g, cancel: func() {}}
	if g.Messages {
		var changed <-chan struct{}
		changed, b.cancel = m.Watch()
		go w.forward(changed)
	}
	b.last, _ = b.status(name)
	w.boxes[name] = b
}

// forward wakes the session when a mailbox changes.
func (w *Watcher) forward(changed <-chan struct{}) {
	for {
		select {
		case <-changed:
			w.wake()
		case <-w.done:
			return
		}
	}
}

func (w *Watcher) poll() {
	t := time.NewTicker(namesTime)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			w.wake()
		case <-w.done:
			return
		}
	}
}

func (w *Watcher) wake() {
	select {
	case w.Wake <- struct{}{}:
	default: // it has been told already
	}
}

// Close ends the watch and gives the mailboxes back.
func (w *Watcher) Close() {
	close(w.done)
	for _, b := range w.boxes {
		b.cancel()
		b.Close()
	}
}

func (b *box) status(name string) (Status, error) {
	snap, err := b.Sync()
	if err != nil {
		return b.last, err
	}
	s := Status{Name: name, Messages: uint32(len(snap.Msgs)), UIDNext: snap.UIDNext, UIDValidity: snap.UIDValidity, ModSeq: snap.ModSeq}
	for i := range snap.Msgs {
		if snap.Msgs[i].Flags&store.Seen == 0 {
			s.Unseen++
		}
	}
	return s, nil
}

// All returns what is known of every mailbox whose messages are told, but for the
// selected one, in order of names.
func (w *Watcher) All(selected string) (list []Status) {
	for name, b := range w.boxes {
		if b.group.Messages && name != selected {
			list = append(list, b.last)
		}
	}
	return sorted(list)
}

// News returns the mailboxes, but for the selected one, whose messages have changed
// since they were told.
func (w *Watcher) News(selected string) (list []Status) {
	for name, b := range w.boxes {
		if !b.group.Messages {
			continue
		}
		now, err := b.status(name)
		if err != nil {
			continue
		}
		before := b.last
		b.last = now
		if !b.group.Flags { // flags alone are no news
			before.Unseen, before.ModSeq = now.Unseen, now.ModSeq
		}
		if before != now && name != selected {
			list = append(list, now)
		}
	}
	return sorted(list)
}

// entries returns the mailboxes whose names or subscriptions are told.
func (w *Watcher) entries() (map[string]tree.Entry, error) {
	all := map[string]tree.Entry{}
	for i := range w.groups {
		g := &w.groups[i]
		if !g.Names && !g.Subs {
			continue
		}
		list, err := w.names.Chosen(g.Filter)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if !g.Subs {
				e.Subscribed = false
			}
			if _, ok := all[e.Name]; !ok {
				all[e.Name] = e
			}
		}
	}
	return all, nil
}

// Renamed returns the names that have come, gone, or been subscribed to.
func (w *Watcher) Renamed() (list []Changed) {
	now, err := w.entries()
	if err != nil {
		return nil
	}
	for name, e := range w.known {
		if _, ok := now[name]; !ok {
			list = append(list, Changed{Entry: e, Gone: true})
			if b := w.boxes[name]; b != nil {
				b.cancel()
				b.Close()
				delete(w.boxes, name)
			}
		}
	}
	for name, e := range now {
		if before, ok := w.known[name]; !ok || before.Subscribed != e.Subscribed {
			list = append(list, Changed{Entry: e})
		}
	}
	if w.known = now; len(list) > 0 {
		w.look()
	}
	return sortedNames(list)
}

func sorted(list []Status) []Status {
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func sortedNames(list []Changed) []Changed {
	slices.SortFunc(list, func(a, b Changed) int { return strings.Compare(a.Name, b.Name) })
	return list
}
