package queue

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"packetboat/internal/queue/postfix"
	"packetboat/internal/sys/disk"
)

// Postfix's files stand under its short or long ids, in folders that may be hashed
// to any depth (hash_queue_depth). A file that is imported is written anew in our
// form, in the same state, flushed, and only then deleted: a crash between the two
// leaves both, and the mail may be delivered twice, but never lost.

// foreignName are the names of Postfix's queue files; long ones hold a "z".
var foreignName = regexp.MustCompile(`^([0-9A-F]{6,21}|[0-9A-Za-z]{10,40})$`)

// foreignDepth is how deep Postfix hashes at most (hash_queue_depth).
const foreignDepth = 10

// found is what stands in each live folder, by id: a start looks at every file
// once, however many there are. An imported file has no inode here.
type found [nFolders]map[string]Info

// has tells whether an id is in any folder.
func (all *found) has(id string) bool {
	for _, f := range all {
		if _, ok := f[id]; ok {
			return true
		}
	}
	return false
}

// adopt imports what Postfix left in the queue, and returns what is in it then.
// What cannot be read stays in its place, and is told.
func (q *Queue) adopt(r *Recovered) (*found, error) {
	all := &found{}
	for _, f := range liveFolders {
		all[f] = map[string]Info{}
		if err := q.adoptDir(filepath.Join(q.root, f.String()), f, 0, r, all[f]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// adoptDir imports from one folder and those in it.
func (q *Queue) adoptDir(dir string, f Folder, depth int, r *Recovered, all map[string]Info) error {
	return eachName(dir, func(e fs.DirEntry) error {
		path := dir + "/" + e.Name()
		switch {
		case e.IsDir() && depth < foreignDepth && len(e.Name()) == 1:
			return q.adoptDir(path, f, depth+1, r, all)
		case e.IsDir() || !ValidID(e.Name()) && !foreignName.MatchString(e.Name()):
			return nil
		}
		st, err := disk.StatPath(path)
		id := ""
		// Without the owner's execute bit the file is ours, or Postfix was still
		// writing and nobody got "250".
		if err == nil && st.Mode&0o100 != 0 {
			id, err = q.adoptFile(path, f)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, postfix.ErrForeign):
			r.Foreign = append(r.Foreign, [2]string{path, err.Error()})
		case err != nil:
			return err
		case id != "":
			r.Renamed = append(r.Renamed, [2]string{e.Name(), id})
			all[id] = Info{ModTime: time.Unix(0, st.Mtime)}
		case ValidID(e.Name()) && (depth == 0 || depth == 1 && f == Deferred):
			if old, twice := all[e.Name()]; !twice || old.inode != 0 {
				all[e.Name()] = Info{ModTime: time.Unix(0, st.Mtime), Bytes: st.Size, Expire: st.Mode&expireBit != 0, inode: st.Ino}
			}
		}
		return nil
	})
}

// adoptFile imports one file; id is empty for a file of ours, and for one that
// Postfix had deleted already.
func (q *Queue) adoptFile(path string, folder Folder) (id string, err error) {
	f, st, err := disk.OpenStat(path, os.O_RDONLY, -1)
	if err != nil {
		if _, untrusted := errors.AsType[*disk.UntrustedError](err); untrusted || disk.IsLink(err) {
			return "", nil // whoever reads it later says what is wrong with it
		}
		return "", err
	}
	defer f.Close()
	if _, err := readTail(f, st.Size); err == nil || !postfix.Is(f) {
		return "", nil
	}
	w, err := q.Create()
	if err != nil {
		return "", err
	}
	defer w.Abort()
	m, err := postfix.Read(f, w)
	if err != nil {
		return "", err
	}
	if m.Killed {
		return "", os.Remove(path)
	}
	if err := w.Commit(m.Env); err != nil {
		return "", err
	}
	if err := q.settle(w.ID(), folder, st); err != nil {
		return "", err
	}
	os.Remove(filepath.Join(q.root, deferName, filepath.Base(path)[:1], filepath.Base(path))) // Postfix's reasons have another form
	return w.ID(), os.Remove(path)
}

// settle gives an imported message the state that it had.
func (q *Queue) settle(id string, folder Folder, st disk.Stat) error {
	if folder == Deferred {
		if err := os.Chtimes(q.Path(id, Incoming), time.Time{}, time.Unix(0, st.Mtime)); err != nil {
			return err
		}
	}
	if folder == Deferred || folder == Hold {
		if err := q.Move(id, Incoming, folder); err != nil {
			return err
		}
	}
	return nil
}

// Export writes every waiting message as Postfix would have written it, below the
// same folder, and deletes ours: what remains is a queue for Postfix, whose
// "postsuper -s" gives the files names that fit. Nothing else may use the queue
// meanwhile. It calls told with the id of each message, and with what went wrong
// with one that was left.
func (q *Queue) Export(told func(id string, err error)) error {
	if err := gone(os.Remove(q.ledger.path)); err != nil {
		return err
	}
	var ids []string
	for _, f := range liveFolders {
		ids = ids[:0]
		if err := q.IDs(f, func(id string) error { ids = append(ids, id); return nil }); err != nil {
			return err
		}
		for _, id := range ids {
			told(id, q.exportFile(id, f))
		}
	}
	return nil
}

// exportFile writes one message in Postfix's form.
func (q *Queue) exportFile(id string, f Folder) error {
	m, err := q.Load(id, f)
	if err != nil {
		return err
	}
	c, err := q.OpenContent(id, f)
	if err != nil {
		return err
	}
	defer c.Close()
	path := q.Path(id, f)
	temp := filepath.Join(filepath.Dir(path), "export."+strings.ToLower(id))
	out, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer out.Close()
	err = postfix.Write(out, m.Env, c.Reader())
	owner, ownerErr := disk.Owner(c.File)
	if err = errors.Join(err, ownerErr); err == nil {
		err = errors.Join(os.Lchown(temp, owner, -1), out.Chmod(0o700), out.Sync(), os.Chtimes(temp, time.Time{}, m.NextTry))
	}
	if err == nil {
		err = os.Rename(temp, path) // over ours: never both, never none
	}
	if err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}
