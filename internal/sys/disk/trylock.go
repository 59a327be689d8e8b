package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// TryLock takes an exclusive lock on f without waiting, and tells whether it
// got it. It belongs to the open file: Unlock, or closing f, ends it. Caches
// that several processes append to take it.
func TryLock(f *os.File) (bool, error) {
	err := lockNow(f, unix.F_WRLCK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// Unlock gives up what TryLock took.
func Unlock(f *os.File) error { return unlock(f) }

// NoWait is the flag of open(2) with which opening a pipe that nobody writes to
// does not wait.
const NoWait = unix.O_NONBLOCK
