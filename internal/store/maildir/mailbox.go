package maildir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/dovecot"
	"packetboat/internal/store/index"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/store/watch"
	"packetboat/internal/sys/disk"
)

// mailbox is one Maildir, shared by all sessions of the process. mu is held by
// whoever changes the mailbox or looks for changes; state is read without it.
type mailbox struct {
	store   *Store
	name    string
	path    string
	control string // folder of dovecot-uidlist and dovecot-keywords
	cache   string // folder of the cache; empty = there is none
	refs    int    // under store.mu

	mu      sync.Mutex
	list    uidlist.List
	keys    uidlist.Keywords
	claimed bool // a session selected the mailbox for writing: what is new moves to cur
	gone    bool // the folder was deleted or renamed by us
	scanned bool // this process has read the folders
	unsync  bool // names in cur wait for their flush
	saved   *state

	state atomic.Pointer[state]
	watch watch.Folders
	hint  hint
	kept  index.Holder

	buffers store.Spare
	saving  sync.Mutex  // held by whoever writes the cache; taken after mu
	again   atomic.Bool // a second look is due, and the watchers will be told
}

// state is a mailbox as this process knows it. It is never changed after it is
// published.
type state struct {
	snap  *store.Snapshot
	files []file     // files[i] is snap.Msgs[i]
	dirs  [2]disk.ID // of new and cur when they were read
	list  disk.ID    // of dovecot-uidlist
	keys  disk.ID    // of dovecot-keywords

	// Times of folders are coarse, and our own changes hide those of others that
	// fall into the same moment: until then the state may lack something, and is
	// made anew by the first Sync after it. Zero = it lacks nothing.
	doubt time.Time
}

// file is where a message stands.
type file struct {
	uid  uint32
	dir  uint8  // index of folders
	name string // with flags
}

// folders hold the messages; both indices of file.dir and state.dirs.
var folders = [...]string{"new", "cur"}

const (
	inNew = 0
	inCur = 1
)

// Waits for a second look: behind a change by others, whose time may be that of
// a change to come, and behind a change of ours.
const (
	coarse = 50 * time.Millisecond
	ours   = time.Second
)

func newMailbox(s *Store, name, path, control, cache string) *mailbox {
	m := &mailbox{store: s, name: name, path: path, control: control, cache: cache}
	m.list.Path = filepath.Join(control, uidlist.FileName)
	m.keys.Path = filepath.Join(control, uidlist.KeywordsName)
	st := m.loadCache()
	m.saved = st
	if st == nil {
		st = firstState(dovecot.Load(cache))
	}
	m.keys.Words = st.snap.Keywords // what the bits of its messages stand for
	m.keys.Clear()
	m.keys.Load() // what cannot be read now is told by the first scan
	m.state.Store(st)
	return m
}

// firstState is the state of a mailbox without a cache, before its folders are
// read: what Dovecot's index says, if there is one, so that keywords beyond those
// that have letters come along, and messages that nobody changed keep their
// mod-sequences. It is asked once; from then on our cache knows better.
func firstState(ix *dovecot.Index) *state {
	snap := &store.Snapshot{UIDNext: 1, FirstRecent: 1, ModSeq: 1}
	s := &state{snap: snap}
	if ix == nil {
		return s
	}
	snap.UIDValidity, snap.UIDNext, snap.FirstRecent, snap.Keywords = ix.Validity, ix.Next, ix.FirstRecent, ix.Keywords
	snap.ModSeq = max(ix.ModSeq, uint64(time.Now().UnixMilli())) // ours follow the clock
	for i := range ix.Msgs {
		d := &ix.Msgs[i]
		snap.Msgs = append(snap.Msgs, store.Msg{UID: d.UID, Flags: d.Flags, Keywords: d.Keywords, ModSeq: max(d.ModSeq, 1), Size: store.Unknown})
		s.files = append(s.files, file{uid: d.UID})
	}
	return s
}

func (m *mailbox) at(f *file) string { return filepath.Join(m.path, folders[f.dir], f.name) }

// Index returns what is kept of the messages; nil where there is to be no cache.
func (m *mailbox) Index() *index.File {
	if m.cache == "" {
		return nil
	}
	return m.kept.Of(filepath.Join(m.cache, index.FileName), m.Snapshot().UIDValidity)
}

// Watch implements store.Mailbox.
func (m *mailbox) Watch() (<-chan struct{}, func()) {
	return m.watch.Add(filepath.Join(m.path, "new"), filepath.Join(m.path, "cur"))
}

// Snapshot returns the mailbox as this process saw it last.
func (m *mailbox) Snapshot() *store.Snapshot { return m.state.Load().snap }

// Sync implements store.Mailbox. Without a change it costs three stats.
func (m *mailbox) Sync() (*store.Snapshot, error) {
	st := m.state.Load()
	if m.unchanged(st) {
		return st.snap, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refresh(); err != nil {
		return nil, err
	}
	return m.Snapshot(), nil
}

// unchanged tells whether the folders and the list are as st was read from.
// Where a second look is due soon, it makes sure that the watchers take it.
func (m *mailbox) unchanged(st *state) bool {
	if st.list == (disk.ID{}) || !m.same(st) {
		return false
	}
	if st.doubt.IsZero() {
		return true
	}
	wait := time.Until(st.doubt)
	if wait <= 0 {
		return false
	}
	if m.again.CompareAndSwap(false, true) {
		time.AfterFunc(wait, func() {
			m.again.Store(false)
			m.watch.Tell()
		})
	}
	return true
}

// same compares the times of the folders and lists with those of st.
func (m *mailbox) same(st *state) bool {
	for i, d := range folders {
		if now, err := disk.StatPath(filepath.Join(m.path, d)); err != nil || now.ID != st.dirs[i] {
			return false
		}
	}
	if now, err := disk.StatPath(m.list.Path); err != nil || now.ID != st.list {
		return false
	}
	now, err := disk.StatPath(m.keys.Path)
	return err == nil && now.ID == st.keys || errors.Is(err, fs.ErrNotExist) && st.keys == (disk.ID{})
}

// refresh reads what changed since the state was made. mu is held.
func (m *mailbox) refresh() error {
	old := m.state.Load()
	if m.gone {
		return nil
	}
	if m.unchanged(old) {
		return nil
	}
	if !isMaildir(m.path) {
		if m.name != inbox {
			m.vanish()
			return nil
		}
		if err := makeMaildir(m.path, false); err != nil {
			return err
		}
	}
	return m.scan(old)
}

// vanish empties the mailbox: its folder is gone.
func (m *mailbox) vanish() {
	old := m.state.Load()
	if len(old.files) == 0 {
		return
	}
	n := *old.snap
	n.Msgs = nil
	n.ModSeq = nextModSeq(old.snap)
	m.publish(&state{snap: &n})
}

// forget takes the mailbox out of use: its folder goes, or gets another name.
func (m *mailbox) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flush() // what cannot be saved now costs one look more
	m.vanish()
	m.saving.Lock()
	m.gone, m.cache = true, ""
	m.saving.Unlock()
	m.kept.Abandon()
}

// publish makes s the state and tells the watchers.
func (m *mailbox) publish(s *state) {
	m.state.Store(s)
	m.watch.Tell()
}

// nextModSeq returns a value above all given ones (RFC 7162 section 3.1). It
// follows the clock, so that it rises even when the cache is lost.
func nextModSeq(s *store.Snapshot) uint64 {
	return max(s.ModSeq+1, uint64(time.Now().UnixMilli()))
}

// lock takes the lock of the list of UIDs and reads what changed in it.
func (m *mailbox) lock() (*disk.MailboxLock, error) {
	if err := os.MkdirAll(m.control, 0o700); err != nil {
		return nil, err
	}
	l, err := disk.Dotlock(context.Background(), m.list.Path, disk.LockOptions{Wait: m.store.o.LockTimeout, Stale: uidlist.StaleLock})
	if err != nil {
		return nil, err
	}
	if err := m.list.Load(); err != nil {
		l.Unlock()
		return nil, err
	}
	return l, nil
}

// ClaimRecent implements store.Mailbox: what is in new moves to cur.
func (m *mailbox) ClaimRecent() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claimed = true
	err := m.settle()
	old := m.state.Load()
	if old.snap.FirstRecent == old.snap.UIDNext {
		return err
	}
	s, n := *old, *old.snap
	n.FirstRecent = n.UIDNext
	s.snap = &n
	m.state.Store(&s)
	return err
}

// Flush implements store.Mailbox.
func (m *mailbox) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flush()
}

// flush brings names to disk that have changed, and saves the cache.
func (m *mailbox) flush() error { return errors.Join(m.syncNames(), m.saveCache()) }

// syncNames brings names to disk that have changed.
func (m *mailbox) syncNames() error {
	if !m.unsync || m.gone {
		return nil
	}
	err := disk.SyncDir(filepath.Join(m.path, "cur"))
	m.unsync = err != nil
	return err
}

// Close implements store.Mailbox.
func (m *mailbox) Close() error { return m.store.release(m) }
