// Package mbox keeps mail in mbox files that mutt, procmail, Postfix and
// Dovecot use at the same time: one file a folder, the inbox in the spool,
// other folders below ~/mail as Dovecot's mail_location
// mbox:~/mail:INBOX=/var/mail/%u lays them out.
//
// The file is the truth. Flags, UIDs, UIDVALIDITY and keywords stand in it in
// the header lines of Dovecot and mutt (Status, X-Status, X-Keywords, X-UID,
// X-IMAPbase), so that one can go from one program to the other in either
// direction. Body lines that look like a From_ line are quoted as mboxrd does,
// and come back as they were; doc/mbox.md has the whole of it.
package mbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/dovecot"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/store/mbox/known"
	"packetboat/internal/store/names"
	"packetboat/internal/sys/disk"
)

// Options says where a user's mail is. cmd fills it from mail_location.
type Options struct {
	Inbox   string // path of the inbox: /var/mail/alice
	Folders string // root of all other folders: /home/alice/mail; empty = there are none
	Control string // CONTROL= or INDEX= of mail_location: root of the caches; empty = Folders/.imap
	Sender  string // for From_ lines of appended messages; empty = MAILER-DAEMON

	LockTimeout  time.Duration `dovecot:"mbox_lock_timeout"`           // 0 = 20 s
	DotlockStale time.Duration `dovecot:"mbox_dotlock_change_timeout"` // 0 = 500 s
}

// Store is the mail of one user.
type Store struct {
	o   Options
	sys journal.Files

	mu   sync.Mutex
	open map[string]*mailbox
	work sync.WaitGroup // indexes that are being written
	last *mailbox       // was closed last: most sessions open the one that the one before had
}

// Open returns the mail that o describes. Nothing is made on disk before
// something is written.
func Open(o Options) (*Store, error) {
	if o.Inbox == "" {
		return nil, errors.New("mbox: no inbox")
	}
	if o.Control == "" && o.Folders != "" {
		o.Control = filepath.Join(o.Folders, ".imap")
	}
	return &Store{o: o, sys: journal.Disk{}, open: map[string]*mailbox{}}, nil
}

const inbox = "INBOX"

// isInbox tells whether a name is the inbox's (RFC 3501 section 5.1: any case).
func isInbox(name string) bool { return strings.EqualFold(name, inbox) }

// place returns a folder's file and its control folder.
func (s *Store) place(name string) (path, control string, err error) {
	if isInbox(name) {
		if s.o.Control != "" {
			control = filepath.Join(s.o.Control, inbox)
		}
		return s.o.Inbox, control, nil
	}
	rel, err := names.OnDisk(name)
	if err != nil {
		return "", "", err
	}
	if s.o.Folders == "" {
		return "", "", store.ErrNoMailbox
	}
	// As Dovecot does it: Sub/Folder has its index in Sub/.imap/Folder.
	dir, base := filepath.Split(rel)
	control = filepath.Join(s.o.Folders, dir, ".imap", base)
	if s.o.Control != filepath.Join(s.o.Folders, ".imap") {
		control = filepath.Join(s.o.Control, rel)
	}
	return filepath.Join(s.o.Folders, rel), control, nil
}

// Open implements store.Store.
func (s *Store) Open(name string) (store.Mailbox, error) {
	path, control, err := s.place(name)
	if err != nil {
		return nil, err
	}
	if isInbox(name) {
		name = inbox
	}
	s.mu.Lock()
	m := s.open[name]
	if m == nil && name != inbox && gone(path) {
		s.mu.Unlock()
		return nil, store.ErrNoMailbox // before a cache is made for it, and folders for the cache
	}
	if m == nil {
		if m, s.last = s.last, nil; m == nil || m.name != name {
			s.part(m)
			m = &mailbox{store: s, name: name, path: path, control: control, sys: s.sys}
			m.begin()
		}
		s.open[name] = m
	}
	m.refs++
	s.mu.Unlock()
	m.kept.Refresh()
	if err := s.check(m); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// begin takes the state out of the cache, or out of what Dovecot has left, or a
// new one.
func (m *mailbox) begin() {
	st := m.loadCache()
	if st == nil {
		m.taken = dovecot.Load(m.control)
		st = known.First(m.taken)
	}
	m.keys.Names = st.Snap.Keywords
	m.state.Store(st)
}

// check makes sure that the mailbox is there and reads it.
func (s *Store) check(m *mailbox) error {
	st, err := disk.StatPath(m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.name == inbox:
		return nil
	case errors.Is(err, fs.ErrNotExist), disk.NoDir(err), err == nil && !st.Regular:
		return store.ErrNoMailbox
	case err != nil:
		return err
	}
	if m.own.Load() {
		return nil // see Sync
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refresh()
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
	err := m.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.refs > 0 || s.last == m {
		return err // somebody else gives it back, or did
	}
	m.mu.Lock()
	m.closeFile()
	m.claimed.Store(false)
	m.mu.Unlock()
	if s.open[m.name] == m {
		delete(s.open, m.name)
		s.part(s.last)
		s.last = m
	} else {
		s.part(m)
	}
	return err
}

// part ends the use of a mailbox, which may be nil; nobody waits for its index.
func (s *Store) part(m *mailbox) {
	if m != nil {
		s.work.Go(m.giveUp)
	}
}

func (m *mailbox) giveUp() {
	m.kept.Close(func(yield func(uint32) bool) {
		for i, msgs := 0, m.Snapshot().Msgs; i < len(msgs) && yield(msgs[i].UID); i++ {
		}
	})
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
	defer s.mu.Unlock()
	s.part(s.last)
	s.last = nil
	s.work.Wait()
	return err
}

// forget closes a mailbox whose file is about to go, without writing to it.
func (s *Store) forget(name string) {
	s.mu.Lock()
	m := s.open[name]
	delete(s.open, name)
	if m == nil && s.last != nil && s.last.name == name {
		m, s.last = s.last, nil
	}
	s.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	m.vanish()
	m.kept.Abandon()
	m.control = "" // a session that still has it open must not leave a cache
}

// gone tells whether nothing has the name path.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// Path returns where the folder's file is, for deliveries into it; nothing
// says that it exists.
func (s *Store) Path(name string) (string, error) {
	path, _, err := s.place(name)
	return path, err
}
