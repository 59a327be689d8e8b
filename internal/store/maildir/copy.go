package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/sys/disk"
)

// CopyTo implements store.Copier: between Maildirs of one file system a copy is
// another name of the file.
func (m *mailbox) CopyTo(dst store.Mailbox, uids []uint32) (copied []uint32, ok bool, err error) {
	to, ok := dst.(*mailbox)
	if !ok {
		return nil, false, nil
	}
	for range rounds {
		copied, ok, err = m.copyOnce(to, uids)
		if !errors.Is(err, fs.ErrNotExist) {
			return copied, ok, err
		}
		if err := m.lookAgain(); err != nil { // others have renamed a file meanwhile
			return nil, true, err
		}
	}
	return nil, true, store.ErrNoMessage
}

func (m *mailbox) copyOnce(to *mailbox, uids []uint32) (copied []uint32, ok bool, err error) {
	if _, err := m.Look(uids); err != nil { // the new names tell the sizes
		return nil, true, err
	}
	from := m.state.Load()
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.gone {
		return nil, true, store.ErrNoMailbox
	}
	if err := to.refresh(); err != nil {
		return nil, true, err
	}
	a := &addition{m: to}
	if err = a.linkAll(m, from, uids); err == nil {
		copied, err = a.number()
	}
	if err != nil {
		a.undo()
		return nil, !errors.Is(err, errOtherDisk), clean(err)
	}
	to.count(a.octets, int64(len(copied)))
	return copied, true, nil
}

// clean takes errOtherDisk away, which ok tells.
func clean(err error) error {
	if errors.Is(err, errOtherDisk) {
		return nil
	}
	return err
}

// errOtherDisk says that a file cannot have a name in the other mailbox.
var errOtherDisk = errors.New("no link between these folders")

// linkAll gives the messages' files names in the mailbox that they go to.
func (a *addition) linkAll(m *mailbox, from *state, uids []uint32) error {
	for _, uid := range uids {
		i := find(from.snap, uid)
		if i < 0 || from.snap.Msgs[i].Size == store.Unknown {
			return store.ErrNoMessage
		}
		if err := a.link(m, from, i); err != nil {
			return err
		}
	}
	return nil
}

func (a *addition) link(m *mailbox, from *state, i int) error {
	msg := from.snap.Msgs[i]
	kw, err := a.m.keys.Claim(from.snap.Words(msg.Keywords), disk.LockOptions{Wait: a.m.store.o.LockTimeout, Stale: uidlist.StaleLock})
	if err != nil {
		return err
	}
	f := added{msg: msg, name: fmt.Sprintf("%s,S=%d,W=%d", uidlist.Unique(), msg.Raw, msg.Size)}
	f.msg.Keywords = kw
	if a.inCur(msg.Flags, kw) {
		f.name, f.dir = uidlist.WithFlags(f.name, msg.Flags, a.m.keys.Letters(kw), ""), inCur
	}
	f.path = filepath.Join(a.m.path, folders[f.dir], f.name)
	if err = os.Link(m.at(&from.files[i]), f.path); disk.OtherDisk(err) {
		return errOtherDisk
	}
	if err != nil {
		return err
	}
	a.files, a.octets = append(a.files, f), a.octets+msg.Raw
	a.touched[f.dir] = true
	return nil
}
