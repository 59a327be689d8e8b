package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// maxDotlock is how much of a foreign dotlock is read.
const maxDotlock = 1024

// Dotlock takes the lock path.lock alone, as Dovecot guards its own files such
// as dovecot-uidlist. Unlike LockMailbox it fails where the folder is not
// writable.
func Dotlock(ctx context.Context, path string, o LockOptions) (*MailboxLock, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, ErrLocked)
	defer cancel()
	l := &MailboxLock{}
	var w *lockWatch
	defer func() { w.close() }()
	for {
		ok, err := l.dotlock(path+".lock", o)
		switch {
		case err != nil:
			return nil, err
		case ok && l.dot == "":
			return nil, &fs.PathError{Op: "lock", Path: path, Err: fs.ErrPermission}
		case ok:
			return l, nil
		case w == nil: // the watch must stand before the last try
			w = watchLock(path + ".lock")
			continue
		}
		if err := w.wait(ctx, recheck); err != nil {
			return nil, err
		}
	}
}

// dotlock tries once to make the dotlock, breaking a stale one. It returns
// false while somebody holds it.
func (l *MailboxLock) dotlock(path string, o LockOptions) (bool, error) {
	for {
		note := ""
		if o.Note != nil {
			note = o.Note() // anew, since o.Dead may have changed the file
		}
		err := l.link(path, note)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EACCES):
			return true, nil // no right to the folder: fcntl alone
		case !errors.Is(err, fs.ErrExist):
			return false, err
		}
		if !breakStale(path, o) {
			return false, nil
		}
	}
}

// link makes the dotlock with its content at once: a file without a name is
// written and then linked to the lock's name, which fails if that exists. It
// leaves nothing behind when we are killed in between.
func (l *MailboxLock) link(path, note string) error {
	content := strconv.Itoa(os.Getpid()) + "\n" + note
	f, err := OpenFile(filepath.Dir(path), os.O_WRONLY|unix.O_TMPFILE, 0o600)
	if err != nil {
		return l.linkNamed(path, content)
	}
	defer f.Close()
	err = l.linkFile(f, path, content, func() error {
		return control(f, func(fd int) error {
			return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		})
	})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return l.linkNamed(path, content)
	}
	return err
}

// linkNamed is link where the file system knows no files without a name, or
// /proc is not there. It works over NFS, too, where O_EXCL once did not.
func (l *MailboxLock) linkNamed(path, content string) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	return l.linkFile(f, path, content, func() error { return os.Link(f.Name(), path) })
}

// linkFile fills f and makes it the lock with link.
func (l *MailboxLock) linkFile(f *os.File, path, content string, link func() error) error {
	if _, err := f.WriteString(content); Full(err) || OverQuota(err) {
		f.Truncate(0) // an empty lock is one, too: mail must be deleted to make room
	} else if err != nil {
		return err
	}
	st, err := StatFile(f)
	if err == nil {
		err = link()
	}
	if err == nil {
		l.dot, l.ino = path, st.Ino
	}
	return err
}

// breakStale removes the dotlock at path when its owner is gone, and tells
// whether the lock is worth another try. All who take fcntl first are kept
// apart by that lock; against those who take the dotlock alone the file is
// renamed first and looked at again: had somebody replaced it by a fresh lock
// meanwhile, that one is put back.
func breakStale(path string, o LockOptions) bool {
	st, err := StatPath(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil || !st.Regular {
		return false
	}
	content := readDotlock(path)
	if !stale(st, content, o.Stale) || o.Spare != nil && o.Spare() {
		return false
	}
	if _, note, ok := strings.Cut(content, "\n"); ok && o.Dead != nil {
		o.Dead(note)
	}
	away := fmt.Sprintf("%s.%d.stale", path, os.Getpid())
	if os.Rename(path, away) != nil {
		return false
	}
	if now, err := StatPath(away); err == nil && (now.Ino != st.Ino || now.Mtime != st.Mtime) {
		os.Link(away, path)
	}
	return os.Remove(away) == nil
}

// LockIsStale tells whether the mailbox at path has a dotlock that LockMailbox
// would break. Without a dotlock it costs one system call.
func LockIsStale(path string, limit time.Duration) bool {
	if limit <= 0 {
		limit = defaultLockStale
	}
	st, err := StatPath(path + ".lock")
	return err == nil && st.Regular && stale(st, readDotlock(path+".lock"), limit)
}

// stale tells whether the lock has no living owner. Locks without a number
// (Postfix, Python) and those of other hosts (Dovecot writes pid:host) are
// judged by their age alone; procmail writes a plain 0.
func stale(st Stat, content string, limit time.Duration) bool {
	made := time.Unix(0, st.Mtime)
	if boot := bootTime(); time.Since(made) > limit || made.Before(boot.Add(-time.Minute)) {
		return true
	}
	first, _, _ := strings.Cut(content, "\n")
	num, host, named := strings.Cut(strings.TrimSpace(first), ":")
	if own, _ := os.Hostname(); named && host != own {
		return false
	}
	pid, err := strconv.Atoi(num)
	if err != nil || pid <= 0 {
		return false
	}
	return errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// readDotlock returns the begin of a lock file; no link is followed. The file
// may have two names: its maker died before it removed the one it was made under.
func readDotlock(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|NoFollow|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := StatFile(f); err != nil || !st.Regular {
		return ""
	}
	b := make([]byte, maxDotlock)
	n, _ := f.Read(b)
	return string(b[:n])
}

// lockWatch waits for the removal of one file.
type lockWatch struct {
	name string
	w    *fsnotify.Watcher
}

// watchLock watches the folder of path. Where the system has no watch to give,
// the wait falls back to its bound.
func watchLock(path string) *lockWatch {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		if err = w.Add(filepath.Dir(path)); err != nil {
			w.Close()
		}
	}
	if err != nil {
		return &lockWatch{name: path}
	}
	return &lockWatch{path, w}
}

func (w *lockWatch) close() {
	if w != nil && w.w != nil {
		w.w.Close()
	}
}

// wait returns when the file was removed or renamed, after at most d; an error
// when ctx ended.
func (w *lockWatch) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	var events chan fsnotify.Event
	if w.w != nil {
		events = w.w.Events
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", w.name, context.Cause(ctx))
		case <-t.C:
			return nil
		case e := <-events:
			gone := e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)
			if gone && filepath.Base(e.Name) == filepath.Base(w.name) {
				return nil
			}
		}
	}
}
