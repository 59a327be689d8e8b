package disk

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenMailbox opens the mailbox file at path for appending, or makes it with mode
// 0600. Two who make it at once end up with the same file. Links, pipes and the files
// of others than owner are refused; owner -1 accepts every one. Reading it leaves its
// access time alone.
func OpenMailbox(path string, owner int) (*os.File, error) {
	for range 3 {
		f, err := OpenQuiet(path, os.O_RDWR, owner)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		// Opened anew it leaves its access time alone, which creating it does not offer.
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, fs.ErrExist
}

// OpenMailboxAs is OpenMailbox with the rights that an account has on files, in the
// group gid (mail).
func OpenMailboxAs(path string, uid, gid, owner int) (f *os.File, err error) {
	err = as(uid, gid, func() error {
		f, err = OpenMailbox(path, owner)
		return err
	})
	return f, err
}

// SharedFolder tells whether an account that is in group gid may make and remove all
// names in the folder at path: Debian's /var/mail is root:mail, mode 2775.
func SharedFolder(path string, uid, gid int) bool {
	var fi os.FileInfo
	err := as(uid, gid, func() (err error) {
		fi, err = os.Lstat(path)
		return err
	})
	if err != nil || !fi.IsDir() || fi.Mode()&os.ModeSticky != 0 || fi.Mode()&0o030 != 0o030 {
		return false
	}
	return int(fi.Sys().(*syscall.Stat_t).Gid) == gid
}

// Names tells whether path still is a name of the open file f.
func Names(path string, f *os.File) bool {
	ours, err := StatFile(f)
	if err != nil {
		return false
	}
	named, err := StatPath(path)
	return err == nil && ours.Ino == named.Ino && ours.Dev == named.Dev
}

// Named returns f under the name path, for a file that another process has opened; f
// is closed.
func Named(f *os.File, path string) (*os.File, error) {
	defer f.Close()
	fd := -1
	err := control(f, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
