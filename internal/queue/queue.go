package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// Folder is the state of a queued message.
type Folder uint8

// The folders that hold queue files.
const (
	Incoming Folder = iota // committed, and not delivered at once (and unfinished files)
	Active                 // the scheduler has been delivering it for a second
	Deferred               // waits for its next try: the file's modification time
	Hold                   // waits for the administrator
	Corrupt                // cannot be read; kept for the administrator
	nFolders
)

var folderNames = [nFolders]string{"incoming", "active", "deferred", "hold", "corrupt"}

// String returns the folder's name on disk, as find(1) and postsuper(1) know it.
func (f Folder) String() string {
	if f < nFolders {
		return folderNames[f]
	}
	return "unknown"
}

// FolderNamed returns the Folder of that name; ok is false for any other word.
func FolderNamed(name string) (f Folder, ok bool) {
	for i, n := range folderNames {
		if n == name {
			return Folder(i), true
		}
	}
	return 0, false
}

// deferName is the folder of the reasons for delays: see ledger.
const deferName = "defer"

// Files are readable by nobody but their owner. expireBit marks a message that
// "postsuper -e" expired, as Postfix's MAIL_QUEUE_STAT_EXPIRE does.
const (
	fileMode  fs.FileMode = 0o600
	dirMode   fs.FileMode = 0o700
	expireBit fs.FileMode = 0o010
)

// Queue is the mail queue below one folder. All methods may be called from any
// goroutine, and several processes may work on one queue: every change of state
// is one rename.
type Queue struct {
	root    string
	dirs    [nFolders]*disk.Dir // flushes are shared by concurrent commits
	ledger  ledger
	follow  bool          // a file's fsync makes its name durable
	long    bool          // new messages get long ids
	pid     string        // of this process, and
	serial  atomic.Uint64 // a number, make temporary names differ
	buffers sync.Pool     // of *[bufSize]byte, for writers
	steps   func(step string) error
}

// Open opens the queue below dir (queue_directory of postconf(5)) and makes the
// folders that are missing, as the calling user and with mode 0700.
func Open(dir string) (*Queue, error) {
	for _, name := range append(folderNames[:], deferName) {
		if err := os.MkdirAll(filepath.Join(dir, name), dirMode); err != nil {
			return nil, err
		}
	}
	return Use(dir)
}

// Use opens a queue that exists, without making anything: for administration.
func Use(dir string) (*Queue, error) {
	q := &Queue{root: dir, pid: strconv.Itoa(os.Getpid()), ledger: ledger{path: ledgerPath(dir)}}
	q.buffers.New = func() any { return new([bufSize]byte) }
	for f := range nFolders {
		d, err := disk.OpenDir(filepath.Join(dir, f.String()))
		if err != nil {
			return nil, errors.Join(err, q.Close())
		}
		q.dirs[f] = d
	}
	q.follow = q.dirs[Incoming].NamesFollow()
	return q, nil
}

// Close lets go of the folders. Writers must be finished before.
func (q *Queue) Close() (err error) {
	err = q.ledger.close()
	for _, d := range q.dirs {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
	}
	return err
}

// Dir returns the folder that Open got.
func (q *Queue) Dir() string { return q.root }

// Path returns the path of a message's file in a folder.
func (q *Queue) Path(id string, f Folder) string {
	return q.root + "/" + f.String() + "/" + place(id, f)
}

// place is the name of a message's file below its folder; deferred is hashed one
// level by the first character of the id (hash_queue_names of postconf(5)).
func place(id string, f Folder) string {
	if f == Deferred && id != "" {
		return id[:1] + "/" + id
	}
	return id
}

// Move changes the state of a message. It returns an error that is
// fs.ErrNotExist when the message is not in from (any more).
func (q *Queue) Move(id string, from, to Folder) error {
	if !ValidID(id) {
		return errBadID(id)
	}
	err := q.rename(id, from, id, to)
	if to != Deferred || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Either the message is gone or the hashed folder has not been made yet.
	if err := makeDir(filepath.Dir(q.Path(id, to))); err != nil {
		return err
	}
	return q.rename(id, from, id, to)
}

// rename is one renameat(2).
func (q *Queue) rename(id string, from Folder, name string, to Folder) error {
	return q.dirs[from].Rename(place(id, from), q.dirs[to], place(name, to))
}

// Defer puts an active message aside until next. reasons has an entry, by index,
// for each recipient that is left; they are for people and may be lost in a crash.
func (q *Queue) Defer(m *Message, next time.Time, reasons map[int]string) error {
	id := m.ID
	if !ValidID(id) {
		return errBadID(id)
	}
	if err := os.Chtimes(q.Path(id, Active), time.Time{}, next); err != nil {
		return err
	}
	// Reasons are a courtesy: a full disk must not keep the message active.
	lost := q.note(m, reasons)
	return errors.Join(q.Move(id, Active, Deferred), lost)
}

// note writes the ledger's line of a message.
func (q *Queue) note(m *Message, reasons map[int]string) error {
	q.ledger.take()
	return q.ledger.put(m.ID, appendLine(nil, m, reasons))
}

// SetNextTry changes when a deferred message is tried again.
func (q *Queue) SetNextTry(id string, next time.Time) error {
	if !ValidID(id) {
		return errBadID(id)
	}
	return os.Chtimes(q.Path(id, Deferred), time.Time{}, next)
}

// Remove deletes a message that is done with. The deletion is not flushed: when
// a crash undoes it, the recipients that are still Pending get it once more.
func (q *Queue) Remove(id string, from Folder) error {
	if !ValidID(id) {
		return errBadID(id)
	}
	return q.dirs[from].Remove(place(id, from))
}

// Forget deletes the reasons of a message that was deferred once.
func (q *Queue) Forget(id string) {
	q.ledger.forget(id)
}

// liveFolders are the folders in which a message is on its way, in the order in
// which an id is looked for: a message moves along it from left to right.
var liveFolders = [...]Folder{Incoming, Active, Deferred, Hold}

// Find tells in which folder a message is.
func (q *Queue) Find(id string) (Folder, bool) {
	if !ValidID(id) {
		return 0, false
	}
	// Twice: the message may be renamed against our direction while we look.
	for range 2 {
		for _, f := range liveFolders {
			if _, err := os.Lstat(q.Path(id, f)); err == nil {
				return f, true
			}
		}
	}
	return 0, false
}

// Has tells whether a message is in that folder.
func (q *Queue) Has(id string, f Folder) bool { return ValidID(id) && q.dirs[f].Has(place(id, f)) }

// Mark records in place what became of recipient i, numbered as in the
// envelope. It is not flushed: losing it means delivering twice, never losing.
// An active message is marked also where "postsuper -h" has just moved it.
func (q *Queue) Mark(id string, i int, s mail.State) error {
	if s != mail.Pending && s != mail.Done {
		return fmt.Errorf("queue: bad state %q", byte(s))
	}
	return q.markByte(id, func(t tail) (int64, error) {
		if i < 0 || i >= t.rcpts {
			return 0, fmt.Errorf("queue: %s has no recipient %d", id, i)
		}
		return t.states() + 1 + int64(i), nil
	}, byte(s))
}

// MarkWarned records that the sender has been told of the delay
// (delay_warning_time of postconf(5)), so that it is told once only.
func (q *Queue) MarkWarned(id string) error {
	return q.markByte(id, func(t tail) (int64, error) { return t.states(), nil }, warned)
}

// markByte writes one byte at the place that at finds.
func (q *Queue) markByte(id string, at func(tail) (int64, error), b byte) error {
	f, fi, err := q.openAny(id, Active, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := readTail(f, fi.Size)
	if err != nil {
		return err
	}
	off, err := at(t)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{b}, off)
	return err
}

// openAny opens a message wherever it is; it is probably in first.
func (q *Queue) openAny(id string, first Folder, flags int) (*os.File, disk.Stat, error) {
	if !ValidID(id) {
		return nil, disk.Stat{}, errBadID(id)
	}
	f, st, err := disk.OpenStat(q.Path(id, first), flags, -1)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, st, err
	}
	where, ok := q.Find(id)
	if !ok {
		return nil, disk.Stat{}, err
	}
	return disk.OpenStat(q.Path(id, where), flags, -1)
}

// makeDir makes one hashed folder; that it exists already is no error. Made by
// root (postsuper), it belongs to the owner of the folder around it: the daemon
// must be able to use it.
func makeDir(path string) error {
	err := os.Mkdir(path, dirMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	around, err := disk.StatPath(filepath.Dir(path))
	if err != nil {
		return err
	}
	return os.Lchown(path, around.UID, around.GID)
}

// step is where tests make the writer die; outside of tests it does nothing.
func (q *Queue) step(name string) error {
	if q.steps == nil {
		return nil
	}
	return q.steps(name)
}
