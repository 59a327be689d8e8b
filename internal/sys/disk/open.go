package disk

import (
	"fmt"
	"os"
	"syscall"
)

const (
	oNoFollow  = syscall.O_NOFOLLOW
	oDirectory = syscall.O_DIRECTORY
)

// OpenTrusted opens an existing file in a folder that others may write to. It
// refuses, without touching it, whatever is no regular file of the given owner
// with exactly one name: links of both kinds, pipes, devices, folders. uid -1
// accepts every owner. Flags are those of os.OpenFile without O_CREATE.
func OpenTrusted(path string, flags, uid int) (*os.File, error) {
	// O_NONBLOCK: opening a pipe that nobody writes to must not wait.
	f, err := os.OpenFile(path, flags|oNoFollow|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := trusted(f, uid); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// UntrustedError says why a file was refused by OpenTrusted.
type UntrustedError struct{ Path, Why string }

// Error tells the path and the reason.
func (e *UntrustedError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Why) }

func trusted(f *os.File, uid int) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.Mode().IsRegular():
		return &UntrustedError{f.Name(), "not a regular file"}
	case st.Nlink != 1:
		return &UntrustedError{f.Name(), fmt.Sprintf("has %d names (hard links)", st.Nlink)}
	case uid >= 0 && int(st.Uid) != uid:
		return &UntrustedError{f.Name(), fmt.Sprintf("owned by uid %d, not by uid %d", st.Uid, uid)}
	}
	return nil
}
