// Package disk writes files so that they survive a power cut, opens files as
// if an enemy owned the folder, and takes mailbox locks in Debian's order.
package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Dir is a folder whose names are made durable. Flushes of one Dir that are
// asked for at the same time share one fsync: N concurrent commits cost one or
// two flushes of the folder, not N.
type Dir struct {
	path string
	fd   int

	mu      sync.Mutex
	running bool   // a flush is at the disk
	next    *flush // those who came after it began wait for this one
}

// flush is one fsync that several callers wait for.
type flush struct {
	done chan struct{}
	err  error
}

// OpenDir opens the folder at path, which must exist and be no link.
func OpenDir(path string) (*Dir, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{path: path, fd: fd}, nil
}

// NamesFollow tells whether File.Sync also makes the names durable that the
// file has got in this folder before. Where it says no, Sync of the folder is
// needed. It reads the table of mounts: callers keep the answer.
func (d *Dir) NamesFollow() bool { return namesFollow(d.fd) }

// Path returns the folder's path as OpenDir got it.
func (d *Dir) Path() string { return d.path }

// Join returns the path of name inside the folder.
func (d *Dir) Join(name string) string { return filepath.Join(d.path, name) }

// Close closes the folder.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Sync returns when every name made, renamed or removed in the folder before
// the call is on disk.
func (d *Dir) Sync() error {
	d.mu.Lock()
	if d.running {
		// The flush under way may have missed our name: join the next one.
		if d.next == nil {
			d.next = &flush{done: make(chan struct{})}
		}
		wait := d.next
		d.mu.Unlock()
		<-wait.done
		return wait.err
	}
	d.running = true
	d.mu.Unlock()

	err := d.flush()
	d.handOver()
	return err
}

// handOver starts the flush that others wait for, if any.
func (d *Dir) handOver() {
	d.mu.Lock()
	next := d.next
	d.next = nil
	d.running = next != nil
	d.mu.Unlock()
	if next == nil {
		return
	}
	go func() {
		next.err = d.flush()
		close(next.done)
		d.handOver()
	}()
}

// flush is one fsync of the folder.
func (d *Dir) flush() error {
	if err := again(func() error { return unix.Fsync(d.fd) }); err != nil {
		return &fs.PathError{Op: "fsync", Path: d.path, Err: err}
	}
	return nil
}

// SyncDir flushes the folder at path once, for callers that keep no Dir.
func SyncDir(path string) error {
	d, err := OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.flush(), d.Close())
}

// WriteFile replaces the file at path by data so that after a crash either the
// old or the new content is there: temporary file, fsync, rename, fsync of the
// folder.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+name+".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return SyncDir(dir)
}
