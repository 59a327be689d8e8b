package disk

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ID tells one state of a file from another: when two IDs are equal, nobody
// wrote to the file between them (but see Racy).
type ID struct {
	Dev, Ino uint64
	Size     int64
	Mtime    int64 // nanoseconds since 1970
}

// Stat is what the mailbox code wants to know of a file.
type Stat struct {
	ID
	Atime   int64 // nanoseconds since 1970
	Ctime   int64
	UID     int
	GID     int
	Links   uint64
	Regular bool
	Mode    os.FileMode // permission bits only
}

// StatPath returns the state of the file at path without following a link.
func StatPath(path string) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Stat{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fromUnix(&st), nil
}

// StatFile returns the state of an open file.
func StatFile(f *os.File) (Stat, error) {
	var st unix.Stat_t
	err := control(f, func(fd int) error { return unix.Fstat(fd, &st) })
	if err != nil {
		return Stat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return fromUnix(&st), nil
}

func fromUnix(st *unix.Stat_t) Stat {
	return Stat{
		ID:      ID{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()},
		Atime:   st.Atim.Nano(),
		Ctime:   st.Ctim.Nano(),
		UID:     int(st.Uid),
		GID:     int(st.Gid),
		Links:   uint64(st.Nlink),
		Regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
		Mode:    os.FileMode(st.Mode & 0o777),
	}
}

// OpenQuiet is OpenTrusted for files whose access time has a meaning, as a
// mailbox's has: reading through the handle leaves it alone (O_NOATIME). Where
// the system does not allow that, because the caller does not own the file,
// the handle is an ordinary one.
func OpenQuiet(path string, flags, uid int) (*os.File, error) {
	f, err := OpenTrusted(path, flags|unix.O_NOATIME, uid)
	if errors.Is(err, syscall.EPERM) {
		return OpenTrusted(path, flags, uid)
	}
	return f, err
}

// Touch sets the access time of the file at path to now and leaves its
// modification time alone, with the full precision that the disk keeps.
func Touch(path string) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// SetAtime sets the access time of the file at path, in nanoseconds since
// 1970, and leaves its modification time alone.
func SetAtime(path string, atime int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime), {Nsec: unix.UTIME_OMIT}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// control runs fn on the descriptor of f, which stays open meanwhile.
func control(f *os.File, fn func(fd int) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Full tells whether err says that the disk has no room (ENOSPC).
func Full(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// OverQuota tells whether err says that the owner's quota is used up (EDQUOT).
func OverQuota(err error) bool { return errors.Is(err, syscall.EDQUOT) }

// TooLarge tells whether err says that a file may not grow further (EFBIG).
func TooLarge(err error) bool { return errors.Is(err, syscall.EFBIG) }

// Denied tells whether err says that the caller lacks a right (EACCES, EPERM).
func Denied(err error) bool { return errors.Is(err, os.ErrPermission) }

// IsLink tells whether err is the refusal of a symbolic link (ELOOP).
func IsLink(err error) bool { return errors.Is(err, syscall.ELOOP) }

// NoDir tells whether err says that a part of the path is no folder (ENOTDIR).
func NoDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// NotEmpty tells whether err says that a folder still has entries.
func NotEmpty(err error) bool {
	return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST)
}

// OtherDisk tells whether err says that a link or a rename would leave its file
// system, or that this one knows no hard links (EXDEV, EPERM, EMLINK).
func OtherDisk(err error) bool {
	return errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK)
}

// bootTime returns when the machine was started; the zero time when unknown.
func bootTime() time.Time {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(si.Uptime) * time.Second)
}
