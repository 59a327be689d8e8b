package journal

import (
	"errors"
	"io"
	"os"

	"packetboat/internal/sys/disk"
)

// Files is what changes a disk, one method a system call, so that a test can
// stop the world between any two of them.
type Files interface {
	WriteAt(f *os.File, b []byte, off int64) error
	Truncate(f *os.File, size int64) error
	Sync(f *os.File) error
	Create(path string) (*os.File, error)
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(path string) error
	Collapse(f *os.File, off, n int64) error
}

// Disk is the disk.
type Disk struct{}

func (Disk) WriteAt(f *os.File, b []byte, off int64) error {
	_, err := f.WriteAt(b, off)
	return err
}
func (Disk) Truncate(f *os.File, size int64) error { return f.Truncate(size) }
func (Disk) Sync(f *os.File) error                 { return f.Sync() }
func (Disk) Rename(from, to string) error          { return os.Rename(from, to) }
func (Disk) Remove(path string) error              { return os.Remove(path) }
func (Disk) SyncDir(path string) error             { return disk.SyncDir(path) }

// Collapse is disk.Collapse.
func (Disk) Collapse(f *os.File, off, n int64) error { return disk.Collapse(f, off, n) }

// Create makes a file of its own: what stands there, left by a crash or put
// there as a link by somebody else, goes away unopened.
func (Disk) Create(path string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(path, flags, 0o600)
	if !errors.Is(err, os.ErrExist) {
		return f, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, flags, 0o600)
}

// Patch is octets that take the place of as many others.
type Patch struct {
	Off  int64
	Data []byte
}

// Sector is what a disk writes whole or not at all.
const Sector = 512

// Torn tells whether a power cut could leave a half of p.
func (p Patch) Torn() bool {
	return p.Off/Sector != (p.Off+int64(len(p.Data))-1)/Sector
}

// WriteAll writes a list of patches, one call each.
func WriteAll(sys Files, f *os.File, list []Patch) error {
	for _, p := range list {
		if err := sys.WriteAt(f, p.Data, p.Off); err != nil {
			return err
		}
	}
	return nil
}

// ReadFull reads len(b) octets at off.
func ReadFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
