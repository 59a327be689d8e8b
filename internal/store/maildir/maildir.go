// Package maildir keeps mail in Maildirs as Dovecot lays them out: one file a
// message, its flags in its name, UIDs in dovecot-uidlist, keywords in
// dovecot-keywords. Other programs (mutt, procmail, Postfix, a Dovecot that
// still runs) may work on the same folders at the same time.
//
// The files are the truth. packetboat.cache saves looking into them and can be
// deleted; Dovecot's index files are read once and not changed. doc/maildir.md
// has the whole of it.
package maildir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/store/names"
	"packetboat/internal/sys/disk"
)

// Options says where a user's mail is. cmd fills it from mail_location.
type Options struct {
	Root    string // /home/alice/Maildir: the inbox, and the root of all folders
	Inbox   string // INBOX=: the inbox, where it is elsewhere; empty = Root
	Control string // CONTROL=: root of the lists of UIDs, keywords and subscriptions; empty = beside the mail
	Index   string // INDEX=: root of the caches; empty = beside the mail; "MEMORY" = nowhere
	Tree    bool   // LAYOUT=fs: a folder a level; else Maildir++: .Lists.Go

	LockTimeout time.Duration // for the list of UIDs; 0 = 122 s, as in Dovecot
}

// Store is the mail of one user.
type Store struct {
	o Options

	mu   sync.Mutex
	open map[string]*mailbox
	work sync.WaitGroup // caches that are being written
	last *mailbox       // was closed last: most sessions open the one that the one before had

	once    sync.Once
	journal bool // see ordered
}

// Open returns the mail that o describes. Nothing is made on disk before
// something is written.
func Open(o Options) (*Store, error) {
	if o.Root == "" {
		return nil, errors.New("maildir: no folder")
	}
	if o.Inbox == "" {
		o.Inbox = o.Root
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = uidlist.StaleLock + 2*time.Second
	}
	return &Store{o: o, open: map[string]*mailbox{}}, nil
}

// ordered tells whether a flush of one file brings along the renames before it
// (disk.Dir.NamesFollow). All folders are taken to be on one file system; a
// link to another one is asked for itself.
func (s *Store) ordered(path string) bool {
	s.once.Do(func() { s.journal = namesFollow(s.o.Inbox) })
	return s.journal && (path == s.o.Inbox || filepath.Dir(path) == s.o.Root && isRealDir(path))
}

func namesFollow(path string) bool {
	d, err := disk.OpenDir(path)
	if err != nil {
		return false
	}
	defer d.Close()
	return d.NamesFollow()
}

func isRealDir(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.IsDir()
}

const inbox = "INBOX"

// isInbox tells whether a name is the inbox's (RFC 3501 section 5.1: any case).
func isInbox(name string) bool { return strings.EqualFold(name, inbox) }

// parts are the folders that make a Maildir.
var parts = [...]string{"tmp", "new", "cur"}

// onDisk returns a folder's path below the root.
func (s *Store) onDisk(name string) (string, error) {
	rel, err := names.OnDisk(name)
	if err != nil {
		return "", err
	}
	if s.o.Tree {
		for p := range strings.SplitSeq(rel, "/") {
			if p == "cur" || p == "new" || p == "tmp" || strings.HasPrefix(p, "dovecot") || p == subscriptions {
				return "", store.ErrBadName
			}
		}
		return rel, nil
	}
	if strings.Contains(rel, ".") {
		return "", store.ErrBadName // would be another level
	}
	return "." + strings.ReplaceAll(rel, "/", "."), nil
}

// place returns where a folder's mail, control files and cache are; no cache
// where INDEX=MEMORY forbids it.
func (s *Store) place(name string) (path, control, cache string, err error) {
	rel, path := "", s.o.Inbox
	if !isInbox(name) {
		if rel, err = s.onDisk(name); err != nil {
			return "", "", "", err
		}
		path = filepath.Join(s.o.Root, rel)
	}
	control, cache = path, path
	if s.o.Control != "" {
		control = filepath.Join(s.o.Control, s.inboxed(rel))
	}
	if s.o.Index != "" {
		cache = filepath.Join(s.o.Index, s.inboxed(rel))
	}
	if s.o.Index == "MEMORY" {
		cache = ""
	}
	return path, control, cache, nil
}

// Path returns the Maildir of a folder, with "/" at its end, for deliveries into
// it; nothing says that it exists.
func (s *Store) Path(name string) (string, error) {
	path, _, _, err := s.place(name)
	return path + "/", err
}

// inboxed is the inbox's folder below CONTROL= and INDEX=, as Dovecot names it.
func (s *Store) inboxed(rel string) string {
	switch {
	case rel != "":
		return rel
	case s.o.Tree:
		return inbox
	}
	return "." + inbox
}

// Open implements store.Store.
func (s *Store) Open(name string) (store.Mailbox, error) {
	path, control, cache, err := s.place(name)
	if err != nil {
		return nil, err
	}
	if isInbox(name) {
		name = inbox
	} else if !isMaildir(path) {
		return nil, store.ErrNoMailbox
	}
	s.mu.Lock()
	m := s.open[name]
	if m == nil {
		if m, s.last = s.last, nil; m == nil || m.name != name {
			s.part(m)
			m = newMailbox(s, name, path, control, cache)
		}
		s.open[name] = m
	}
	m.refs++
	s.mu.Unlock()
	m.kept.Refresh()
	if _, err := m.Sync(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// isMaildir tells whether a mailbox is at path. A link to a folder is one, too:
// people have their mail on other disks.
func isMaildir(path string) bool {
	fi, err := os.Stat(filepath.Join(path, "cur"))
	return err == nil && fi.IsDir()
}

// exists tells whether anything has the name path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// makeMaildir makes what is missing of a Maildir, and the file that says that
// it is a folder of another one (Maildir++).
func makeMaildir(path string, sub bool) error {
	for _, p := range parts {
		if err := os.MkdirAll(filepath.Join(path, p), 0o700); err != nil {
			return err
		}
	}
	if !sub {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(path, "maildirfolder"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// release gives back one use of m; the last one flushes it. Whoever opens the
// mailbox meanwhile does not wait for that.
func (s *Store) release(m *mailbox) error {
	s.mu.Lock()
	m.refs--
	left := m.refs
	s.mu.Unlock()
	if left > 0 {
		return nil
	}
	m.mu.Lock()
	err := m.syncNames()
	m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.refs > 0 || s.last == m {
		return err // somebody else gives it back, or did
	}
	m.mu.Lock()
	m.claimed, m.scanned = false, false
	m.mu.Unlock()
	s.work.Go(m.endUse)
	if s.open[m.name] != m {
		return err
	}
	delete(s.open, m.name)
	s.part(s.last)
	s.last = m
	return err
}

// endUse saves the cache of a mailbox that no session has open any more.
func (m *mailbox) endUse() {
	m.mu.Lock()
	s := m.unsaved()
	m.mu.Unlock()
	if s != nil { // what is not saved costs a look more
		ok, _ := m.writeCache(s)
		m.mu.Lock()
		if ok {
			m.saved = s
		}
		m.mu.Unlock()
	}
	m.store.mu.Lock()
	out := m.store.last != m && m.refs <= 0
	m.store.mu.Unlock()
	if out {
		m.giveUp()
	}
}

// part ends the use of a mailbox, which may be nil; nobody waits for its index.
func (s *Store) part(m *mailbox) {
	if m != nil {
		s.work.Go(m.giveUp)
	}
}

func (m *mailbox) giveUp() { m.kept.Close(m.uids) }

// uids yields the UIDs of the messages.
func (m *mailbox) uids(yield func(uint32) bool) {
	msgs := m.Snapshot().Msgs
	for i := range msgs {
		if !yield(msgs[i].UID) {
			return
		}
	}
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	var all []*mailbox
	for _, m := range s.open {
		m.refs = 1
		all = append(all, m)
	}
	s.mu.Unlock()
	var err error
	for _, m := range all {
		err = errors.Join(err, m.Close())
	}
	s.mu.Lock()
	s.part(s.last)
	s.last = nil
	s.mu.Unlock()
	s.work.Wait()
	return err
}

// forget takes a mailbox, and those below it, out of use: its folder is about
// to go or to get another name. Sessions that have it open see it empty.
func (s *Store) forget(name string) {
	s.mu.Lock()
	var gone []*mailbox
	for n, m := range s.open {
		if n == name || strings.HasPrefix(n, name+"/") {
			delete(s.open, n)
			gone = append(gone, m)
		}
	}
	if m := s.last; m != nil && (m.name == name || strings.HasPrefix(m.name, name+"/")) {
		s.last, gone = nil, append(gone, m)
	}
	s.mu.Unlock()
	for _, m := range gone {
		m.forget()
	}
}
