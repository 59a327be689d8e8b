package disk

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Watch tells whether a name may have come into one of some folders since it was
// last asked (inotify(7)). The kernel notes a new name before whoever makes it goes
// on, so asking is as good as looking again, and costs one system call for all
// folders together. It says nothing of folders above.
//
// One process may add folders and another one ask: the file can be handed over.
type Watch struct {
	f    *os.File
	mu   sync.Mutex
	dirs map[string]struct{} // that Add took on
	buf  []byte              // of Stirred
}

// maxWatched is how many folders a Watch takes on: each holds about a kilobyte of the
// kernel's memory.
const maxWatched = 8192

// errWatch says that a folder cannot be watched.
var errWatch = errors.New("no watch for this folder")

// NewWatch returns a Watch of no folder.
func NewWatch() (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	return WatchOf(os.NewFile(uintptr(fd), "watch")), nil
}

// WatchOf returns the Watch whose File f is.
func WatchOf(f *os.File) *Watch { return &Watch{f: f, dirs: map[string]struct{}{}} }

// File returns the file to be handed over. It belongs to the Watch.
func (w *Watch) File() *os.File { return w.f }

// Close ends the watch.
func (w *Watch) Close() error { return w.f.Close() }

// Add takes on a folder until something comes into it, or happens to it; then it has
// to be added again. uid and gid are whose rights on files are used.
func (w *Watch) Add(dir string, uid, gid int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.dirs[dir]; !known && len(w.dirs) >= maxWatched {
		return errWatch
	}
	const mask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF |
		unix.IN_ONLYDIR | unix.IN_ONESHOT
	err := as(uid, gid, func() error {
		if !local(dir) {
			return errWatch
		}
		return control(w.f, func(fd int) error {
			_, err := unix.InotifyAddWatch(fd, dir, mask)
			return err
		})
	})
	if err == nil {
		w.dirs[dir] = struct{}{}
	}
	return err
}

// local tells whether dir is on a file system that only this machine changes: nobody
// tells of what others do.
func local(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}

// watchRead is how much is read of a Watch at once, in bytes: many events.
const watchRead = 16 << 10

// Stirred tells whether anything has happened since the last call; it does not wait.
// It is for one goroutine at a time.
func (w *Watch) Stirred() (bool, error) {
	if w.buf == nil {
		w.buf = make([]byte, watchRead)
	}
	stirred := false
	err := control(w.f, func(fd int) error {
		for {
			n, err := unix.Read(fd, w.buf)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return nil
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return err
			case n == 0:
				return os.ErrClosed
			default:
				stirred = true
			}
		}
	})
	return stirred, err
}
