package queue

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// scanBatch is how many names are read from a folder at once.
const scanBatch = 1024

// Info is what a folder tells of a message without opening it.
type Info struct {
	ModTime time.Time // the next try of a deferred message
	Bytes   int64     // of the whole file
	Expire  bool      // "postsuper -e"
	inode   uint64
}

// Scan calls fn for each message of a folder, in no order. Unfinished files and
// foreign names are passed over, messages that vanish meanwhile too. An error of
// fn ends the scan and is returned.
func (q *Queue) Scan(f Folder, fn func(id string, info Info) error) error {
	return q.walk(f, func(dir, name string) error {
		if !ValidID(name) {
			return nil
		}
		st, err := disk.StatPath(dir + "/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(name, Info{ModTime: time.Unix(0, st.Mtime), Bytes: st.Size, Expire: st.Mode&expireBit != 0, inode: st.Ino})
	})
}

// IDs calls fn for the name of each message of a folder, without looking at the
// file: counting 100,000 messages costs some dozen system calls.
func (q *Queue) IDs(f Folder, fn func(id string) error) error {
	return q.walk(f, func(_, name string) error {
		if !ValidID(name) {
			return nil
		}
		return fn(name)
	})
}

// walk calls fn for each file name of a folder, through the hashed folders.
func (q *Queue) walk(f Folder, fn func(dir, name string) error) error {
	top := filepath.Join(q.root, f.String())
	return eachName(top, func(e fs.DirEntry) error {
		if !e.IsDir() {
			return fn(top, e.Name())
		}
		// Postfix may have hashed another folder, or hashed deferred deeper:
		// one level is ours.
		if len(e.Name()) != 1 || f != Deferred {
			return nil
		}
		sub := filepath.Join(top, e.Name())
		return eachName(sub, func(e fs.DirEntry) error { return fn(sub, e.Name()) })
	})
}

// eachName reads a folder in batches.
func eachName(dir string, fn func(fs.DirEntry) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		list, err := d.ReadDir(scanBatch)
		for _, e := range list {
			if err := fn(e); err != nil {
				return err
			}
		}
		if err == io.EOF || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Recovered is what Recover found.
type Recovered struct {
	Ready   []string    // ids that are to be delivered now, all in incoming
	Fresh   []string    // some of Ready, found in incoming: Check them first
	Waiting []Wait      // deferred messages
	Removed int         // unfinished files that were never acknowledged
	Renamed [][2]string // old and new ids of files that were copied here, or of Postfix's that were imported
	Foreign [][2]string // Postfix's files that could not be imported, and why; they stay where they are
}

// Wait is a deferred message and its next try.
type Wait struct {
	ID   string
	Next time.Time
}

// Recover puts the folders in order after a start or a crash, before anything
// else uses the queue: unfinished files go, what was active is incoming again,
// names agree with inodes, and reasons without a message go.
func (q *Queue) Recover() (*Recovered, error) {
	r := &Recovered{}
	q.ledger.take()
	if err := q.dropTemps(r); err != nil {
		return nil, err
	}
	all, err := q.adopt(r)
	if err != nil {
		return nil, err
	}
	for _, f := range liveFolders {
		for id, info := range all[f] {
			if info.inode == 0 || idFits(id, info.inode) {
				continue
			}
			fresh, err := q.refit(id, f, info, r)
			if err != nil {
				return nil, err
			}
			delete(all[f], id)
			if fresh != "" {
				all[f][fresh] = Info{ModTime: info.ModTime}
			}
		}
	}
	// What was active once had been answered for, and is whole.
	for id := range all[Incoming] {
		r.Fresh = append(r.Fresh, id)
	}
	r.Ready = append(r.Ready, r.Fresh...)
	for id := range all[Active] {
		r.Ready = append(r.Ready, id)
		if err := gone(q.Move(id, Active, Incoming)); err != nil {
			return nil, err
		}
	}
	for id, info := range all[Deferred] {
		r.Waiting = append(r.Waiting, Wait{id, info.ModTime})
	}
	return r, q.dropReasons(all)
}

// gone forgives that somebody else was faster.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dropTemps removes what a dead writer left. The writer never answered "250".
func (q *Queue) dropTemps(r *Recovered) error {
	return eachName(q.dirs[Incoming].Path(), func(e fs.DirEntry) error {
		if e.IsDir() || !strings.HasPrefix(e.Name(), tempPrefix) {
			return nil
		}
		r.Removed++
		return gone(q.dirs[Incoming].Remove(e.Name()))
	})
}

// Rename gives every message whose name does not fit its inode (a queue that was
// copied or restored) a name that does, as "postsuper -s" does: a new message
// could be given its id otherwise.
func (q *Queue) Rename(r *Recovered) error {
	for _, f := range liveFolders {
		err := q.Scan(f, func(id string, info Info) error {
			if idFits(id, info.inode) {
				return nil
			}
			_, err := q.refit(id, f, info, r)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refit gives a message a name that fits; empty when somebody else was faster.
func (q *Queue) refit(id string, f Folder, info Info, r *Recovered) (string, error) {
	fresh := q.freshID(info.inode)
	if err := q.renumber(id, fresh, f); err != nil {
		return "", gone(err)
	}
	r.Renamed = append(r.Renamed, [2]string{id, fresh})
	return fresh, nil
}

// freshID returns an id for inode that no misnamed file bears at the moment.
func (q *Queue) freshID(inode uint64) string {
	now := time.Now()
	for {
		id := q.makeID(now, inode)
		if _, taken := q.Find(id); !taken {
			return id
		}
		now = now.Add(time.Microsecond)
	}
}

// renumber changes the id of a message.
func (q *Queue) renumber(id, fresh string, f Folder) error {
	if err := makeDir(filepath.Dir(q.Path(fresh, f))); err != nil {
		return err
	}
	if err := q.rename(id, f, fresh, f); err != nil {
		return err
	}
	q.ledger.rename(id, fresh)
	return nil
}

// dropReasons forgets reasons whose message is gone, and removes the files that an
// older Packetboat kept of each message: they have another form.
func (q *Queue) dropReasons(all *found) error {
	q.ledger.keep(all)
	top := filepath.Join(q.root, deferName)
	return eachName(top, func(e fs.DirEntry) error {
		if !e.IsDir() {
			return nil
		}
		return eachName(filepath.Join(top, e.Name()), func(e fs.DirEntry) error {
			if !ValidID(e.Name()) {
				return nil
			}
			// What belongs to a message of Postfix's that could not be imported stays.
			if _, ok := q.Find(e.Name()); all.has(e.Name()) || !ok {
				os.Remove(filepath.Join(top, e.Name()[:1], e.Name()))
			}
			return nil
		})
	})
}
