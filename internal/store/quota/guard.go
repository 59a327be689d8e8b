package quota

import (
	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// guard is a store behind the limits of its user.
type guard struct {
	store.Store
	a  *Account
	sp *space
}

// Open implements store.Store.
func (g *guard) Open(name string) (store.Mailbox, error) {
	box, err := g.Store.Open(name)
	if err != nil {
		return nil, err
	}
	return &guarded{Mailbox: box, a: g.a, sp: g.sp, inner: name, name: g.sp.name(name)}, nil
}

// Delete implements store.Store: what was in the folder counts no more.
func (g *guard) Delete(name string) error {
	var octets, virtual, n int64
	if box, err := g.Store.Open(name); err == nil {
		if _, err := box.Sync(); err == nil {
			if snap, err := box.Look(nil); err == nil {
				octets, virtual, n = total(snap, nil)
			}
		}
		box.Close()
	}
	if err := g.Store.Delete(name); err != nil {
		return err
	}
	g.a.Changed(g.sp.name(name), -octets, -virtual, -n, false)
	return nil
}

// total adds up messages of a snapshot; nil = all.
func total(snap *store.Snapshot, uids []uint32) (octets, virtual, n int64) {
	var want map[uint32]bool
	if uids != nil {
		want = make(map[uint32]bool, len(uids))
		for _, u := range uids {
			want[u] = true
		}
	}
	for i := range snap.Msgs {
		if m := &snap.Msgs[i]; want == nil || want[m.UID] {
			octets, virtual, n = octets+max(m.Raw, 0), virtual+max(m.Size, 0), n+1
		}
	}
	return octets, virtual, n
}

// guarded is a mailbox behind the limits.
type guarded struct {
	store.Mailbox
	a      *Account
	sp     *space
	inner  string // name in the store
	name   string
	moving bool // what comes is taken away elsewhere
}

// Index returns the mailbox's index, nil where it has none.
func (b *guarded) Index() *index.File {
	if x, ok := b.Mailbox.(interface{ Index() *index.File }); ok {
		return x.Index()
	}
	return nil
}

// Unwrap returns the mailbox itself.
func (b *guarded) Unwrap() store.Mailbox { return b.Mailbox }

// Fits says whether messages of these sizes, with CRLF line ends, may be appended:
// a client is refused before it sends them.
func (b *guarded) Fits(sizes []int64) error { return b.a.Check(b.name, sizes, false) }

// Bounded is a mailbox that says before it is given messages whether they fit.
type Bounded interface {
	Fits(sizes []int64) error
}

// Moving returns box for messages that are taken away from another mailbox of the
// same user as soon as they are here: they may come although there is no room.
func Moving(box, from store.Mailbox) store.Mailbox {
	b, ok1 := box.(*guarded)
	f, ok2 := from.(*guarded)
	if !ok1 || !ok2 || b.a != f.a || b.a.differ(b, f) {
		return box
	}
	moved := *b
	moved.moving = true
	return &moved
}

// differ tells whether a root counts one of two mailboxes and not the other, or not
// with the same limits.
func (a *Account) differ(x, y *guarded) bool {
	for _, r := range a.c.Roots {
		_, ignored := r.limits(r.Limits, x.name)
		_, other := r.limits(r.Limits, y.name)
		if ignored != other || x.sp.counts(r) != y.sp.counts(r) {
			return true
		}
	}
	return false
}

// Append implements store.Mailbox. A body that does not tell its size is not held
// to the limits: a command of an administrator's writes it.
func (b *guarded) Append(msgs []store.New) ([]uint32, error) {
	var sizes []int64
	for i := range msgs {
		if r, ok := msgs[i].Body.(interface{ Size() int64 }); ok {
			sizes = append(sizes, r.Size())
		}
	}
	if !b.moving {
		if err := b.Fits(sizes); err != nil {
			return nil, err
		}
	}
	uids, err := b.Mailbox.Append(msgs)
	if err == nil {
		b.added(uids)
	}
	return uids, err
}

func (b *guarded) added(uids []uint32) {
	snap, err := b.Mailbox.Look(uids)
	if err != nil {
		return
	}
	octets, virtual, n := total(snap, uids)
	b.a.Changed(b.name, octets, virtual, n, true)
}

// CopyTo implements store.Copier.
func (b *guarded) CopyTo(dst store.Mailbox, uids []uint32) ([]uint32, bool, error) {
	to, ok := dst.(*guarded)
	if !ok {
		return b.copyTo(dst, uids)
	}
	if !to.moving {
		sizes, err := b.sizes(uids)
		if err == nil {
			err = to.Fits(sizes)
		}
		if err != nil {
			return nil, true, err
		}
	}
	copied, ok, err := b.copyTo(to.Mailbox, uids)
	if ok && err == nil {
		to.added(copied)
	}
	return copied, ok, err
}

// copyTo copies where the store itself can.
func (b *guarded) copyTo(dst store.Mailbox, uids []uint32) ([]uint32, bool, error) {
	if c, ok := b.Mailbox.(store.Copier); ok {
		return c.CopyTo(dst, uids)
	}
	return nil, false, nil
}

func (b *guarded) sizes(uids []uint32) ([]int64, error) {
	snap, err := b.Mailbox.Look(uids)
	if err != nil {
		return nil, err
	}
	want := make(map[uint32]bool, len(uids))
	for _, u := range uids {
		want[u] = true
	}
	var list []int64
	for i := range snap.Msgs {
		if want[snap.Msgs[i].UID] {
			list = append(list, max(snap.Msgs[i].Size, 0))
		}
	}
	return list, nil
}

// Expunge implements store.Mailbox.
func (b *guarded) Expunge(uids []uint32) (*store.Snapshot, error) {
	if !b.a.keeps() {
		return b.Mailbox.Expunge(uids)
	}
	before, lookErr := b.Mailbox.Look(uids)
	snap, err := b.Mailbox.Expunge(uids)
	if err == nil && lookErr == nil {
		octets, virtual, n := total(before, uids)
		left, leftVirtual, m := total(snap, uids) // other writers may have kept some
		b.a.Changed(b.name, left-octets, leftVirtual-virtual, m-n, true)
	}
	return snap, err
}

// keeps tells whether anybody wants to know what goes.
func (a *Account) keeps() bool {
	for _, r := range a.c.Roots {
		if r.Driver != Count && r.Driver != Dirsize || len(r.Warnings) > 0 {
			return true
		}
	}
	return false
}
