package mbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/store"
	"packetboat/internal/store/names"
	"packetboat/internal/store/subs"
	"packetboat/internal/sys/disk"
)

// maxFolders and maxDepth bound a walk through a folder tree.
const (
	maxFolders = 100000
	maxDepth   = 20
)

// List implements store.Store.
func (s *Store) List() ([]store.Folder, error) {
	wanted, err := s.subscriptions()
	if err != nil {
		return nil, err
	}
	list := []store.Folder{{Name: inbox}}
	if s.o.Folders != "" {
		if err := s.walk("", "", 0, &list); err != nil {
			return nil, err
		}
	}
	for i := range list {
		if k := slices.IndexFunc(wanted, func(n string) bool { return n == list[i].Name || isInbox(n) && list[i].Name == inbox }); k >= 0 {
			list[i].Subscribed = true
			wanted = slices.Delete(wanted, k, k+1)
		}
	}
	for _, name := range wanted {
		list = append(list, store.Folder{Name: name, NoSelect: true, Subscribed: true})
	}
	return list, nil
}

// walk adds the folders below dir. A name on disk that is no modified UTF-7 is
// passed over: it could not be named back.
func (s *Store) walk(dir, prefix string, depth int, list *[]store.Folder) error {
	entries, err := os.ReadDir(filepath.Join(s.o.Folders, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := names.Decode(e.Name())
		if !ok || !names.ValidPart(e.Name()) || len(*list) >= maxFolders || depth >= maxDepth {
			continue
		}
		rel := filepath.Join(dir, e.Name())
		if prefix == "" && isInbox(name) || filepath.Join(s.o.Folders, rel) == s.o.Inbox {
			continue
		}
		switch {
		case e.Type().IsRegular():
			*list = append(*list, store.Folder{Name: prefix + name, NoInferiors: true})
		case e.IsDir():
			at := len(*list)
			*list = append(*list, store.Folder{Name: prefix + name, NoSelect: true})
			if err := s.walk(rel, prefix+name+"/", depth+1, list); err != nil {
				return err
			}
			(*list)[at].HasChildren = len(*list) > at+1
		}
	}
	return nil
}

// Create implements store.Store. A name that ends in "/" makes a place for
// folders only (RFC 3501 section 6.3.3).
func (s *Store) Create(name string) error {
	name, dir := strings.CutSuffix(name, "/")
	path, control, err := s.place(name)
	if err != nil {
		return err
	}
	if isInbox(name) {
		return store.ErrExists
	}
	parent := path
	if !dir {
		parent = filepath.Dir(path)
	}
	if err := mkdirs(parent); err != nil || dir {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return store.ErrExists
	}
	if err != nil {
		return err
	}
	// A cache of an earlier folder of this name would give its UIDs again.
	os.RemoveAll(control)
	return errors.Join(f.Close(), disk.SyncDir(filepath.Dir(path)))
}

// mkdirs makes a folder and those above it. Where a mailbox stands in the way
// it says so: a file cannot hold folders.
func mkdirs(path string) error {
	err := os.MkdirAll(path, 0o700)
	if disk.NoDir(err) {
		return store.ErrExists
	}
	return err
}

// Delete implements store.Store.
func (s *Store) Delete(name string) error {
	path, control, err := s.place(name)
	if err != nil {
		return err
	}
	if isInbox(name) {
		return store.ErrBadName
	}
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || disk.NoDir(err) {
		return store.ErrNoMailbox
	}
	if err != nil {
		return err
	}
	if fi.IsDir() {
		os.RemoveAll(filepath.Join(path, ".imap"))
		if err := os.Remove(path); disk.NotEmpty(err) {
			return store.ErrHasChildren
		} else if err != nil {
			return err
		}
	} else {
		s.forget(name)
		if err := os.Remove(path); err != nil {
			return err
		}
		os.RemoveAll(control)
	}
	return disk.SyncDir(filepath.Dir(path))
}

// Rename implements store.Store.
func (s *Store) Rename(from, to string) error {
	src, srcControl, err := s.place(from)
	if err != nil {
		return err
	}
	dst, dstControl, err := s.place(to)
	if err != nil {
		return err
	}
	if isInbox(to) || !gone(dst) {
		return store.ErrExists
	}
	if isInbox(from) {
		return s.renameInbox(to)
	}
	if gone(src) {
		return store.ErrNoMailbox
	}
	if strings.HasPrefix(to, from+"/") {
		return store.ErrBadName
	}
	if err := mkdirs(filepath.Dir(dst)); err != nil {
		return err
	}
	s.closeBelow(from)
	if err := os.Rename(src, dst); err != nil {
		return err
	}
	os.RemoveAll(dstControl)
	if os.MkdirAll(filepath.Dir(dstControl), 0o700) == nil {
		os.Rename(srcControl, dstControl) // a lost cache costs one scan
	}
	return errors.Join(disk.SyncDir(filepath.Dir(src)), disk.SyncDir(filepath.Dir(dst)))
}

// closeBelow flushes and closes a folder and those below it: their files get
// other names. Sessions that have them open see them empty.
func (s *Store) closeBelow(name string) {
	s.mu.Lock()
	var names []string
	for n, m := range s.open {
		if n == name || strings.HasPrefix(n, name+"/") {
			names = append(names, n)
			m.Flush() // what cannot be written now is lost with the folder's name
		}
	}
	if s.last != nil && strings.HasPrefix(s.last.name, name+"/") {
		names = append(names, s.last.name)
	}
	s.mu.Unlock()
	for _, n := range names {
		s.forget(n)
	}
}

// renameInbox moves the inbox's messages into a new folder and leaves an
// empty inbox (RFC 3501 section 6.3.5).
func (s *Store) renameInbox(to string) error {
	if err := s.Create(to); err != nil {
		return err
	}
	src, err := s.Open(inbox)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := s.Open(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	return store.MoveAll(dst, src)
}

// subscriptionFiles: where Dovecot keeps the list below the root.
const subscriptionFile = ".subscriptions"

// subscriptions reads the list; a store without folders has none.
func (s *Store) subscriptions() ([]string, error) {
	if s.o.Folders == "" {
		return nil, nil
	}
	return subs.Read(filepath.Join(s.o.Folders, subscriptionFile), "/")
}

// Subscribe implements store.Store.
func (s *Store) Subscribe(name string, on bool) error {
	if _, _, err := s.place(name); err != nil {
		return err
	}
	if isInbox(name) {
		name = inbox
	}
	if s.o.Folders == "" {
		return store.ErrNoMailbox
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return subs.Change(filepath.Join(s.o.Folders, subscriptionFile), "/", name, on)
}
