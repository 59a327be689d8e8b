package queue

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// The operations of postsuper(1) on one message. Each is one rename or unlink,
// and tells whether the message was there to be worked on: ids that are not are
// passed over without an error. The scheduler has to be told afterwards.

// Hold moves a message to hold, wherever it is.
func (q *Queue) Hold(id string) (bool, error) {
	return q.fromAny(id, []Folder{Incoming, Active, Deferred}, func(f Folder) error { return q.Move(id, f, Hold) })
}

// Release moves a held message to deferred, to be tried at once.
func (q *Queue) Release(id string) (bool, error) {
	return q.fromAny(id, []Folder{Hold}, func(f Folder) error {
		// The time first: once it is in deferred the scheduler may look at it.
		now := time.Now()
		if err := os.Chtimes(q.Path(id, f), time.Time{}, now); err != nil {
			return err
		}
		return q.Move(id, f, Deferred)
	})
}

// Requeue moves a message to incoming: it is routed anew and tried at once. It
// keeps its id; Postfix gives it a new one. What is in incoming is new, and is
// being routed.
func (q *Queue) Requeue(id string) (bool, error) {
	return q.fromAny(id, liveFolders[:], func(f Folder) error { return q.Move(id, f, Incoming) })
}

// Delete removes a message, wherever it is.
func (q *Queue) Delete(id string) (bool, error) {
	gone, err := q.fromAny(id, liveFolders[:], func(f Folder) error { return q.Remove(id, f) })
	if gone {
		q.Forget(id)
	}
	return gone, err
}

// Expire marks a message so that its next failure is the last one. One that is
// marked already counts as not there, as in postsuper -e.
func (q *Queue) Expire(id string) (bool, error) {
	return q.fromAny(id, liveFolders[:], func(f Folder) error {
		st, err := disk.StatPath(q.Path(id, f))
		if err != nil {
			return err
		}
		if st.Mode&expireBit != 0 {
			return fs.ErrNotExist
		}
		return os.Chmod(q.Path(id, f), st.Mode|expireBit)
	})
}

// fromAny runs do in the first folder where the message is.
func (q *Queue) fromAny(id string, folders []Folder, do func(Folder) error) (bool, error) {
	if !ValidID(id) {
		return false, nil
	}
	for _, f := range folders {
		err := do(f)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// NextTry returns when a deferred message is tried again.
func (q *Queue) NextTry(id string) (time.Time, error) {
	if !ValidID(id) {
		return time.Time{}, errBadID(id)
	}
	st, err := disk.StatPath(q.Path(id, Deferred))
	if err == nil {
		q.ledger.expire(id, st.Mode&expireBit != 0)
	}
	return time.Unix(0, st.Mtime), err
}

// staleTemp is the age from which PurgeTemps takes an unfinished file for one
// whose writer is dead: longer than any SMTP session may last.
const staleTemp = 24 * time.Hour

// PurgeTemps removes unfinished files of dead writers while the mail system runs
// ("postsuper -p").
func (q *Queue) PurgeTemps() error {
	return eachName(q.dirs[Incoming].Path(), func(e fs.DirEntry) error {
		if e.IsDir() || !strings.HasPrefix(e.Name(), tempPrefix) {
			return nil
		}
		path := q.dirs[Incoming].Join(e.Name())
		st, err := disk.StatPath(path)
		if err != nil || time.Since(time.Unix(0, st.Mtime)) < staleTemp {
			return gone(err)
		}
		return gone(os.Remove(path))
	})
}
