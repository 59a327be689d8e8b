package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/sys/disk"
)

// rounds is how often a change is tried again on files that others rename at
// the same moment.
const rounds = 5

// SetFlags implements store.Mailbox: files get other names.
func (m *mailbox) SetFlags(uids []uint32, op store.Op, f store.Flag, words []string) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return nil, store.ErrNoMailbox
	}
	// Keywords live in names that others may have changed: only the latest counts.
	if err := m.refresh(); err != nil {
		return nil, err
	}
	kw, err := m.keys.Claim(words, disk.LockOptions{Wait: m.store.o.LockTimeout, Stale: uidlist.StaleLock})
	if err != nil {
		return nil, err
	}
	for range rounds {
		if uids, err = m.setFlags(uids, op, f, kw); err != nil {
			return nil, err
		}
		if len(uids) == 0 {
			break
		}
		if err := m.scanAll(); err != nil {
			return nil, err
		}
	}
	return m.Snapshot(), nil
}

// scanAll reads everything, whatever the folders' times say.
func (m *mailbox) scanAll() error {
	old := *m.state.Load()
	old.dirs = [2]disk.ID{}
	return m.scan(&old)
}

// setFlags changes flags once, and returns the messages whose files have got
// another name meanwhile.
func (m *mailbox) setFlags(uids []uint32, op store.Op, f store.Flag, kw uint64) (missed []uint32, err error) {
	s := *m.state.Load()
	n := *s.snap
	n.Msgs, n.Keywords, s.files = slices.Clone(n.Msgs), m.keys.Words, slices.Clone(s.files)
	seq, changed := nextModSeq(s.snap), false
	for _, uid := range uids {
		i := find(&n, uid)
		if i < 0 {
			continue
		}
		msg := n.Msgs[i]
		if !apply(&msg, op, f, kw) {
			continue
		}
		msg.ModSeq = seq
		switch err := m.rename(&s.files[i], &msg); {
		case errors.Is(err, fs.ErrNotExist):
			missed = append(missed, uid)
			continue
		case err != nil:
			return nil, err
		}
		n.Msgs[i], changed = msg, true
	}
	if !changed {
		return missed, nil
	}
	n.ModSeq, s.snap = seq, &n
	m.unsync, s.keys = true, m.keys.ID
	m.adopt(&s, inNew, inCur)
	m.publish(&s)
	return missed, nil
}

// rename gives a message's file the name of its flags; it stands in cur then.
func (m *mailbox) rename(f *file, msg *store.Msg) error {
	_, letters, other := uidlist.FlagsOf(f.name)
	to := file{f.uid, inCur, uidlist.WithFlags(uidlist.Base(f.name), msg.Flags, m.keys.Letters(msg.Keywords)|m.keys.Unknown(letters), other)}
	if to == *f {
		return nil // only words without a letter changed
	}
	if err := disk.Rename(m.at(f), m.at(&to)); err != nil {
		return err
	}
	*f = to
	return nil
}

// find returns the index of a UID, -1 when there is none.
func find(s *store.Snapshot, uid uint32) int {
	i, ok := slices.BinarySearchFunc(s.Msgs, uid, func(m store.Msg, uid uint32) int { return int(int64(m.UID) - int64(uid)) })
	if !ok {
		return -1
	}
	return i
}

// apply changes one message's flags and tells whether that made a difference.
func apply(m *store.Msg, op store.Op, f store.Flag, kw uint64) bool {
	flags, words := f, kw
	switch op {
	case store.Add:
		flags, words = m.Flags|f, m.Keywords|kw
	case store.Remove:
		flags, words = m.Flags&^f, m.Keywords&^kw
	}
	if flags == m.Flags && words == m.Keywords {
		return false
	}
	m.Flags, m.Keywords = flags, words
	return true
}

// Expunge implements store.Mailbox. The list of UIDs keeps the lines until a
// quarter of it is dead.
func (m *mailbox) Expunge(uids []uint32) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(uids) == 0 || m.gone {
		return m.Snapshot(), nil
	}
	var err error
	for range rounds {
		if uids, err = m.expunge(uids); err != nil {
			return nil, err
		}
		if len(uids) == 0 {
			break
		}
		if err := m.scanAll(); err != nil {
			return nil, err
		}
	}
	return m.Snapshot(), nil
}

// expunge removes files once, and returns the messages whose files have got
// another name meanwhile.
func (m *mailbox) expunge(uids []uint32) (missed []uint32, err error) {
	s := *m.state.Load()
	drop := make(map[uint32]bool, len(uids))
	var freed, count int64
	for _, uid := range uids {
		i := find(s.snap, uid)
		if i < 0 {
			continue
		}
		if err = os.Remove(m.at(&s.files[i])); errors.Is(err, fs.ErrNotExist) {
			missed, err = append(missed, uid), nil
			continue
		}
		if err != nil {
			break
		}
		drop[uid] = true
		freed, count = freed+m.octets(&s, i), count+1
	}
	if len(drop) == 0 {
		return missed, err
	}
	n := *s.snap
	n.Msgs, s.files = without(n.Msgs, s.files, drop)
	n.ModSeq = nextModSeq(s.snap)
	s.snap = &n
	m.adopt(&s, inNew, inCur)
	m.publish(&s)
	m.count(-freed, -count)
	return missed, errors.Join(err, m.syncDirs([2]bool{true, true}))
}

// syncDirs brings names in folders to disk.
func (m *mailbox) syncDirs(which [2]bool) (err error) {
	for d, yes := range which {
		if yes {
			err = errors.Join(err, disk.SyncDir(filepath.Join(m.path, folders[d])))
		}
	}
	return err
}

// octets is what a message took; a quota that nobody keeps is not asked for.
func (m *mailbox) octets(s *state, i int) int64 {
	if msg := &s.snap.Msgs[i]; msg.Size != store.Unknown {
		return msg.Raw
	}
	size, _ := uidlist.Sizes(uidlist.Base(s.files[i].name))
	return max(size, 0)
}

// without returns messages and files but those in drop.
func without(msgs []store.Msg, files []file, drop map[uint32]bool) ([]store.Msg, []file) {
	left, place := make([]store.Msg, 0, len(msgs)), make([]file, 0, len(files))
	for i := range msgs {
		if !drop[msgs[i].UID] {
			left, place = append(left, msgs[i]), append(place, files[i])
		}
	}
	return left, place
}

// count keeps the sum of a Maildir++ quota right, where somebody keeps one:
// every change is a line "OCTETS MESSAGES" behind the sum.
func (m *mailbox) count(octets, messages int64) {
	f, err := disk.OpenTrusted(filepath.Join(m.store.o.Root, "maildirsize"), os.O_WRONLY|os.O_APPEND, -1)
	if err != nil {
		return // nobody does, or it is not ours: whoever does counts again
	}
	defer f.Close()
	fmt.Fprintf(f, "%d %d\n", octets, messages)
}
