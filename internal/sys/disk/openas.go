package disk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenAs opens a regular file for reading with the rights that account has on
// files. Root opens as any account, with its primary group; others as themselves.
// Links are followed: what is behind them is the account's to read or it is not.
func OpenAs(path string, uid, gid int) (*os.File, error) {
	// O_NONBLOCK: opening a pipe that nobody writes to must not wait.
	const flags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY
	var f *os.File
	var err error
	if os.Geteuid() != 0 || uid == 0 {
		f, err = os.OpenFile(path, flags, 0)
	} else {
		err = withRights(uid, gid, func() error {
			f, err = os.OpenFile(path, flags, 0)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	st, err := StatFile(f)
	if err == nil && !st.Regular {
		err = &UntrustedError{path, "not a regular file"}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// errRights says that a thread could not take the rights of a user.
var errRights = errors.New("cannot take the rights of another user on files")

// withRights calls fn in a thread whose file system identity is uid and gid
// (setfsuid(2)): the kernel also takes away root's right to pass by the modes.
// The kernel never refuses root the way back; were it to, the thread must not do
// anything else, so the caller's work ends in a panic.
func withRights(uid, gid int, fn func() error) error {
	runtime.LockOSThread()
	defer func() {
		if !setFS(os.Geteuid(), os.Getegid()) {
			panic("a thread cannot take its rights on files back")
		}
		runtime.UnlockOSThread()
	}()
	if !setFS(uid, gid) {
		return errRights
	}
	return fn()
}

// setFS changes the identity of the calling thread; only asking tells whether
// that worked.
func setFS(uid, gid int) bool {
	unix.SetfsgidRetGid(gid)
	unix.SetfsuidRetUid(uid)
	g, _ := unix.SetfsgidRetGid(-1)
	u, _ := unix.SetfsuidRetUid(-1)
	return g == gid && u == uid
}

// OwnerOf returns the user number that owns the file at path, behind links.
func OwnerOf(path string) (int, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return int(fi.Sys().(*syscall.Stat_t).Uid), nil
}

// RealPath returns the path of an open file as the kernel knows it: without the
// links that led to it.
func RealPath(f *os.File) (path string, err error) {
	err = control(f, func(fd int) error {
		path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		return err
	})
	return path, err
}
