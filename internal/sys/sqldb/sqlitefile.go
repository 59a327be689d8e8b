package sqldb

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	"modernc.org/sqlite/vfs"
)

// ConnectSQLiteBy is ConnectSQLite for a process that may not read the database
// itself: open opens it there. nil, or where the process may, it is ConnectSQLite.
// A database in WAL mode cannot be read in this way, which is an error.
func ConnectSQLiteBy(open func(path string) (*os.File, error)) func(context.Context, string) (Conn, error) {
	return func(ctx context.Context, path string) (Conn, error) {
		f, err := os.Open(path)
		if err == nil {
			f.Close()
		}
		if open == nil || !os.IsPermission(err) {
			return ConnectSQLite(ctx, path)
		}
		if f, err = open(path); err != nil {
			return nil, fmt.Errorf("can't open database %s: %w", path, err)
		}
		c, err := connectFile(f, path)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("can't open database %s: %w", path, err)
		}
		return c, nil
	}
}

func connectFile(f *os.File, path string) (Conn, error) {
	name, files, err := vfs.New(oneFile{f, path})
	if err != nil {
		return nil, err
	}
	dsn := (&url.URL{Scheme: "file", Opaque: databaseName, RawQuery: "mode=ro&vfs=" + name}).String()
	c, err := (&sqlite.Driver{}).Open(dsn)
	if err != nil {
		files.Close()
		return nil, err
	}
	s := &fileConn{sqliteConn{c}, f, files}
	if err := s.Query(context.Background(), "PRAGMA schema_version", func(Row) error { return nil }); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// databaseName is what SQLite calls the database of a oneFile.
const databaseName = "database"

// oneFile is a file system in which SQLite sees one open file, and whether it has
// a journal beside it.
type oneFile struct {
	f    *os.File
	path string
}

// Open implements fs.FS.
func (o oneFile) Open(name string) (fs.File, error) {
	if name != databaseName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return shared{o.f}, nil
}

// Stat implements fs.StatFS. The journal of a writer that died must be seen: the
// database is not to be believed before the next writer has undone its work.
func (o oneFile) Stat(name string) (fs.FileInfo, error) {
	switch name {
	case databaseName:
		return o.f.Stat()
	case databaseName + "-journal", databaseName + "-wal":
		return os.Stat(o.path + name[len(databaseName):])
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

// shared is a file that SQLite does not close.
type shared struct{ *os.File }

// Close does nothing: fileConn closes the file.
func (shared) Close() error { return nil }

// fileConn is a database in an open file. SQLite takes no locks there, so they
// are taken here, for each query, as SQLite's readers do.
type fileConn struct {
	sqliteConn
	f     *os.File
	files *vfs.FS
}

// The bytes that SQLite's readers and writers lock (its file format, "locking").
const (
	sharedFirst = 0x40000002
	sharedSize  = 510
)

// Query implements Conn.
func (c *fileConn) Query(ctx context.Context, sql string, each func(Row) error) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.sqliteConn.Query(ctx, sql, each)
}

// lock waits up to two seconds for a writer.
func (c *fileConn) lock(ctx context.Context) error {
	l := unix.Flock_t{Type: unix.F_RDLCK, Start: sharedFirst, Len: sharedSize}
	for end := time.Now().Add(2 * time.Second); ; {
		err := unix.FcntlFlock(c.f.Fd(), unix.F_OFD_SETLK, &l)
		if err != unix.EAGAIN && err != unix.EACCES && err != unix.EINTR {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("database is locked: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *fileConn) unlock() {
	l := unix.Flock_t{Type: unix.F_UNLCK, Start: sharedFirst, Len: sharedSize}
	unix.FcntlFlock(c.f.Fd(), unix.F_OFD_SETLK, &l) // closing the file lets go, too
}

// Close implements Conn.
func (c *fileConn) Close() error {
	err := c.close()
	c.f.Close()
	return err
}

func (c *fileConn) close() error {
	err := c.sqliteConn.Close()
	if e := c.files.Close(); err == nil {
		err = e
	}
	return err
}
