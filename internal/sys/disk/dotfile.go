package disk

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenDotfile opens a file that a user's rules stand in (~/.forward), with his
// rights on files, so that it shows nothing that he could not read himself, and
// a slow or broken home harms nobody else. A name that is not there, or that he
// cannot look at, is the error of lstat(2). What is there and must not be believed is an *UntrustedError: a link, a pipe, a device, a file of somebody
// else than the user or root, a file that everybody may write to, and one that
// he may not read.
func OpenDotfile(path string, uid, gid int) (*os.File, error) {
	var f *os.File
	err := as(uid, gid, func() (err error) {
		f, err = openDotfile(path, uid)
		return err
	})
	return f, err
}

func openDotfile(path string, uid int) (*os.File, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Lstat(path, &st) }); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if err := believable(path, &st, uid); err != nil {
		return nil, err
	}
	// O_NONBLOCK and O_NOFOLLOW: what lstat saw may have been changed for a pipe or
	// a link meanwhile. What was opened is looked at again.
	f, err := OpenFile(path, os.O_RDONLY|NoFollow|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, &UntrustedError{path, "cannot be opened: " + err.(*os.PathError).Err.Error()}
	}
	if err = control(f, func(fd int) error { return unix.Fstat(fd, &st) }); err == nil {
		err = believable(path, &st, uid)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// believable holds the owner and mode of a file against local(8)'s rules.
func believable(path string, st *unix.Stat_t, uid int) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return &UntrustedError{path, "is not a regular file"}
	case st.Uid != 0 && int(st.Uid) != uid:
		return &UntrustedError{path, "has bad owner uid " + strconv.Itoa(int(st.Uid))}
	case st.Mode&0o002 != 0:
		return &UntrustedError{path, "is world writable"}
	}
	return nil
}

// StatAs asks whether path is there, with the rights that a user has on files.
func StatAs(path string, uid, gid int) error {
	return as(uid, gid, func() error {
		var st unix.Stat_t
		return again(func() error { return unix.Stat(path, &st) })
	})
}

// as calls fn with the rights of a user on files, or with our own where we cannot
// have others, or he is root.
func as(uid, gid int, fn func() error) error {
	if os.Geteuid() != 0 || uid == 0 {
		return fn()
	}
	return withRights(uid, gid, fn)
}
