package index

import (
	"iter"
	"sync"
)

// FileName is what an index is called, in the folder of a mailbox's other caches.
const FileName = "packetboat.index"

// Holder has the index of one mailbox while it is open. The zero value is ready.
type Holder struct {
	mu sync.Mutex
	x  *File
}

// Of returns the index at path for the UIDVALIDITY that the mailbox has now; nil
// where path is empty.
func (h *Holder) Of(path string, validity uint32) *File {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.x != nil && h.x.validity != validity {
		h.x.abandon()
		h.x = nil
	}
	if h.x == nil && path != "" && validity != 0 {
		h.x = New(path, validity)
	}
	return h.x
}

// Refresh takes notice of what other processes have written.
func (h *Holder) Refresh() {
	h.mu.Lock()
	x := h.x
	h.mu.Unlock()
	if x != nil {
		x.Refresh()
	}
}

// Close writes what waits (File.Close) and gives up the index; the next Of opens
// it again.
func (h *Holder) Close(uids iter.Seq[uint32]) {
	h.mu.Lock()
	x := h.x
	h.x = nil
	h.mu.Unlock()
	if x != nil {
		x.Close(uids)
	}
}

// Abandon is Close for a mailbox that is no more: nothing is written.
func (h *Holder) Abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.x != nil {
		h.x.abandon()
		h.x = nil
	}
}

// abandon gives up a file whose mailbox is gone. Sessions that still have it
// get nothing out of it, and keep nothing in it.
func (x *File) abandon() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed, x.readOnly, x.sealed, x.pend = true, true, nil, newBatch()
	x.drop()
	if x.timer != nil {
		x.timer.Stop()
	}
}
