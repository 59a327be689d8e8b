// Package polite ends sessions politely: a session whose system stops, or that is
// kicked, finishes the command in hand and says goodbye. The mail process of
// cmd/mrad wraps the connection of every session.
package polite

import (
	"net"
	"sync"
	"time"
)

// Wrap wraps a TCP or unix connection so that, once stop or kicked is closed, its
// next read ends as if the client had been silent too long. stopping tells
// whether that has happened. Close ends the goroutine that waits for it.
func Wrap(c net.Conn, stop, kicked <-chan struct{}) (_ net.Conn, stopping func() bool) {
	var p net.Conn
	var g *guard
	switch t := c.(type) {
	case *net.TCPConn:
		w := &politeTCP{TCPConn: t, guard: guard{closed: make(chan struct{})}}
		p, g = w, &w.guard
	case *net.UnixConn:
		w := &politeUnix{UnixConn: t, guard: guard{closed: make(chan struct{})}}
		p, g = w, &w.guard
	default:
		return c, func() bool { return false }
	}
	go func() {
		select {
		case <-stop:
			g.stop(c)
		case <-kicked:
			g.stop(c)
		case <-g.closed:
		}
	}()
	return p, g.stopping
}

// guard keeps a session from moving its read deadline after the stop.
type guard struct {
	mu      sync.Mutex
	stopped bool
	closed  chan struct{}
	once    sync.Once
}

func (g *guard) stop(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	c.SetReadDeadline(time.Now())
}

// stopping tells whether the session was asked to end.
func (g *guard) stopping() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stopped
}

// set sets a read deadline, or, after the stop, one that has passed.
func (g *guard) set(c net.Conn, t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		t = time.Now()
	}
	return c.SetReadDeadline(t)
}

func (g *guard) close() { g.once.Do(func() { close(g.closed) }) }

// politeTCP and politeUnix embed the real types, so that net.Buffers still
// writes many pieces in one call.
type politeTCP struct {
	*net.TCPConn
	guard
}

type politeUnix struct {
	*net.UnixConn
	guard
}

// SetReadDeadline and Close override those of the connection.
func (p *politeTCP) SetReadDeadline(t time.Time) error { return p.guard.set(p.TCPConn, t) }

func (p *politeTCP) Close() error { p.guard.close(); return p.TCPConn.Close() }

func (p *politeUnix) SetReadDeadline(t time.Time) error { return p.guard.set(p.UnixConn, t) }

func (p *politeUnix) Close() error { p.guard.close(); return p.UnixConn.Close() }
