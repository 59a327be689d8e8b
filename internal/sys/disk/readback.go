package disk

import (
	"io"

	"golang.org/x/sys/unix"
)

// ReadAt implements io.ReaderAt: it reads what was written.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		var n int
		err := again(func() (err error) { n, err = unix.Pread(f.fd, p[done:], off+int64(done)); return err })
		if err != nil {
			return done, f.fail("read", err)
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// Restart makes the file empty; what is written next is its beginning.
func (f *File) Restart() error {
	err := again(func() error { return unix.Ftruncate(f.fd, 0) })
	if err == nil {
		_, err = unix.Seek(f.fd, 0, io.SeekStart)
	}
	return f.fail("truncate", err)
}
