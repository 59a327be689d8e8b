package quota

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
)

// count adds up the mailboxes of a root, with CRLF line ends. A mailbox that has
// not changed since the last time costs a look at it. mu is held.
func (a *Account) count(r *Root) (used Usage, err error) {
	for _, sp := range a.spaces {
		if !sp.counts(r) {
			continue
		}
		u, err := sp.count(r)
		if err != nil {
			return used, err
		}
		used.Bytes, used.Count = used.Bytes+u.Bytes, used.Count+u.Count
	}
	return used, nil
}

func (sp *space) count(r *Root) (used Usage, err error) {
	list, err := sp.store.List()
	if err != nil {
		return used, err
	}
	for _, f := range list {
		_, ignored := r.limits(r.Limits, sp.name(f.Name))
		if ignored || f.NoSelect || f.Name == "INBOX" && !sp.inbox && sp.prefix != "" {
			continue
		}
		u, err := sp.mailbox(f.Name, r.Virtual)
		if errors.Is(err, store.ErrNoMailbox) {
			continue // somebody has deleted it meanwhile
		}
		if err != nil {
			return used, err
		}
		used.Bytes, used.Count = used.Bytes+u.Bytes, used.Count+u.Count
	}
	return used, nil
}

// mailbox adds up one mailbox.
func (sp *space) mailbox(name string, virtual bool) (Usage, error) {
	box, err := sp.store.Open(name)
	if err != nil {
		return Usage{}, err
	}
	defer box.Close()
	snap, err := box.Sync()
	if err != nil {
		return Usage{}, err
	}
	if old, ok := sp.sums[name]; ok && old.snap == snap {
		return old.octets(virtual), nil
	}
	if snap, err = box.Look(nil); err != nil {
		return Usage{}, err
	}
	s := sum{snap: snap, Usage: Usage{Count: int64(len(snap.Msgs))}}
	for i := range snap.Msgs {
		s.Bytes, s.raw = s.Bytes+max(snap.Msgs[i].Size, 0), s.raw+max(snap.Msgs[i].Raw, 0)
	}
	sp.sums[name] = s
	return s.octets(virtual), nil
}

// placer is a store that tells where a mailbox is.
type placer interface {
	Path(name string) (string, error)
}

// walk adds up the octets on disk of all messages of a Maildir, as their names tell
// them (",S="), else the files. mu is held.
func (a *Account) walk(r *Root) (used Usage, err error) {
	for _, sp := range a.spaces {
		p, ok := sp.store.(placer)
		if !ok || !sp.counts(r) {
			continue
		}
		list, err := sp.store.List()
		if err != nil {
			return used, err
		}
		for _, f := range list {
			if _, ignored := r.limits(r.Limits, sp.name(f.Name)); ignored || f.NoSelect {
				continue
			}
			path, err := p.Path(f.Name)
			if err != nil {
				continue
			}
			for _, sub := range []string{"new", "cur"} {
				if err := addDir(&used, filepath.Join(path, sub)); err != nil {
					return used, err
				}
			}
		}
	}
	return used, nil
}

// addDir adds the messages of one folder. A file that is moved meanwhile may be
// missed or counted twice; the next count is right.
func addDir(used *Usage, dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n[0] == '.' {
			continue
		}
		size, _ := uidlist.Sizes(uidlist.Base(n))
		if size < 0 {
			fi, err := os.Lstat(filepath.Join(dir, n))
			if err != nil || !fi.Mode().IsRegular() {
				continue
			}
			size = fi.Size()
		}
		used.Bytes, used.Count = used.Bytes+size, used.Count+1
	}
	return nil
}

// dirsize adds up the sizes of all files below some folders. Links are not followed.
func dirsize(dirs []string) (n int64, err error) {
	seen := map[string]bool{}
	for _, d := range dirs {
		err := filepath.WalkDir(d, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() || seen[path] {
				return err
			}
			seen[path] = true
			fi, err := e.Info()
			if err == nil {
				n += fi.Size()
			}
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
