package grants

import (
	"sync"
	"time"

	"packetboat/internal/route/alias"
	"packetboat/internal/sys/disk"
)

// Absent is what an engine remembers of its parent's answers: who has no .forward.
// Most users have none, and a question for each message would cost more than the
// delivery. What is remembered holds as long as nothing has happened in a folder
// where one could be, and not for longer than absentTime: folders above these are
// not watched, nor is the account. The zero value remembers nothing.
type Absent struct {
	mu    sync.Mutex
	w     *disk.Watch
	known map[Forward]time.Time // when the parent said so
	epoch int                   // counts what has happened
}

// Forward is a question for a .forward, as a local(8) service of master.cf asks it.
type Forward struct {
	Service string
	alias.ForwardQuery
}

// absentTime is how long an answer is believed, maxAbsent how many are kept.
const (
	absentTime = 5 * time.Second
	maxAbsent  = 10000
)

// Watch begins to remember; w is told by the parent of all folders that it looks into.
func (a *Absent) Watch(w *disk.Watch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.w = w
}

// look forgets everything when something has happened, or when that cannot be
// told. a.mu is held.
func (a *Absent) look() {
	if a.w == nil {
		return
	}
	stirred, err := a.w.Stirred()
	if err != nil {
		a.w = nil
	}
	if stirred || err != nil || len(a.known) >= maxAbsent {
		a.known = nil
		a.epoch++
	}
}

// Has tells whether there certainly is no such .forward now. When it does not know,
// its epoch is for Note.
func (a *Absent) Has(f Forward) (absent bool, epoch int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.look()
	at, known := a.known[f]
	return known && time.Since(at) < absentTime, a.epoch
}

// Note remembers that there is none, and that its folders are watched. epoch is what
// Has said before the parent was asked: if anything happened since, it may
// have happened behind the parent's back.
func (a *Absent) Note(f Forward, epoch int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.look()
	if a.w == nil || a.epoch != epoch {
		return
	}
	if a.known == nil {
		a.known = map[Forward]time.Time{}
	}
	a.known[f] = time.Now()
}
