// Package memstore is a store.Store that lives in memory. Tests of the
// sessions above the store use it, and storetest holds it to the same
// contract as the mailboxes on disk.
package memstore

import (
	"sort"
	"strings"
	"sync"

	"packetboat/internal/store"
	"packetboat/internal/store/names"
)

// Store is all mail of one user, in memory. The zero value is not ready: use New.
type Store struct {
	mu    sync.Mutex
	boxes map[string]*box
	subs  map[string]bool
	clock uint32 // last UIDVALIDITY given out
	quota int64  // octets of all messages together; 0 = none
	used  int64
}

// New returns a Store with an empty INBOX. The first UIDVALIDITY is 1.
func New() *Store {
	s := &Store{boxes: map[string]*box{}, subs: map[string]bool{}}
	s.add("INBOX")
	return s
}

// SetQuota limits the octets of all messages together; appends beyond it fail
// with store.ErrOverQuota. Zero takes the limit away.
func (s *Store) SetQuota(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota = octets
}

// add makes a mailbox; s.mu is held.
func (s *Store) add(name string) *box {
	s.clock++
	b := newBox(s, s.clock)
	s.boxes[name] = b
	return b
}

// canonical returns the name under which a mailbox is kept: INBOX is the same
// in every spelling (RFC 3501 section 5.1).
func canonical(name string) (string, error) {
	first, rest, deep := strings.Cut(name, "/")
	if strings.EqualFold(first, "INBOX") {
		first = "INBOX"
	}
	if deep {
		first += "/" + rest
	}
	if _, err := names.OnDisk(first); err != nil {
		return "", store.ErrBadName // the same names as on disk
	}
	return first, nil
}

// List returns every folder, its parents, and every subscription.
func (s *Store) List() ([]store.Folder, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*store.Folder{}
	for name := range s.boxes {
		all[name] = &store.Folder{Name: name}
	}
	for name := range s.boxes {
		for p := parent(name); p != ""; p = parent(p) {
			if all[p] == nil {
				all[p] = &store.Folder{Name: p, NoSelect: true}
			}
			all[p].HasChildren = true
		}
	}
	for name := range s.subs {
		if all[name] == nil {
			all[name] = &store.Folder{Name: name, NoSelect: true}
		}
		all[name].Subscribed = true
	}
	return sorted(all), nil
}

func sorted(all map[string]*store.Folder) []store.Folder {
	out := make([]store.Folder, 0, len(all))
	for _, f := range all {
		out = append(out, *f)
	}
	sort.Slice(out, func(i, j int) bool {
		if (out[i].Name == "INBOX") != (out[j].Name == "INBOX") {
			return out[i].Name == "INBOX"
		}
		return out[i].Name < out[j].Name
	})
	return out
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

// children tells whether a mailbox stands below name; s.mu is held.
func (s *Store) children(name string) bool {
	for b := range s.boxes {
		if strings.HasPrefix(b, name+"/") {
			return true
		}
	}
	return false
}

// Open opens a mailbox; all callers share one.
func (s *Store) Open(name string) (store.Mailbox, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boxes[name]; b != nil {
		return b, nil
	}
	return nil, store.ErrNoMailbox
}

// Create makes a mailbox; missing parents become names that cannot be selected.
func (s *Store) Create(name string) error {
	name, err := canonical(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes[name] != nil {
		return store.ErrExists
	}
	s.add(name)
	return nil
}

// Delete removes a mailbox with its messages. One with children stays as a
// name (RFC 3501 section 6.3.4).
func (s *Store) Delete(name string) error {
	name, err := canonical(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[name]
	switch {
	case name == "INBOX":
		return store.ErrBadName
	case b == nil && s.children(name):
		return store.ErrHasChildren
	case b == nil:
		return store.ErrNoMailbox
	}
	delete(s.boxes, name)
	s.used -= b.drop()
	return nil
}

// Rename renames a folder with its children; INBOX hands over its messages
// and stays (RFC 3501 section 6.3.5).
func (s *Store) Rename(from, to string) error {
	from, err := canonical(from)
	if err != nil {
		return err
	}
	to, err = canonical(to)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.boxes[from] == nil && !s.children(from):
		return store.ErrNoMailbox
	case s.boxes[to] != nil || s.children(to):
		return store.ErrExists
	case strings.HasPrefix(to, from+"/") && from != "INBOX":
		return store.ErrBadName
	case from == "INBOX":
		s.boxes["INBOX"].giveTo(s.add(to))
		return nil
	}
	s.move(from, to)
	return nil
}

func (s *Store) move(from, to string) {
	moved := map[string]*box{}
	for name, b := range s.boxes {
		if name == from || strings.HasPrefix(name, from+"/") {
			moved[to+name[len(from):]] = b
			delete(s.boxes, name)
		}
	}
	for name, b := range moved {
		s.boxes[name] = b
	}
}

// Subscribe adds name to the subscriptions or takes it away.
func (s *Store) Subscribe(name string, on bool) error {
	name, err := canonical(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.subs[name] = true
	} else {
		delete(s.subs, name)
	}
	return nil
}

// Close does nothing: the mail stays for the next session of the test.
func (s *Store) Close() error { return nil }

// charge counts n more octets against the quota.
func (s *Store) charge(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quota > 0 && s.used+n > s.quota {
		return store.ErrOverQuota
	}
	s.used += n
	return nil
}
