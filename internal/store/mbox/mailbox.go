package mbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/dovecot"
	"packetboat/internal/store/index"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/store/mbox/known"
	"packetboat/internal/store/watch"
	"packetboat/internal/sys/disk"
)

// flushDelay is how long flag changes wait for more before they are written.
const flushDelay = 2 * time.Second

// mailbox is one mbox, shared by all sessions of the process.
//
// mu is held by whoever changes the mailbox or looks for changes; view by
// whoever reads the file, and alone by whoever moves octets in it. They are
// taken in this order. state is read without a lock.
type mailbox struct {
	store   *Store
	name    string
	path    string
	control string // folder of the cache, and of the journal where path's is not writable
	sys     journal.Files
	refs    int // under store.mu

	mu    sync.Mutex
	keys  format.Keywords
	timer *time.Timer    // a flush is due
	ro    bool           // the file is not ours to write
	taken *dovecot.Index // what Dovecot left, until the first scan
	stale bool           // that holds flags which are newer than the file's

	state atomic.Pointer[known.State]
	own   atomic.Bool // flush rewrites the file

	guid    atomic.Pointer[string]
	claimed atomic.Bool // a session selected the mailbox for writing

	view sync.RWMutex
	f    *os.File // nil while there is no file
	read window

	buffers store.Spare

	watch watch.File
	kept  index.Holder
}

// Index returns what is kept of the messages; nil where there is no cache.
func (m *mailbox) Index() *index.File {
	if m.control == "" {
		return nil
	}
	return m.kept.Of(filepath.Join(m.control, index.FileName), m.Snapshot().UIDValidity)
}

// Watch implements store.Mailbox.
func (m *mailbox) Watch() (<-chan struct{}, func()) { return m.watch.Add(m.path) }

// Snapshot returns the mailbox as this process saw it last.
func (m *mailbox) Snapshot() *store.Snapshot { return m.state.Load().Snap }

// Look implements store.Mailbox: the scan has found everything.
func (m *mailbox) Look([]uint32) (*store.Snapshot, error) { return m.Snapshot(), nil }

// Sync implements store.Mailbox.
func (m *mailbox) Sync() (*store.Snapshot, error) {
	if m.own.Load() { // the change is ours, and nobody else can make one now
		return m.Snapshot(), nil
	}
	if st, err := disk.StatPath(m.path); err == nil && st.ID == m.state.Load().ID {
		return m.Snapshot(), nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refresh(); err != nil {
		return nil, err
	}
	return m.Snapshot(), nil
}

// lockWait is how long readers wait for another program's write lock.
func (m *mailbox) lockWait() time.Duration {
	if w := m.store.o.LockTimeout; w > 0 {
		return w
	}
	return 20 * time.Second
}

// refresh reads what changed in the file since the state was made. mu is held.
func (m *mailbox) refresh() error {
	st, err := disk.StatPath(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		m.vanish()
		return nil
	}
	if err != nil {
		return err
	}
	if st.ID == m.state.Load().ID && m.f != nil {
		return nil
	}
	if err := m.reopen(st); err != nil {
		return err
	}
	if err := m.recover(); err != nil {
		return err
	}
	return m.readLocked(nil)
}

// readLocked brings the state up to the file and calls fn, if there is one,
// while nobody can write. mu is held.
func (m *mailbox) readLocked(fn func() error) error {
	if m.f == nil {
		return errStale
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), m.lockWait(), disk.ErrLocked)
	defer cancel()
	unlock, err := disk.ReadLock(ctx, m.f)
	if err != nil {
		m.closeFile() // see lockWith
		return err
	}
	defer unlock()
	if err := m.rescan(); err != nil || fn == nil {
		return err
	}
	return fn()
}

// vanish empties the mailbox: mail readers remove a mailbox that is empty.
func (m *mailbox) vanish() {
	old := m.state.Load()
	if old.ID == (disk.ID{}) && len(old.Recs) == 0 {
		return
	}
	m.closeFile()
	n := *old.Snap
	n.Msgs = nil
	n.ModSeq = old.NextModSeq()
	m.publish(&known.State{Snap: &n})
}

func (m *mailbox) closeFile() {
	m.view.Lock()
	defer m.view.Unlock()
	if m.f != nil {
		m.f.Close()
		m.f = nil
	}
	m.read.drop()
}

// reopen makes sure that the open file is the one that path names.
func (m *mailbox) reopen(named disk.Stat) error {
	if m.f != nil {
		if st, err := disk.StatFile(m.f); err == nil && st.Ino == named.Ino && st.Dev == named.Dev {
			return nil
		}
		m.closeFile()
	}
	f, ro, err := m.open()
	if err != nil {
		return err
	}
	m.view.Lock()
	m.f, m.ro = f, ro
	m.view.Unlock()
	return nil
}

// open opens the file for writing, or for reading where that is all we may.
func (m *mailbox) open() (f *os.File, ro bool, err error) {
	uid := os.Geteuid()
	if uid == 0 {
		uid = -1
	}
	f, err = disk.OpenQuiet(m.path, os.O_RDWR, uid)
	if disk.Denied(err) {
		f, err = disk.OpenQuiet(m.path, os.O_RDONLY, uid)
		return f, true, err
	}
	return f, false, err
}

// recover finishes what a crash interrupted, if a journal stands there.
func (m *mailbox) recover() error {
	_, err1 := disk.StatPath(journal.Name(m.path, ""))
	_, err2 := disk.StatPath(journal.Name(m.path, m.control))
	none := errors.Is(err1, fs.ErrNotExist) && errors.Is(err2, fs.ErrNotExist)
	if m.ro || none && !disk.LockIsStale(m.path, m.store.o.DotlockStale) {
		return nil
	}
	lock, err := m.lock()
	if err != nil {
		return err
	}
	return lock.Unlock()
}

// lock takes the mailbox's locks for writing; what a crash left is repaired
// under them before anybody sees it.
func (m *mailbox) lock() (*disk.MailboxLock, error) { return m.lockWith(nil) }

// lockWith is lock with a note for the dotlock. A wait that was given up may
// still be going on in the kernel; it ends with its file, so that what comes
// of it cannot touch a later lock.
func (m *mailbox) lockWith(note func() string) (*disk.MailboxLock, error) {
	for {
		lock, err := disk.LockMailbox(context.Background(), m.path, m.f,
			disk.LockOptions{Wait: m.store.o.LockTimeout, Stale: m.store.o.DotlockStale, Note: note, Dead: m.undo})
		if err != nil {
			m.closeFile()
			return nil, err
		}
		m.view.Lock()
		moved, err := journal.Recover(m.sys, m.path, m.control, m.f)
		m.view.Unlock()
		if err == nil && (!moved || note == nil) {
			return lock, nil
		}
		lock.Unlock() // and once more: the note could not name the size
		if err != nil {
			return nil, err
		}
	}
}

// undo takes back what a dead process had not finished appending.
func (m *mailbox) undo(note string) {
	m.view.Lock()
	defer m.view.Unlock()
	undoAppend(m.sys, m.f, note)
}

// rescan brings the state up to the file, which is locked at least for
// reading. Where the file only grew, only its tail is read.
func (m *mailbox) rescan() error {
	st, err := disk.StatFile(m.f)
	if err != nil {
		return err
	}
	old := m.state.Load()
	if st.ID == old.ID {
		return nil
	}
	m.view.Lock()
	m.read.drop()
	m.view.Unlock()
	if st.Ino == old.ID.Ino && st.Dev == old.ID.Dev && st.Size > old.ID.Size && len(old.Recs) > 0 {
		ok, err := m.scanTail(old, st)
		if ok || err != nil {
			return err
		}
	}
	return m.scanFile(old, st)
}

// Of so many messages scanFile guesses how many there are, up to a bound: it
// takes memory once, where growing would copy all of them many times.
const (
	sample   = 500
	maxGuess = 1 << 20
)

// scanFile reads the whole file.
func (m *mailbox) scanFile(old *known.State, st disk.Stat) error {
	var msgs []format.Scanned
	if n := len(old.Recs); n > 0 {
		msgs = make([]format.Scanned, 0, n+n/8)
	}
	s := format.NewScanner(m.f, st.Size, &m.keys, func(c *format.Scanned) {
		if n := len(msgs); n == sample && c.Msg.Pos > 0 {
			msgs = slices.Grow(msgs, min(int(st.Size/(c.Msg.Pos/sample+1)), maxGuess)) // as many as there may be
		}
		msgs = append(msgs, *c)
	})
	if err := s.Run(0); err != nil {
		return err
	}
	if m.taken != nil {
		old, m.stale = known.TakeOver(m.taken, old, msgs, s.Base, &m.keys, st)
		m.taken = nil
	}
	m.publish(known.Derive(old, msgs, s.Base, m.keys.Names, st.ID, s.Pseudo.Raw))
	return nil
}

// scanTail reads from the last known message on. It gives up (false) when that
// is no longer what it was, or when a new message brings a UID along.
func (m *mailbox) scanTail(old *known.State, st disk.Stat) (bool, error) {
	n := len(old.Recs) - 1
	last := &old.Snap.Msgs[n]
	var msgs []format.Scanned
	s := format.NewScanner(m.f, st.Size, &m.keys, func(c *format.Scanned) { msgs = append(msgs, *c) })
	if err := s.Run(last.Pos); errors.Is(err, format.ErrNotMbox) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if len(msgs) == 0 || msgs[0].Rec != old.Recs[n] || msgs[0].Msg.Raw != last.Raw {
		return false, nil
	}
	next := old.Snap.UIDNext
	for _, c := range msgs[1:] {
		if c.Rec.Uid != 0 && (c.Rec.Uid < next || c.Rec.Uid > old.Base.Last) {
			return false, nil
		}
		next = max(next, c.Rec.Uid) + 1
	}
	m.publish(known.Grow(old, msgs[1:], m.keys.Names, st.ID))
	return true, nil
}

// publish makes s the state and tells the watchers.
func (m *mailbox) publish(s *known.State) {
	m.state.Store(s)
	m.watch.Tell()
}

// SetFlags implements store.Mailbox.
func (m *mailbox) SetFlags(uids []uint32, op store.Op, f store.Flag, words []string) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ro {
		return nil, store.ErrReadOnly
	}
	var kw uint64
	for _, w := range words {
		kw |= m.keys.Bit([]byte(w))
	}
	old := m.state.Load()
	s := *old
	n := *old.Snap
	n.Keywords = m.keys.Names
	n.Msgs = slices.Clone(n.Msgs)
	seq, changed := old.NextModSeq(), false
	for _, uid := range uids {
		if i := old.Find(uid); i >= 0 && apply(&n.Msgs[i], op, f, kw) {
			n.Msgs[i].ModSeq = seq
			changed = true
		}
	}
	if !changed {
		return old.Snap, nil
	}
	n.ModSeq = seq
	s.Snap, s.Saved = &n, false
	m.publish(&s)
	m.flushSoon()
	return &n, nil
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

// flushSoon starts the clock that writes flags which nobody flushes.
func (m *mailbox) flushSoon() {
	if m.timer == nil {
		m.timer = time.AfterFunc(flushDelay, func() {
			m.Flush() // what fails now is tried again at Close, where it is reported
		})
	}
}

// ClaimRecent implements store.Mailbox.
func (m *mailbox) ClaimRecent() error {
	m.claimed.Store(true)
	if s := m.state.Load().Snap; m.own.Load() && s.FirstRecent == s.UIDNext {
		return nil // nobody need wait for the session before, which is being written
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.state.Load()
	if old.Snap.FirstRecent == old.Snap.UIDNext {
		return nil
	}
	s, n := *old, *old.Snap
	n.FirstRecent = n.UIDNext
	s.Snap, s.Saved = &n, false
	m.state.Store(&s)
	// Shells and mutt take mtime > atime for new mail; now it has been seen.
	if m.f != nil && !m.ro {
		return disk.Touch(m.path)
	}
	return nil
}

// Expunge implements store.Mailbox.
func (m *mailbox) Expunge(uids []uint32) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(uids) == 0 {
		return m.Snapshot(), nil
	}
	if m.ro {
		return nil, store.ErrReadOnly
	}
	drop := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		drop[uid] = true
	}
	if err := m.write(drop); err != nil {
		return nil, err
	}
	return m.Snapshot(), m.saveCache() // an empty file cannot hold UIDNEXT
}

// Flush implements store.Mailbox.
func (m *mailbox) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flush()
}

// flush writes flags and, where the file alone would not tell them, UIDs.
func (m *mailbox) flush() error {
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	m.own.Store(true)
	defer m.own.Store(false)
	s := m.state.Load()
	if !m.ro && (s.AnyDirty() || (m.claimed.Load() || m.stale) && !s.Derives()) {
		if err := m.write(nil); err != nil {
			return err
		}
	}
	if m.stale && !m.ro && m.f != nil {
		dovecot.Remove(m.control) // the file holds all of it now
		m.stale = false
	}
	return m.saveCache()
}

// Close implements store.Mailbox.
func (m *mailbox) Close() error { return m.store.release(m) }
