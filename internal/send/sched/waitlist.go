package sched

import (
	"container/heap"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
)

// candidate is a message that may become active.
type candidate struct {
	id    string
	from  queue.Folder
	env   *mail.Envelope // nil: read it from the file
	size  int64
	force bool // somebody asked for this very message
	check bool // a crash may have torn it
}

// fifo is a queue of candidates.
type fifo struct {
	items []candidate
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) push(c candidate) { f.items = append(f.items, c) }

// pop takes the first; the space of those taken is used again.
func (f *fifo) pop() candidate {
	c := f.items[f.head]
	f.items[f.head] = candidate{}
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	} else if f.head > 1024 && f.head > len(f.items)/2 {
		f.items = append(f.items[:0], f.items[f.head:]...)
		f.head = 0
	}
	return c
}

// wait is a deferred message: all that is kept of it in memory.
type wait struct {
	id string
	at int64 // next try, nanoseconds since 1970
}

// waitList is a heap of deferred messages by their next try, with an index by
// id. It implements heap.Interface.
type waitList struct {
	list []wait
	pos  map[string]int32
}

func newWaitList() waitList { return waitList{pos: map[string]int32{}} }

func (w *waitList) len() int           { return len(w.list) }
func (w *waitList) Len() int           { return len(w.list) }
func (w *waitList) Less(i, j int) bool { return w.list[i].at < w.list[j].at }

// Swap is for package heap.
func (w *waitList) Swap(i, j int) {
	w.list[i], w.list[j] = w.list[j], w.list[i]
	w.pos[w.list[i].id], w.pos[w.list[j].id] = int32(i), int32(j)
}

// Push is for package heap.
func (w *waitList) Push(x any) {
	e := x.(wait)
	w.pos[e.id] = int32(len(w.list))
	w.list = append(w.list, e)
}

// Pop is for package heap.
func (w *waitList) Pop() any {
	n := len(w.list) - 1
	e := w.list[n]
	w.list[n] = wait{}
	w.list = w.list[:n]
	delete(w.pos, e.id)
	return e
}

// fill takes many at once.
func (w *waitList) fill(ws []queue.Wait) {
	for _, x := range ws {
		if _, have := w.pos[x.ID]; !have {
			w.Push(wait{x.ID, x.Next.UnixNano()})
		}
	}
	heap.Init(w)
}

// put adds a message or changes its time.
func (w *waitList) put(id string, at time.Time) {
	if i, have := w.pos[id]; have {
		w.list[i].at = at.UnixNano()
		heap.Fix(w, int(i))
		return
	}
	heap.Push(w, wait{id, at.UnixNano()})
}

// remove forgets a message; it tells whether it was there.
func (w *waitList) remove(id string) bool {
	i, have := w.pos[id]
	if have {
		heap.Remove(w, int(i))
	}
	return have
}

// next returns the time of the first; ok is false when none waits.
func (w *waitList) next() (at time.Time, ok bool) {
	if len(w.list) == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, w.list[0].at), true
}

// take removes and returns the first if it is due.
func (w *waitList) take(now time.Time) (id string, ok bool) {
	if len(w.list) == 0 || w.list[0].at > now.UnixNano() {
		return "", false
	}
	return heap.Pop(w).(wait).id, true
}

// sane brings a next try forward that lies further ahead than any wait of ours: the
// clock was wrong when it was written, and mail must not wait for that year.
func (s *Sched) sane(at time.Time) time.Time {
	if last := time.Now().Add(s.o.MaxBackoff); at.After(last) {
		return last
	}
	return at
}

// tick moves what is due to the candidates.
func (s *Sched) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for {
		id, ok := s.waiting.take(now)
		if !ok {
			break
		}
		s.due.push(candidate{id: id, from: queue.Deferred})
	}
	s.wake.Broadcast()
	s.setTimer()
}

// setTimer sets the timer to the first that is due. The caller holds s.mu.
func (s *Sched) setTimer() {
	if s.timer == nil || s.stopping {
		return
	}
	if at, ok := s.waiting.next(); ok {
		s.timer.Reset(max(time.Until(at), 0))
	} else {
		s.timer.Stop()
	}
}

// waitUntil puts a message aside until at.
func (s *Sched) waitUntil(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at = s.sane(at)
	s.waiting.put(id, at)
	s.setTimer()
}
