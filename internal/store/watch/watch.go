// Package watch wakes the sessions that wait for changes of one mailbox file,
// for every kind of store whose mailbox is a file.
package watch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// File is one mailbox file and the sessions that wait for its changes. One
// inotify watch serves all of them, and there is none while nobody waits. The
// zero value is ready; it is safe for many goroutines.
type File struct {
	mu   sync.Mutex
	subs map[chan struct{}]bool
	fs   *fsnotify.Watcher
}

// Add returns a channel that gets a value when the file at path may have changed,
// from inside or outside the process; cancel ends it.
func (w *File) Add(path string) (changed <-chan struct{}, cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{}, 1)
	if w.subs == nil {
		w.subs = map[chan struct{}]bool{}
	}
	w.subs[ch] = true
	if w.fs == nil {
		w.start(path)
	}
	var once sync.Once
	return ch, func() { once.Do(func() { w.leave(ch) }) }
}

// start watches the file itself: its folder, /var/mail, changes with everybody's
// mail. Only while there is no file is the folder watched.
func (w *File) start(path string) {
	inotify, err := fsnotify.NewWatcher()
	if err != nil {
		return // no inotify to be had: changes are seen at the next command
	}
	w.fs = inotify
	if inotify.Add(path) != nil {
		inotify.Add(filepath.Dir(path)) // fails only with the folder gone
	}
	go w.run(inotify, path)
}

func (w *File) run(inotify *fsnotify.Watcher, path string) {
	for {
		select {
		case e, ok := <-inotify.Events:
			if !ok {
				return
			}
			w.event(inotify, e, path)
		case _, ok := <-inotify.Errors:
			if !ok {
				return
			}
			w.Tell() // the queue overflowed: something changed
		}
	}
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

// Tell wakes all who wait. A watcher that was told already is not told twice.
func (w *File) Tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (w *File) leave(ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs, ch)
	if len(w.subs) == 0 && w.fs != nil {
		w.fs.Close()
		w.fs = nil
	}
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
