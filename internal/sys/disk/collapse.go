package disk

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// CollapseUnit returns what Collapse counts in on the file system of f, in
// octets; ok is false where it is not known to work (ext4(5), xfs(5)).
func CollapseUnit(f *os.File) (unit int64, ok bool) {
	var st unix.Statfs_t
	err := control(f, func(fd int) error { return unix.Fstatfs(fd, &st) })
	known := st.Type == unix.EXT4_SUPER_MAGIC || st.Type == unix.XFS_SUPER_MAGIC
	return st.Bsize, err == nil && known && st.Bsize >= 512
}

// Collapse takes n octets at off out of a file (fallocate(2),
// FALLOC_FL_COLLAPSE_RANGE): what stands behind them moves down without being
// written. Both are multiples of CollapseUnit, and some of the file stays behind.
func Collapse(f *os.File, off, n int64) error {
	return control(f, func(fd int) error {
		return again(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_COLLAPSE_RANGE, off, n) })
	})
}

// NoCollapse tells whether Collapse failed because the file system cannot do it.
func NoCollapse(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// Hole returns the first part of a file at from or behind it that has never been
// written: its begin and length, 0 for none.
func Hole(f *os.File, from int64) (off, n int64, err error) {
	st, err := StatFile(f)
	if err != nil || from >= st.Size {
		return 0, 0, err
	}
	err = control(f, func(fd int) (err error) {
		if off, err = unix.Seek(fd, from, unix.SEEK_HOLE); err != nil || off >= st.Size {
			return err
		}
		end, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			end, err = st.Size, nil
		}
		n = end - off
		_, serr := unix.Seek(fd, 0, io.SeekStart)
		return errors.Join(err, serr)
	})
	return off, n, err
}
