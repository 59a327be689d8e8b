package mbox

import (
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watchers are the sessions that wait for changes of one mailbox. One inotify
// watch serves all of them, and there is none while nobody waits.
type watchers struct {
	mu   sync.Mutex
	subs map[chan struct{}]bool
	fs   *fsnotify.Watcher
}

// Watch implements store.Mailbox.
func (m *mailbox) Watch() (<-chan struct{}, func()) {
	w := &m.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{}, 1)
	if w.subs == nil {
		w.subs = map[chan struct{}]bool{}
	}
	w.subs[ch] = true
	if w.fs == nil {
		w.start(m.path)
	}
	var once sync.Once
	return ch, func() { once.Do(func() { w.leave(ch) }) }
}

// start watches the file itself: its folder, /var/mail, changes with everybody's
// mail. Only while there is no file is the folder watched.
func (w *watchers) start(path string) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return // no inotify to be had: changes are seen at the next command
	}
	w.fs = fs
	if fs.Add(path) != nil {
		fs.Add(filepath.Dir(path)) // fails only with the folder gone
	}
	go w.run(fs, path)
}

func (w *watchers) run(fs *fsnotify.Watcher, path string) {
	for {
		select {
		case e, ok := <-fs.Events:
			if !ok {
				return
			}
			w.event(fs, e, path)
		case _, ok := <-fs.Errors:
			if !ok {
				return
			}
			w.tell() // the queue overflowed: something changed
		}
	}
}

// event handles one event of the mailbox or its folder.
func (w *watchers) event(fs *fsnotify.Watcher, e fsnotify.Event, path string) {
	if e.Name != path || e.Op == fsnotify.Chmod && !gone(path) {
		return
	}
	if e.Has(fsnotify.Create) {
		fs.Remove(filepath.Dir(path))
		fs.Add(path)
	}
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || gone(path) {
		fs.Remove(path)
		if fs.Add(path) != nil { // replaced by another file, or really gone
			fs.Add(filepath.Dir(path))
		}
	}
	w.tell()
}

// tell wakes all who wait. A watcher that was told already is not told twice.
func (w *watchers) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (w *watchers) leave(ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs, ch)
	if len(w.subs) == 0 && w.fs != nil {
		w.fs.Close()
		w.fs = nil
	}
}
