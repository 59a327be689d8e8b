package maildir

import "sync"

// place says where in a file one offset of the message's CRLF form stands.
type place struct {
	uid     uint32
	at, out int64
	cr      bool // the octet before is CR
}

// hint keeps the last place that a reader has reached, so that a client that
// fetches a message in parts does not pay for all parts before at each of them.
type hint struct {
	mu   sync.Mutex
	last place
}

// find returns the last place in a message, its begin where there is none.
func (h *hint) find(uid uint32) place {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.uid == uid {
		return h.last
	}
	return place{}
}

func (h *hint) keep(p place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = p
}
