// Package audit is a store that tells what is done to the mail in it: Dovecot's
// plugin mail_log writes these lines for administrators who are asked where a
// message went. It does not log itself; cmd/mrad gives it the functions that
// write a line and that take it.
package audit

import (
	"io"
	"sort"

	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// Kind is a set of things that can be done.
type Kind uint16

// The members of Kind, by the names that mail_log_events has for them.
const (
	Delete Kind = 1 << iota // a message got \Deleted
	Undelete
	Expunge
	Save
	Copy
	MailboxCreate
	MailboxDelete
	MailboxRename
	FlagChange // of another flag or a keyword
)

// Event is one thing that was done.
type Event struct {
	Kind  Kind
	Box   string // the folder's name
	Other string // Copy: the folder that the message comes from; MailboxRename: the new name
	// Msg is the message as it is afterwards; of a kind that concerns no message its
	// UID is 0. Words are its keywords.
	Msg   store.Msg
	Words []string
	// Read opens the message.
	Read func() (io.ReadCloser, error)
}

// Options say what is told.
type Options struct {
	Kinds Kind
	Name  func(folder string) string // the folder's name for people
	// Line writes an event; it is asked while the message is still there. Tell takes
	// the line, once the event has happened.
	Line func(Event) string
	Tell func(line string)
}

// New returns st with its events told. Its mailboxes are what st's are: those that
// keep an index or copy without reading do so still.
func New(st store.Store, o Options) store.Store { return &audited{st, o} }

type audited struct {
	store.Store
	o Options
}

func (a *audited) wants(k Kind) bool { return a.o.Kinds&k != 0 }

func (a *audited) folder(k Kind, name, other string) {
	if a.wants(k) {
		a.o.Tell(a.o.Line(Event{Kind: k, Box: name, Other: other}))
	}
}

// Open implements store.Store.
func (a *audited) Open(name string) (store.Mailbox, error) {
	b, err := a.Store.Open(name)
	if err != nil {
		return nil, err
	}
	box := &mailbox{Mailbox: b, a: a, name: a.o.Name(name)}
	if f, ok := b.(filed); ok {
		return &files{box, f}, nil
	}
	return box, nil
}

// Create implements store.Store.
func (a *audited) Create(name string) error {
	err := a.Store.Create(name)
	if err == nil {
		a.folder(MailboxCreate, a.o.Name(name), "")
	}
	return err
}

// Delete implements store.Store: the messages of the folder go with it.
func (a *audited) Delete(name string) error {
	var lines []string
	if a.wants(Expunge) {
		lines = a.contents(name)
	}
	err := a.Store.Delete(name)
	if err != nil {
		return err
	}
	for _, l := range lines {
		a.o.Tell(l)
	}
	a.folder(MailboxDelete, a.o.Name(name), "")
	return nil
}

// contents writes the lines of all messages of a folder that is about to go.
func (a *audited) contents(name string) []string {
	b, err := a.Store.Open(name)
	if err != nil {
		return nil
	}
	defer b.Close()
	if _, err := b.Sync(); err != nil {
		return nil
	}
	snap, err := b.Look(nil)
	if err != nil {
		return nil
	}
	box := &mailbox{Mailbox: b, a: a, name: a.o.Name(name)}
	lines := make([]string, len(snap.Msgs))
	for i := range snap.Msgs {
		lines[i] = box.line(Expunge, "", snap, &snap.Msgs[i])
	}
	return lines
}

// Rename implements store.Store.
func (a *audited) Rename(from, to string) error {
	err := a.Store.Rename(from, to)
	if err == nil {
		a.folder(MailboxRename, a.o.Name(from), a.o.Name(to))
	}
	return err
}

// mailbox is a mailbox whose events are told.
type mailbox struct {
	store.Mailbox
	a    *audited
	name string
	// from is the folder that the next messages are copies from: the store could not
	// copy them itself, so that they come by Append.
	from string
}

// filed is a mailbox whose messages are files, as a Maildir's.
type filed interface {
	SaveDate(uid uint32) (int64, error)
	POP3(uid uint32) (file, saved string)
}

// files is a mailbox that has what filed asks for, too.
type files struct {
	*mailbox
	filed
}

// Unwrap returns the mailbox itself.
func (b *mailbox) Unwrap() store.Mailbox { return b.Mailbox }

// Index returns the mailbox's index, nil where it has none.
func (b *mailbox) Index() *index.File {
	if x, ok := b.Mailbox.(interface{ Index() *index.File }); ok {
		return x.Index()
	}
	return nil
}

// GUID returns the id that the mailbox keeps when it is renamed, "" where it has none.
func (b *mailbox) GUID() (string, error) {
	if x, ok := b.Mailbox.(interface{ GUID() (string, error) }); ok {
		return x.GUID()
	}
	return "", nil
}

// find returns a message of a snapshot, nil for one that is gone.
func find(s *store.Snapshot, uid uint32) *store.Msg {
	i := sort.Search(len(s.Msgs), func(i int) bool { return s.Msgs[i].UID >= uid })
	if i == len(s.Msgs) || s.Msgs[i].UID != uid {
		return nil
	}
	return &s.Msgs[i]
}

func (b *mailbox) line(k Kind, other string, s *store.Snapshot, m *store.Msg) string {
	uid := m.UID
	return b.a.o.Line(Event{Kind: k, Box: b.name, Other: other, Msg: *m, Words: s.Words(m.Keywords),
		Read: func() (io.ReadCloser, error) { return b.Read(uid, 0, -1) }})
}

// SetFlags implements store.Mailbox.
func (b *mailbox) SetFlags(uids []uint32, op store.Op, f store.Flag, keywords []string) (*store.Snapshot, error) {
	before := b.Snapshot()
	after, err := b.Mailbox.SetFlags(uids, op, f, keywords)
	if err != nil || !b.a.wants(Delete|Undelete|FlagChange) {
		return after, err
	}
	for _, uid := range uids {
		if old, m := find(before, uid), find(after, uid); old != nil && m != nil {
			b.changed(before, after, old, m)
		}
	}
	return after, nil
}

// changed tells what a change of flags means; that of keywords is a second one, as
// with Dovecot.
func (b *mailbox) changed(before, after *store.Snapshot, old, m *store.Msg) {
	tell := func(k Kind, s *store.Snapshot, m store.Msg) {
		if b.a.wants(k) {
			b.a.o.Tell(b.line(k, "", s, &m))
		}
	}
	flags := *m
	flags.Keywords = old.Keywords
	switch changed := old.Flags ^ m.Flags; {
	case changed&store.Deleted != 0 && m.Flags&store.Deleted != 0:
		tell(Delete, before, flags)
	case changed&store.Deleted != 0:
		tell(Undelete, before, flags)
	case changed != 0:
		tell(FlagChange, before, flags)
	}
	if old.Keywords != m.Keywords {
		tell(FlagChange, after, *m)
	}
}

// Expunge implements store.Mailbox.
func (b *mailbox) Expunge(uids []uint32) (*store.Snapshot, error) {
	if !b.a.wants(Expunge) {
		return b.Mailbox.Expunge(uids)
	}
	lines := make([]string, len(uids))
	if before, err := b.Look(uids); err == nil {
		for i, uid := range uids {
			if m := find(before, uid); m != nil {
				lines[i] = b.line(Expunge, "", before, m)
			}
		}
	}
	after, err := b.Mailbox.Expunge(uids)
	if err != nil {
		return after, err
	}
	for i, uid := range uids {
		if lines[i] != "" && find(after, uid) == nil {
			b.a.o.Tell(lines[i])
		}
	}
	return after, nil
}

// Append implements store.Mailbox.
func (b *mailbox) Append(msgs []store.New) ([]uint32, error) {
	uids, err := b.Mailbox.Append(msgs)
	from := b.from
	b.from = ""
	switch {
	case err != nil:
	case from != "":
		b.arrived(Copy, from, uids)
	default:
		b.arrived(Save, "", uids)
	}
	return uids, err
}

// arrived tells of messages that are here now.
func (b *mailbox) arrived(k Kind, from string, uids []uint32) {
	if !b.a.wants(k) {
		return
	}
	snap, err := b.Look(uids)
	if err != nil {
		return
	}
	for _, uid := range uids {
		if m := find(snap, uid); m != nil {
			b.a.o.Tell(b.line(k, from, snap, m))
		}
	}
}

// CopyTo implements store.Copier.
func (b *mailbox) CopyTo(dst store.Mailbox, uids []uint32) ([]uint32, bool, error) {
	var to *mailbox
	switch x := dst.(type) {
	case *mailbox:
		to, dst = x, x.Mailbox
	case *files:
		to, dst = x.mailbox, x.Mailbox
	}
	c, ok := b.Mailbox.(store.Copier)
	if ok {
		copied, done, err := c.CopyTo(dst, uids)
		if done || err != nil {
			if err == nil && to != nil {
				to.arrived(Copy, b.name, copied)
			}
			return copied, done, err
		}
	}
	if to != nil {
		to.from = b.name
	}
	return nil, false, nil
}
