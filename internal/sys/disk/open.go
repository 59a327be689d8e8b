package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// NoFollow is the flag of open(2) that refuses a symbolic link.
const NoFollow = syscall.O_NOFOLLOW

// OpenFile is os.OpenFile for regular files: Go does not ask the kernel whether
// it can be polled, which takes five system calls. Pipes and devices opened so
// block a thread.
func OpenFile(path string, flags int, mode os.FileMode) (*os.File, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = syscall.Open(path, flags|syscall.O_CLOEXEC, uint32(mode.Perm()))
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadFile is os.ReadFile by OpenFile.
func ReadFile(path string) ([]byte, error) {
	f, err := OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := StatFile(f)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, st.Size+512)
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		b = slices.Grow(b, 512)
	}
}

// OpenTrusted opens an existing file in a folder that others may write to. It
// refuses, without touching it, whatever is no regular file of the given owner
// with exactly one name: links of both kinds, pipes, devices, folders. uid -1
// accepts every owner. Flags are those of os.OpenFile without O_CREATE.
func OpenTrusted(path string, flags, uid int) (*os.File, error) {
	f, _, err := OpenStat(path, flags, uid)
	return f, err
}

// OpenStat is OpenTrusted with what it saw of the file.
func OpenStat(path string, flags, uid int) (*os.File, Stat, error) {
	// O_NONBLOCK: opening a pipe that nobody writes to must not wait.
	f, err := os.OpenFile(path, flags|NoFollow|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, Stat{}, err
	}
	st, err := StatFile(f)
	if err == nil {
		err = trusted(path, &st, uid)
	}
	if err != nil {
		f.Close()
		return nil, Stat{}, err
	}
	return f, st, nil
}

// UntrustedError says why a file was refused by OpenTrusted.
type UntrustedError struct{ Path, Why string }

// Error tells the path and the reason.
func (e *UntrustedError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Why) }

func trusted(path string, st *Stat, uid int) error {
	switch {
	case !st.Regular:
		return &UntrustedError{path, "not a regular file"}
	case st.Links != 1:
		return &UntrustedError{path, fmt.Sprintf("has %d names (hard links)", st.Links)}
	case uid >= 0 && st.UID != uid:
		return &UntrustedError{path, fmt.Sprintf("owned by uid %d, not by uid %d", st.UID, uid)}
	}
	return nil
}

// SoleName tells whether the name under which f was opened still stands, and is
// the only one. It cannot be raced: a name that is gone does not come back under
// an open file, so a file that had one name, and afterwards still has this one,
// had no other. Without /proc only the count of names speaks.
func SoleName(f *os.File) (bool, error) {
	st, err := StatFile(f)
	if err != nil || st.Links != 1 {
		return false, err
	}
	now := ""
	err = control(f, func(fd int) (err error) {
		now, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		return err
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return true, nil
	}
	return filepath.Base(now) == filepath.Base(f.Name()), err
}
