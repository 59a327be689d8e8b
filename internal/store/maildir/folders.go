package maildir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/store"
	"packetboat/internal/store/index"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/store/names"
	"packetboat/internal/store/subs"
	"packetboat/internal/sys/disk"
)

// maxFolders and maxDepth bound a walk through the folders.
const (
	maxFolders = 100000
	maxDepth   = 20
)

// List implements store.Store.
func (s *Store) List() ([]store.Folder, error) {
	wanted, err := subs.Read(s.subscriptions(), s.separator())
	if err != nil {
		return nil, err
	}
	have := map[string]bool{} // value: there is mail in it
	if s.o.Tree {
		err = s.walk("", "", 0, have)
	} else {
		err = s.flat(have)
	}
	if err != nil {
		return nil, err
	}
	list := []store.Folder{{Name: inbox}}
	for name, mail := range have {
		list = append(list, store.Folder{Name: name, NoSelect: !mail})
	}
	slices.SortFunc(list[1:], func(a, b store.Folder) int { return strings.Compare(a.Name, b.Name) })
	markParents(list)
	return markSubscribed(list, wanted), nil
}

// separator stands between the parts of a name in older lists of subscriptions.
func (s *Store) separator() string {
	if s.o.Tree {
		return "/"
	}
	return "."
}

// flat reads a Maildir++: every folder stands in the root. A name on disk that
// is no modified UTF-7 is passed over: it could not be named back.
func (s *Store) flat(have map[string]bool) error {
	entries, err := os.ReadDir(s.o.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		rest, dotted := strings.CutPrefix(e.Name(), ".")
		if !dotted || len(have) >= maxFolders || !isFolder(s.o.Root, e) {
			continue
		}
		name, ok := fromDisk(strings.Split(rest, "."))
		if !ok || isInbox(name) {
			continue
		}
		have[name] = true
		for i, c := range name { // the levels above need no folder of their own
			if c == '/' && !have[name[:i]] {
				have[name[:i]] = false
			}
		}
	}
	return nil
}

// fromDisk turns the parts of a name on disk into a folder's name.
func fromDisk(words []string) (string, bool) {
	for i, p := range words {
		n, ok := names.Decode(p)
		if !ok || !names.ValidPart(n) {
			return "", false
		}
		words[i] = n
	}
	return strings.Join(words, "/"), true
}

// isFolder tells whether e is a folder, or a link to one.
func isFolder(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	fi, err := os.Stat(filepath.Join(dir, e.Name()))
	return err == nil && fi.IsDir()
}

// walk reads a tree of folders (LAYOUT=fs).
func (s *Store) walk(dir, prefix string, depth int, have map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(s.o.Root, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := fromDisk([]string{e.Name()})
		if !ok || len(have) >= maxFolders || depth >= maxDepth || slices.Contains(parts[:], e.Name()) || !isFolder(filepath.Join(s.o.Root, dir), e) {
			continue
		}
		if prefix == "" && isInbox(name) {
			continue
		}
		rel := filepath.Join(dir, e.Name())
		have[prefix+name] = isMaildir(filepath.Join(s.o.Root, rel))
		if err := s.walk(rel, prefix+name+"/", depth+1, have); err != nil {
			return err
		}
	}
	return nil
}

// markParents finds the folders that have others below them; list is sorted.
func markParents(list []store.Folder) {
	at := make(map[string]int, len(list))
	for i := range list {
		at[list[i].Name] = i
	}
	for i := range list {
		if k := strings.LastIndexByte(list[i].Name, '/'); k >= 0 {
			if p, ok := at[list[i].Name[:k]]; ok {
				list[p].HasChildren = true
			}
		}
	}
}

// markSubscribed marks what is subscribed to, and adds what is not there.
func markSubscribed(list []store.Folder, wanted []string) []store.Folder {
	for i := range list {
		k := slices.IndexFunc(wanted, func(n string) bool { return n == list[i].Name || i == 0 && isInbox(n) })
		if k >= 0 {
			list[i].Subscribed = true
			wanted = slices.Delete(wanted, k, k+1)
		}
	}
	for _, name := range wanted {
		list = append(list, store.Folder{Name: name, NoSelect: true, Subscribed: true})
	}
	return list
}

// Create implements store.Store. A name that ends in "/" makes a place for
// folders only (RFC 3501 section 6.3.3), which a Maildir++ need not have.
func (s *Store) Create(name string) error {
	name, dir := strings.CutSuffix(name, "/")
	path, control, cache, err := s.place(name)
	if err != nil {
		return err
	}
	if isInbox(name) || isMaildir(path) {
		return store.ErrExists
	}
	if dir && !s.o.Tree {
		return nil
	}
	if dir {
		return os.MkdirAll(path, 0o700)
	}
	for _, p := range []string{control, cache} {
		// What an earlier folder of this name left would give its UIDs again.
		if p != "" && p != path {
			os.RemoveAll(p)
		}
	}
	if err := makeMaildir(path, true); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(path))
}

// Delete implements store.Store.
func (s *Store) Delete(name string) error {
	path, control, cache, err := s.place(name)
	if err != nil {
		return err
	}
	if isInbox(name) {
		return store.ErrBadName
	}
	if !isMaildir(path) {
		return s.deletePlace(name, path)
	}
	s.forget(name)
	if s.o.Tree && hasFolders(path) {
		err = removeMail(path) // the folders below stay
	} else {
		err = s.trash(path)
	}
	for _, p := range []string{control, cache} {
		if p != "" && p != path {
			os.RemoveAll(p)
		}
	}
	return err
}

// deletePlace deletes what holds no mail itself.
func (s *Store) deletePlace(name, path string) error {
	list, err := s.List()
	if err != nil {
		return err
	}
	for _, f := range list {
		if strings.HasPrefix(f.Name, name+"/") {
			return store.ErrHasChildren
		}
	}
	if s.o.Tree && exists(path) {
		return os.Remove(path)
	}
	return store.ErrNoMailbox
}

// hasFolders tells whether folders stand below a mailbox of a tree.
func hasFolders(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.IsDir() && !slices.Contains(parts[:], e.Name())
	})
}

// removeMail takes the mail out of a folder.
func removeMail(path string) error {
	var err error
	for _, p := range parts {
		err = errors.Join(err, os.RemoveAll(filepath.Join(path, p)))
	}
	for _, p := range []string{uidlist.FileName, uidlist.KeywordsName, cacheName, index.FileName} {
		os.Remove(filepath.Join(path, p))
	}
	return err
}

// trash renames a folder first, to a name that Dovecot clears away, too: a
// crash leaves no half of a mailbox behind.
func (s *Store) trash(path string) error {
	away := filepath.Join(s.o.Root, "..DOVECOT-TRASHED")
	if exists(away) {
		os.RemoveAll(away)
	}
	if err := os.Rename(path, away); err != nil {
		return err
	}
	if err := disk.SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.RemoveAll(away)
}

// Rename implements store.Store.
func (s *Store) Rename(from, to string) error {
	src, _, _, err := s.place(from)
	if err != nil {
		return err
	}
	dst, _, _, err := s.place(to)
	if err != nil {
		return err
	}
	if isInbox(to) || exists(dst) {
		return store.ErrExists
	}
	if isInbox(from) {
		return s.renameInbox(to)
	}
	if strings.HasPrefix(to, from+"/") {
		return store.ErrBadName
	}
	pairs, err := s.family(from, to, src, dst)
	if err != nil {
		return err
	}
	s.forget(from)
	for _, p := range pairs {
		if err := s.move(p[0], p[1]); err != nil {
			return err
		}
	}
	return errors.Join(disk.SyncDir(filepath.Dir(src)), disk.SyncDir(filepath.Dir(dst)))
}

// family returns what has to be renamed, from and to paths, with the folders
// below, which a Maildir++ keeps beside their parent.
func (s *Store) family(from, to, src, dst string) ([][2]string, error) {
	var pairs [][2]string
	if exists(src) {
		pairs = append(pairs, [2]string{src, dst})
	}
	if s.o.Tree {
		if len(pairs) == 0 {
			return nil, store.ErrNoMailbox
		}
		return pairs, os.MkdirAll(filepath.Dir(dst), 0o700)
	}
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		rest, below := strings.CutPrefix(f.Name, from+"/")
		if !below || f.NoSelect {
			continue
		}
		a, _, _, err1 := s.place(f.Name)
		b, _, _, err2 := s.place(to + "/" + rest)
		if err1 != nil || err2 != nil || exists(b) {
			return nil, store.ErrExists
		}
		pairs = append(pairs, [2]string{a, b})
	}
	if len(pairs) == 0 {
		return nil, store.ErrNoMailbox
	}
	return pairs, nil
}

// move renames a folder and what belongs to it below CONTROL= and INDEX=.
func (s *Store) move(src, dst string) error {
	if err := os.Rename(src, dst); err != nil {
		return err
	}
	for _, root := range []string{s.o.Control, s.o.Index} {
		a, err1 := filepath.Rel(s.o.Root, src)
		b, err2 := filepath.Rel(s.o.Root, dst)
		if root != "" && root != "MEMORY" && err1 == nil && err2 == nil {
			os.RemoveAll(filepath.Join(root, b))
			os.MkdirAll(filepath.Dir(filepath.Join(root, b)), 0o700)
			if err := os.Rename(filepath.Join(root, a), filepath.Join(root, b)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
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

// subscriptions is the file where Dovecot keeps the list.
const subscriptions = "subscriptions"

func (s *Store) subscriptions() string {
	if s.o.Control != "" {
		return filepath.Join(s.o.Control, subscriptions)
	}
	return filepath.Join(s.o.Root, subscriptions)
}

// Subscribe implements store.Store.
func (s *Store) Subscribe(name string, on bool) error {
	if _, _, _, err := s.place(name); err != nil {
		return err
	}
	if isInbox(name) {
		name = inbox
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return subs.Change(s.subscriptions(), s.separator(), name, on)
}
