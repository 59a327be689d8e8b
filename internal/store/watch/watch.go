// Package watch wakes the sessions that wait for changes of one mailbox, for
// every kind of store whose mailbox is a file or a few folders.
package watch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// waiters are the sessions that wait for one mailbox. One inotify serves all of
// them, and there is none while nobody waits.
type waiters struct {
	mu   sync.Mutex
	subs map[chan struct{}]bool
	fs   *fsnotify.Watcher
}

// add counts one more in; the first one makes start run.
func (w *waiters) add(start func(*fsnotify.Watcher)) (changed <-chan struct{}, cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{}, 1)
	if w.subs == nil {
		w.subs = map[chan struct{}]bool{}
	}
	w.subs[ch] = true
	if w.fs == nil {
		// Without inotify changes are seen at the next command.
		if inotify, err := fsnotify.NewWatcher(); err == nil {
			w.fs = inotify
			start(inotify)
		}
	}
	var once sync.Once
	return ch, func() { once.Do(func() { w.leave(ch) }) }
}

func (w *waiters) leave(ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs, ch)
	if len(w.subs) == 0 && w.fs != nil {
		w.fs.Close()
		w.fs = nil
	}
}

// Tell wakes all who wait. A watcher that was told already is not told twice.
func (w *waiters) Tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// run hands events to each until the watch ends.
func (w *waiters) run(inotify *fsnotify.Watcher, each func(fsnotify.Event)) {
	for {
		select {
		case e, ok := <-inotify.Events:
			if !ok {
				return
			}
			each(e)
		case _, ok := <-inotify.Errors:
			if !ok {
				return
			}
			w.Tell() // the queue overflowed: something changed
		}
	}
}

// File is one mailbox file and the sessions that wait for its changes. The
// zero value is ready; it is safe for many goroutines.
type File struct{ waiters }

// Add returns a channel that gets a value when the file at path may have changed,
// from inside or outside the process; cancel ends it. The file itself is
// watched: its folder, /var/mail, changes with everybody's mail. Only while
// there is no file is the folder watched.
func (w *File) Add(path string) (changed <-chan struct{}, cancel func()) {
	return w.add(func(inotify *fsnotify.Watcher) {
		if inotify.Add(path) != nil {
			inotify.Add(filepath.Dir(path)) // fails only with the folder gone
		}
		go w.run(inotify, func(e fsnotify.Event) { w.event(inotify, e, path) })
	})
}

// event handles one event of the mailbox or its folder.
func (w *File) event(inotify *fsnotify.Watcher, e fsnotify.Event, path string) {
	if e.Name != path || e.Op == fsnotify.Chmod && !gone(path) {
		return
	}
	if e.Has(fsnotify.Create) {
		inotify.Remove(filepath.Dir(path))
		inotify.Add(path)
	}
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || gone(path) {
		inotify.Remove(path)
		if inotify.Add(path) != nil { // replaced by another file, or really gone
			inotify.Add(filepath.Dir(path))
		}
	}
	w.Tell()
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// Folders are the folders of one Maildir and the sessions that wait for changes
// of what is in them. The zero value is ready; it is safe for many goroutines.
type Folders struct{ waiters }

// Add returns a channel that gets a value when a name in one of the folders was
// made, renamed or removed; cancel ends it. Folders that do not exist are passed over.
func (w *Folders) Add(paths ...string) (changed <-chan struct{}, cancel func()) {
	return w.add(func(inotify *fsnotify.Watcher) {
		for _, p := range paths {
			inotify.Add(p)
		}
		go w.run(inotify, func(e fsnotify.Event) {
			if e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0 {
				w.Tell()
			}
		})
	})
}
