package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"

	"packetboat/cmd/internal/grants"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// link is the engine's end of the conversation with its parent.
type link struct {
	ch      *proc.Channel
	sockets chan handed   // what the parent announces
	gone    chan struct{} // closed when the parent is gone
	absent  grants.Absent // who has no .forward

	mu      sync.Mutex // also keeps Send to one goroutine
	next    uint64
	waiting map[uint64]chan answer
}

// handed is a listening socket of a service; a nil file ends the list.
type handed struct {
	service string
	file    *os.File
}

// answer is a reply with the file that came with it.
type answer struct {
	reply
	file *os.File
}

// errParentGone ends requests when the parent died: the engine stops too.
var errParentGone = errors.New("the parent process is gone")

// maxSockets is how many sockets may come before they are asked for: replies that
// somebody waits for stand behind them.
const maxSockets = 1024

func newLink(ch *proc.Channel) *link {
	l := &link{ch: ch, sockets: make(chan handed, maxSockets), gone: make(chan struct{}), waiting: map[uint64]chan answer{}}
	go l.receive()
	return l
}

// receive sorts what the parent sends until it is gone.
func (l *link) receive() {
	defer close(l.gone)
	for {
		var m parentMessage
		files, err := l.ch.Recv(&m)
		if err != nil {
			return
		}
		var f *os.File
		if len(files) > 0 {
			f = files[0]
		}
		switch {
		case m.Announce != nil:
			l.sockets <- handed{m.Announce.Service, f}
		case m.Reply != nil:
			l.deliver(answer{*m.Reply, f})
		case m.Watch && f != nil:
			l.absent.Watch(disk.WatchOf(f))
		}
	}
}

// deliver gives a reply to whoever waits; nobody does after a cancelled call.
func (l *link) deliver(a answer) {
	l.mu.Lock()
	c := l.waiting[a.ID]
	delete(l.waiting, a.ID)
	l.mu.Unlock()
	if c != nil {
		c <- a
	} else if a.file != nil {
		a.file.Close()
	}
}

// call sends a request and waits for its reply.
func (l *link) call(ctx context.Context, q request, files ...*os.File) (answer, error) {
	c := make(chan answer, 1)
	l.mu.Lock()
	l.next++
	q.ID = l.next
	l.waiting[q.ID] = c
	err := l.ch.Send(q, files...)
	l.mu.Unlock()
	if err != nil {
		l.forget(q.ID)
		return answer{}, err
	}
	select {
	case a := <-c:
		return a, a.err()
	case <-ctx.Done():
		l.forget(q.ID)
		return answer{}, ctx.Err()
	case <-l.gone:
		return answer{}, errParentGone
	}
}

// forget drops a call whose caller has left.
func (l *link) forget(id uint64) {
	l.mu.Lock()
	delete(l.waiting, id)
	l.mu.Unlock()
}

// err turns the parent's refusal into an error.
func (a answer) err() error {
	switch {
	case a.Missing:
		return proc.ErrNoUser
	case a.Absent:
		return fs.ErrNotExist
	case a.Err != "":
		return errors.New(a.Err)
	}
	return nil
}

// ready tells the parent that the engine answers.
func (l *link) ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ch.Send(request{Op: opReady})
}

// conn asks for a conversation with a deliver process.
func (l *link) conn(ctx context.Context, q request) (net.Conn, error) {
	a, err := l.call(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.file == nil {
		return nil, fmt.Errorf("the parent sent no socket for %s", q.Op)
	}
	defer a.file.Close()
	return net.FileConn(a.file)
}

// readKey reads a file that only root may read, through the parent.
func (l *link) readKey(path string) ([]byte, error) {
	f, err := l.openTable(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// openTable has the parent open a file that the configuration names: a table, a
// list, a database, a key.
func (l *link) openTable(path string) (*os.File, error) {
	a, err := l.call(context.Background(), request{Op: opOpen, Path: path})
	if err != nil {
		return nil, err
	}
	if a.file == nil {
		return nil, fmt.Errorf("the parent sent no file for %s", path)
	}
	return a.file, nil
}

// openInclude has the parent open an :include: file.
func (l *link) openInclude(path, account string) (*os.File, error) {
	return l.file(request{Op: opInclude, Path: path, User: account})
}

// file asks for an open file.
func (l *link) file(q request) (*os.File, error) {
	a, err := l.call(context.Background(), q)
	if err != nil {
		return nil, err
	}
	if a.file == nil {
		return nil, fmt.Errorf("the parent sent no file for %s", q.Path)
	}
	return a.file, nil
}

// maxKeyFile is the largest certificate or key file that is read, in octets.
const maxKeyFile = 1 << 20
