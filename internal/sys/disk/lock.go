package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// LockOptions says how LockMailbox waits. The zero value is Postfix's default.
type LockOptions struct {
	Wait  time.Duration // give up after this time; 0 = 20 s (deliver_lock_attempts x deliver_lock_delay)
	Stale time.Duration // a dotlock older than this is nobody's (stale_lock_time); 0 = 500 s
	// Note, if set, is called while the fcntl lock is held and gives one more
	// line for the dotlock file, for whoever finds it after a crash.
	Note func() string
	// Dead, if set, is called with the dotlock's lines behind the first one when
	// the lock of a dead process is found, while the fcntl lock is held and
	// before the dotlock is broken.
	Dead func(note string)
	// Spare, if set, is asked before the lock of a dead process is broken: true leaves
	// it, since what it guards is for somebody else to repair.
	Spare func() bool
}

// Figures of LockOptions' zero value.
const (
	defaultLockWait  = 20 * time.Second
	defaultLockStale = 500 * time.Second
)

// recheck bounds the wait for a notification: the death of a lock's owner and
// the age of a lock send none.
const recheck = time.Second

// ErrLocked says that somebody else held the mailbox for the whole time that
// LockOptions.Wait allows.
var ErrLocked = errors.New("mailbox is locked by another process")

// MailboxLock is held by one of this process's goroutines.
type MailboxLock struct {
	f   *os.File
	dot string // path of the dotlock, empty if the folder does not let us make one
	ino uint64 // of the dotlock file
}

// LockMailbox takes both mailbox locks in Debian's order (Policy section 11.6):
// a write lock by fcntl on f, which is open for writing, then the dotlock
// path.lock. Both are tried without waiting. If either is held, both are let
// go, since procmail takes them in the other order, and the wait is for a
// notification. The fcntl lock is one of the open file (OFD): it excludes
// other handles of this process too, and closing those does not drop it.
//
// The dotlock holds our process number. One that a dead process of this host
// left, or that is older than the last boot or than o.Stale, is broken.
// Where the folder is not writable for us (EACCES), and only then, the fcntl
// lock alone has to do, as it does for mutt and Dovecot.
func LockMailbox(ctx context.Context, path string, f *os.File, o LockOptions) (*MailboxLock, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wait, ErrLocked)
	defer cancel()
	l := &MailboxLock{f: f}
	var w *lockWatch
	defer func() { w.close() }()
	for held := false; ; {
		if !held {
			switch err := lockNow(f, unix.F_WRLCK); {
			case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
				if err := lockWait(ctx, f, unix.F_WRLCK); err != nil {
					return nil, err
				}
			case err != nil:
				return nil, err
			}
		}
		ok, err := l.dotlock(path+".lock", o)
		if err != nil {
			unlock(f)
			return nil, err
		}
		if ok {
			return l, nil
		}
		// The watch must stand before the last try, or the removal that
		// falls between the two is missed.
		if w == nil {
			w, held = watchLock(path+".lock"), true
			continue
		}
		unlock(f)
		held = false
		if err := w.wait(ctx, recheck); err != nil {
			return nil, err
		}
	}
}

func (o LockOptions) withDefaults() LockOptions {
	if o.Wait <= 0 {
		o.Wait = defaultLockWait
	}
	if o.Stale <= 0 {
		o.Stale = defaultLockStale
	}
	return o
}

// Unlock gives up the dotlock, if it is still ours, and then the fcntl lock. A
// dotlock that cannot be removed loses its note, which would count when we are
// dead; an error says that the note still stands.
func (l *MailboxLock) Unlock() error {
	var err error
	if l.dot != "" {
		if st, serr := StatPath(l.dot); serr == nil && st.Ino == l.ino {
			if err = os.Remove(l.dot); err != nil && l.withoutNote() {
				err = nil
			}
		}
	}
	if l.f == nil {
		return err
	}
	return errors.Join(err, unlock(l.f))
}

// withoutNote leaves nothing but the process number in a dotlock.
func (l *MailboxLock) withoutNote() bool {
	f, err := OpenFile(l.dot, os.O_WRONLY|NoFollow, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if f.Truncate(0) != nil {
		return false
	}
	f.WriteString(strconv.Itoa(os.Getpid()) + "\n") // an empty lock is one, too
	return true
}

// Dotlocked tells whether the lock has its second half.
func (l *MailboxLock) Dotlocked() bool { return l.dot != "" }

// ReadLock takes a shared fcntl lock on f and returns the call that gives it
// up. It waits until ctx ends.
func ReadLock(ctx context.Context, f *os.File) (func(), error) {
	err := lockNow(f, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		err = lockWait(ctx, f, unix.F_RDLCK)
	}
	if err != nil {
		return nil, err
	}
	return func() { unlock(f) }, nil
}

func lockNow(f *os.File, kind int16) error {
	return control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind})
	})
}

func unlock(f *os.File) error {
	return control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
	})
}

// lockWait waits for the lock in a goroutine, since the system call cannot be
// called off. When ctx ends first the goroutine gives the lock up as soon as
// it gets it; the file stays open as long.
func lockWait(ctx context.Context, f *os.File, kind int16) error {
	got := make(chan error)
	gone := make(chan struct{})
	go func() {
		control(f, func(fd int) error {
			var err error
			for {
				err = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLKW, &unix.Flock_t{Type: kind})
				if !errors.Is(err, unix.EINTR) {
					break
				}
			}
			select {
			case got <- err:
			case <-gone:
				// Inside control: here the descriptor is certainly still ours.
				unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
			}
			return nil
		})
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		close(gone)
		return fmt.Errorf("%s: %w", f.Name(), context.Cause(ctx))
	}
}
