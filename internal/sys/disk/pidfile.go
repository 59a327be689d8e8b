package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrRunning says that another process holds the lock of a file.
var ErrRunning = errors.New("another process runs already")

// LockFile opens or creates the file at path with mode 0644 and takes an
// exclusive flock(2) on it that ends with the process. It returns ErrRunning
// without waiting when another process has it. Daemons use it for their pid
// files: the lock, not the number, tells whether one runs.
func LockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|NoFollow, 0o644)
	if err != nil {
		return nil, err
	}
	err = control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrRunning
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// MakeDir makes the folder at path unless it exists, and gives it owner, group
// and mode. uid or gid -1 leave what is there; without the right to change
// owners a folder of the caller's own is accepted as it is.
func MakeDir(path string, uid, gid int, mode os.FileMode) error {
	if err := os.MkdirAll(path, mode.Perm()); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}
