package cert

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long files must stay unchanged before they are read: certbot
// writes key and chain one after the other.
const quiet = 200 * time.Millisecond

// notify watches the folders of the files, not the files: a renewal usually
// renames a new file, or turns a symbolic link, over the old one. Where
// watching is not possible the channel stays silent and the ticker of Watch
// does the work.
func (s *Store) notify() (<-chan struct{}, func()) {
	out := make(chan struct{}, 1)
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return out, func() {}
	}
	for _, f := range s.files {
		w.Add(filepath.Dir(f)) // a folder we may not read is left to the ticker
		if real, err := filepath.EvalSymlinks(f); err == nil {
			w.Add(filepath.Dir(real))
		}
	}
	go forward(w, out)
	return out, func() { w.Close() }
}

// forward turns events into wake-ups until the watcher is closed. Names are not
// compared: Reload tells cheaply that nothing has changed.
func forward(w *fsnotify.Watcher, out chan<- struct{}) {
	for {
		select {
		case _, ok := <-w.Errors:
			if !ok {
				return
			}
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if e.Op == fsnotify.Chmod {
				continue
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}
}

// settle waits until no event has come for a while, but not for ever: a busy
// folder must not keep a renewal away.
func settle(ctx context.Context, events <-chan struct{}) {
	for range 25 {
		select {
		case <-ctx.Done():
			return
		case <-events:
		case <-time.After(quiet):
			return
		}
	}
}
