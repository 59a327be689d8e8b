package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// File is an open regular file for those who write many small ones. An os.File
// costs five system calls more, by which Go finds out that a file cannot be
// polled, and a finalizer. It is used by one goroutine; Close must be called.
type File struct {
	fd   int
	path string
}

// Create makes the file name in the folder, for writing and reading; the error is
// fs.ErrExist when the name is taken, by a link too.
func (d *Dir) Create(name string, mode os.FileMode) (*File, error) {
	var fd int
	err := again(func() (err error) {
		const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, err = unix.Openat(d.fd, name, flags, uint32(mode.Perm()))
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: d.Join(name), Err: err}
	}
	return &File{fd: fd, path: d.Join(name)}, nil
}

// Rename gives the file from in the folder the name name in to, which replaces
// what had it. Both folders must be of one file system.
func (d *Dir) Rename(from string, to *Dir, name string) error {
	if err := unix.Renameat(d.fd, from, to.fd, name); err != nil {
		return &os.LinkError{Op: "rename", Old: d.Join(from), New: to.Join(name), Err: err}
	}
	return nil
}

// Remove takes a name of a file away.
func (d *Dir) Remove(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: d.Join(name), Err: err}
	}
	return nil
}

// Has tells whether the folder has a file of that name.
func (d *Dir) Has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// Name returns the path that the file was made at.
func (f *File) Name() string { return f.path }

// Stat returns the file's state.
func (f *File) Stat() (Stat, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstat(f.fd, &st) })
	return fromUnix(&st), f.fail("stat", err)
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		var n int
		err := again(func() (err error) { n, err = unix.Write(f.fd, p[done:]); return err })
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return done, f.fail("write", err)
		}
		done += n
	}
	return done, nil
}

// Sync returns when the file's bytes are on disk, and its names where
// Dir.NamesFollow says so.
func (f *File) Sync() error { return f.fail("fsync", again(func() error { return unix.Fsync(f.fd) })) }

// Close closes the file; a second call does nothing.
func (f *File) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return f.fail("close", unix.Close(fd)) // never repeated: after EINTR the descriptor is gone
}

func (f *File) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// again repeats a system call that a signal broke off.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// journalled are the file systems of which fsync(2) of a file, made or renamed
// before, is known to make its names durable, too: their journal is written in
// order, and the rename is in it before what the fsync waits for (ext4 and XFS
// log the inode with the rename; TestNamesFollow pulls the plug on ext4).
var journalled = [...]string{"ext4", "ext3", "xfs"}

// namesFollow finds the type of the file system that the folder is on in
// /proc/thread-self/mountinfo (proc_pid_mountinfo(5); TestNamesFollow mounts for one
// thread). What is not found there, such as a subvolume of btrfs, needs a flush of the
// folder.
func namesFollow(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	list, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false
	}
	dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	for line := range bytes.Lines(list) {
		before, after, _ := bytes.Cut(line, []byte(" - "))
		f := bytes.Fields(before)
		if len(f) < 3 || string(f[2]) != dev {
			continue
		}
		kind, _, _ := bytes.Cut(after, []byte(" "))
		for _, name := range journalled {
			if string(kind) == name {
				return true
			}
		}
		return false
	}
	return false
}

// Rename is rename(2). Unlike os.Rename it does not look first whether to is a
// folder.
func Rename(from, to string) error {
	if err := unix.Rename(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
