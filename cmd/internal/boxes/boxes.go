// Package boxes lets one process without rights write the mailboxes of many users.
// mtad's parent opens each mailbox with its owner's rights and hands the open file,
// with one end of a conversation, to a deliver that runs as mail_owner in group mail;
// Keeper is the parent's half, Serve the other.
//
// A process for each user would cost more to start than a burst of mail to deliver,
// and a megabyte while it waits. The shared one reads what strangers wrote, so it
// can become nobody and, behind Landlock, opens nothing outside the spool: it has
// the mailboxes of those whose mail it is delivering, and no others. Only mailboxes
// that want no rule of their users are written so; see the caller.
package boxes

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// Box is a mailbox: an mbox file.
type Box struct {
	User string `json:"user"`
	UID  int    `json:"uid"`
	Path string `json:"path"`
}

// order is a message to the deliver. With Box two files come: its end of the
// conversation, and the mailbox. Else it answers a wish, with the mailbox or with Err.
type order struct {
	ID  uint64 `json:"id"`
	Box *Box   `json:"box,omitempty"`
	Err string `json:"err,omitempty"`
}

// wish is a message from the deliver: the mailbox ID is wanted again, since its path
// has come to name another file, or its conversation is Over.
type wish struct {
	ID   uint64 `json:"id"`
	Over bool   `json:"over,omitempty"`
}

// Keeper starts the deliver when it is first needed, and again after its end.
type Keeper struct {
	start func(far *os.File) error // starts the process with its end of the channel
	open  func(b Box) (*os.File, error)

	send sync.Mutex    // one message at a time
	mu   sync.Mutex    // for what follows; not held while a message waits to be taken
	ch   *proc.Channel // nil = no process
	// given are the mailboxes whose conversations are not over: no others are opened.
	given map[uint64]Box
	last  uint64
}

// NewKeeper returns a Keeper without a process. open opens a mailbox with the rights
// of its owner.
func NewKeeper(start func(far *os.File) error, open func(Box) (*os.File, error)) *Keeper {
	return &Keeper{start: start, open: open}
}

// Hand has the deliver lead a conversation on conn, which stays the caller's, about
// the mailbox b. After an error nobody does.
func (k *Keeper) Hand(b Box, conn *os.File) error {
	f, err := k.open(b)
	if err != nil {
		return err
	}
	defer f.Close()
	ch, id, err := k.give(b)
	if err != nil {
		return err
	}
	return k.tell(ch, order{ID: id, Box: &b}, conn, f)
}

// give notes that b is given to the process, which it starts if there is none.
func (k *Keeper) give(b Box) (*proc.Channel, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ch == nil {
		if err := k.launch(); err != nil {
			return nil, 0, err
		}
	}
	k.last++
	k.given[k.last] = b
	return k.ch, k.last, nil
}

// tell sends one message.
func (k *Keeper) tell(ch *proc.Channel, o order, files ...*os.File) error {
	k.send.Lock()
	defer k.send.Unlock()
	return ch.Send(o, files...)
}

// launch starts the process. k.mu is held.
func (k *Keeper) launch() error {
	near, far, err := proc.Pair()
	if err != nil {
		return err
	}
	defer far.Close()
	if err := k.start(far); err != nil {
		near.Close()
		return err
	}
	k.ch, k.given = near, map[uint64]Box{}
	go k.serve(near)
	return nil
}

// serve answers the wishes of one process until it ends.
func (k *Keeper) serve(ch *proc.Channel) {
	for {
		var w wish
		files, err := ch.Recv(&w)
		for _, f := range files {
			f.Close()
		}
		if err != nil {
			break
		}
		k.grant(ch, w)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ch == ch {
		k.ch = nil
	}
	ch.Close()
}

// errNotGiven answers a process that wants what it was not given.
var errNotGiven = errors.New("no such mailbox is being delivered to")

// grant opens a mailbox again.
func (k *Keeper) grant(ch *proc.Channel, w wish) {
	k.mu.Lock()
	b, given := k.given[w.ID]
	if w.Over {
		delete(k.given, w.ID)
	}
	k.mu.Unlock()
	if w.Over {
		return
	}
	err := errNotGiven
	var f *os.File
	if given {
		f, err = k.open(b)
	}
	if err != nil {
		k.tell(ch, order{ID: w.ID, Err: err.Error()})
		return
	}
	k.tell(ch, order{ID: w.ID}, f)
	f.Close()
}

// Close lets the process end when its conversations are over.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ch != nil {
		k.ch.Close()
		k.ch = nil
	}
}

// Talk leads one conversation and closes conn. open gives the mailbox, each time
// before it is written; the file is not Talk's to close.
type Talk func(conn net.Conn, b Box, open func() (*os.File, error))

// Serve is the deliver's half: it leads every conversation that comes over ch in a
// goroutine of its own. It returns when the parent is gone and all are over.
func Serve(ch *proc.Channel, talk Talk) {
	s := &server{ch: ch, talk: talk, waiting: map[uint64]chan answer{}, gone: make(chan struct{})}
	for {
		var o order
		files, err := ch.Recv(&o)
		if err != nil {
			break
		}
		s.take(o, files)
	}
	close(s.gone)
	s.talks.Wait()
}

// server is the deliver's half at work.
type server struct {
	ch      *proc.Channel
	talk    Talk
	talks   sync.WaitGroup
	gone    chan struct{} // closed when the parent is
	send    sync.Mutex    // one message at a time
	mu      sync.Mutex    // for what follows
	waiting map[uint64]chan answer
}

// answer is what became of a wish.
type answer struct {
	f   *os.File
	err error
}

// take does what the parent says.
func (s *server) take(o order, files []*os.File) {
	switch {
	case o.Box != nil && len(files) == 2:
		s.begin(o, files)
		return
	case o.Box == nil && len(files) == 1:
		s.answer(o.ID, answer{f: files[0]})
		return
	case o.Box == nil && o.Err != "":
		s.answer(o.ID, answer{err: errors.New(o.Err)})
	}
	for _, f := range files {
		f.Close()
	}
}

// begin begins a conversation.
func (s *server) begin(o order, files []*os.File) {
	defer files[0].Close()
	f, err := disk.Named(files[1], o.Box.Path)
	if err != nil {
		return // and so the conversation ends without a greeting
	}
	conn, err := net.FileConn(files[0])
	if err != nil {
		f.Close()
		return
	}
	s.talks.Go(func() { s.lead(conn, &mailbox{s: s, id: o.ID, b: *o.Box, f: f}) })
}

// answer gives the file that was wished for to whoever waits.
func (s *server) answer(id uint64, a answer) {
	s.mu.Lock()
	c := s.waiting[id]
	delete(s.waiting, id)
	s.mu.Unlock()
	if c != nil {
		c <- a
	} else if a.f != nil {
		a.f.Close()
	}
}

// lead leads one conversation to its end.
func (s *server) lead(conn net.Conn, m *mailbox) {
	s.talk(conn, m.b, m.open)
	m.f.Close()
	s.wish(wish{ID: m.id, Over: true})
}

// wish sends one message.
func (s *server) wish(w wish) error {
	s.send.Lock()
	defer s.send.Unlock()
	return s.ch.Send(w)
}

// mailbox is the open mailbox of one conversation.
type mailbox struct {
	s  *server
	id uint64
	b  Box
	f  *os.File
}

// open returns the mailbox; another file when its path names another one by now, as
// after mutt has removed an empty mailbox.
func (m *mailbox) open() (*os.File, error) {
	if disk.Names(m.b.Path, m.f) {
		return m.f, nil
	}
	c := make(chan answer, 1)
	m.s.mu.Lock()
	m.s.waiting[m.id] = c
	m.s.mu.Unlock()
	if err := m.s.wish(wish{ID: m.id}); err != nil {
		return nil, err
	}
	select {
	case a := <-c:
		if a.err != nil {
			return nil, a.err
		}
		f, err := disk.Named(a.f, m.b.Path)
		if err != nil {
			return nil, err
		}
		m.f.Close()
		m.f = f
		return f, nil
	case <-m.s.gone:
		return nil, io.ErrClosedPipe
	}
}
