package mbox

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/names"
	"packetboat/internal/sys/disk"
)

// maxFolders and maxDepth bound a walk through a folder tree.
const (
	maxFolders = 100000
	maxDepth   = 20
)

// List implements store.Store.
func (s *Store) List() ([]store.Folder, error) {
	subs, err := s.subscriptions()
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
		if k := slices.IndexFunc(subs, func(n string) bool { return n == list[i].Name || isInbox(n) && list[i].Name == inbox }); k >= 0 {
			list[i].Subscribed = true
			subs = slices.Delete(subs, k, k+1)
		}
	}
	for _, name := range subs {
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
			*list = append(*list, store.Folder{Name: prefix + name})
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
	snap, err := src.Sync()
	if err != nil {
		return err
	}
	var msgs []store.New
	var uids []uint32
	for i := range snap.Msgs {
		m := &snap.Msgs[i]
		r, err := src.Read(m.UID, 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		msgs = append(msgs, store.New{Body: r, Flags: m.Flags, Keywords: snap.Words(m.Keywords), Date: time.Unix(m.Date, 0)})
		uids = append(uids, m.UID)
	}
	if _, err := dst.Append(msgs); err != nil {
		return err
	}
	_, err = src.Expunge(uids)
	return err
}

// subscriptionFiles: where Dovecot keeps the list below the root.
const subscriptionFile = ".subscriptions"

// maxSubscriptions bounds the list's size in octets.
const maxSubscriptions = 8 << 20

// subscriptions reads the list: one name a line in modified UTF-7, or, behind
// the line "V\t2", one name a line with its parts between tabs.
func (s *Store) subscriptions() ([]string, error) {
	if s.o.Folders == "" {
		return nil, nil
	}
	f, err := disk.OpenTrusted(filepath.Join(s.o.Folders, subscriptionFile), os.O_RDONLY, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	v2 := false
	sc := bufio.NewScanner(io.LimitReader(f, maxSubscriptions))
	for first := true; sc.Scan(); first = false {
		line := sc.Text()
		if first && line == "V\t2" {
			v2 = true
		} else if name, ok := readSubscription(line, v2); ok {
			names = append(names, name)
		}
	}
	return names, sc.Err()
}

// readSubscription reads one line. Version 2 holds UTF-8 parts where a tab
// within a name is escaped; version 1 modified UTF-7.
func readSubscription(line string, v2 bool) (string, bool) {
	if line == "" {
		return "", false
	}
	if !v2 {
		return names.Decode(line)
	}
	parts := strings.Split(line, "\t")
	for i, p := range parts {
		if n, ok := names.Decode(p); ok {
			parts[i] = n
		}
	}
	return strings.Join(parts, "/"), true
}

// Subscribe implements store.Store.
func (s *Store) Subscribe(name string, on bool) error {
	if _, _, err := s.place(name); err != nil {
		return err
	}
	if isInbox(name) {
		name = inbox
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.subscriptions()
	if err != nil {
		return err
	}
	have := slices.Contains(names, name)
	switch {
	case have == on:
		return nil
	case on:
		names = append(names, name)
	default:
		names = slices.DeleteFunc(names, func(n string) bool { return n == name })
	}
	return s.writeSubscriptions(names)
}

// writeSubscriptions writes version 2, as Dovecot 2.3 does.
func (s *Store) writeSubscriptions(list []string) error {
	if s.o.Folders == "" {
		return store.ErrNoMailbox
	}
	b := []byte("V\t2\n\n")
	for _, n := range list {
		for i, p := range strings.Split(n, "/") {
			if i > 0 {
				b = append(b, '\t')
			}
			b = append(b, names.Encode(p)...)
		}
		b = append(b, '\n')
	}
	if err := os.MkdirAll(s.o.Folders, 0o700); err != nil {
		return err
	}
	return disk.WriteFile(filepath.Join(s.o.Folders, subscriptionFile), b, 0o600)
}
