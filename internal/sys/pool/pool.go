// Package pool keeps the connections of one client to its servers, databases or
// directories (route/table, auth): it tries
// another server when one fails, leaves a failed one alone for a while, and
// closes what nobody has used for long.
package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Conn is one connection. A Pool never uses it from two goroutines at once.
type Conn interface{ Close() error }

// Options says how a Pool treats its servers. The zero value is good.
type Options struct {
	// Retry is how long a server that failed is left alone; 0 = 60 s, as the
	// SQL clients of Postfix have it.
	Retry time.Duration
	// Idle is how long a connection stays open unused; 0 = 60 s.
	Idle time.Duration
	// Max is how many connections are open at once; 0 = 10.
	Max int
	// Ordered says that servers are tried in the order they are listed.
	Ordered bool
	// Timeout bounds one look-up over all servers; 0 = 60 s.
	Timeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.Retry == 0 {
		o.Retry = time.Minute
	}
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	if o.Max == 0 {
		o.Max = 10
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	return o
}

// Pool is the connections to some servers that hold the same data.
type Pool[C Conn] struct {
	o     Options
	dial  func(ctx context.Context, server string) (C, error)
	slots chan struct{} // a place for each look-up under way

	mu      sync.Mutex
	servers []*server[C]
	timer   *time.Timer // closes idle connections
}

// server is one server. down is when it may be tried again after a failure.
type server[C Conn] struct {
	name string
	down time.Time
	why  error
	idle []idle[C] // the last used one at the end
}

type idle[C Conn] struct {
	conn  C
	since time.Time
}

// New makes a pool; dial connects to one of the servers.
func New[C Conn](servers []string, o Options, dial func(ctx context.Context, server string) (C, error)) *Pool[C] {
	p := &Pool[C]{o: o.withDefaults(), dial: dial}
	p.slots = make(chan struct{}, p.o.Max)
	for _, s := range servers {
		p.servers = append(p.servers, &server[C]{name: s})
	}
	return p
}

// Answered marks an error that a healthy server gave: the connection is good,
// and the server is not left alone for it.
type Answered struct{ Err error }

// Error is the error's text.
func (a *Answered) Error() string { return a.Err.Error() }

// Unwrap returns the error.
func (a *Answered) Unwrap() error { return a.Err }

// errDown says that every server failed lately.
var errDown = errors.New("all hosts down")

// Do calls ask with a connection. When it fails, the next server is tried; an
// error of the last one is returned.
func (p *Pool[C]) Do(ctx context.Context, ask func(ctx context.Context, c C) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return fmt.Errorf("no free connection: %w", ctx.Err())
	}
	var failed error
	for _, s := range p.order() {
		err := p.at(ctx, s, ask)
		if err == nil {
			return nil
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	if failed == nil {
		failed = p.why()
	}
	return failed
}

// order returns the servers that may be tried: sockets of this machine first,
// those with an open connection before others, by chance among equals.
func (p *Pool[C]) order() []*server[C] {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var ranks [4][]*server[C]
	for i, chance := range rand.Perm(len(p.servers)) {
		if !p.o.Ordered {
			i = chance
		}
		if s := p.servers[i]; !now.Before(s.down) {
			rank := p.rank(s)
			ranks[rank] = append(ranks[rank], s)
		}
	}
	return append(append(append(ranks[0], ranks[1]...), ranks[2]...), ranks[3]...)
}

// rank is 0 for what is tried first.
func (p *Pool[C]) rank(s *server[C]) (rank int) {
	if p.o.Ordered {
		return 0
	}
	if len(s.idle) == 0 {
		rank = 2
	}
	if !strings.HasPrefix(s.name, "unix:") {
		rank++
	}
	return rank
}

// why tells why no server may be tried.
func (p *Pool[C]) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		if s.why != nil {
			return fmt.Errorf("%w; last: %w", errDown, s.why)
		}
	}
	return errDown
}

// at asks one server. An old connection may have been closed at the other end
// meanwhile: then a new one is tried before the server counts as failed.
func (p *Pool[C]) at(ctx context.Context, s *server[C], ask func(context.Context, C) error) error {
	for {
		c, old, err := p.get(ctx, s)
		if err != nil {
			// Our own caller's end of patience says nothing about the server.
			if !errors.Is(ctx.Err(), context.Canceled) {
				p.fail(s, err)
			}
			return err
		}
		err = ask(ctx, c)
		var answered *Answered
		if err == nil || errors.As(err, &answered) {
			p.put(s, c)
			return err
		}
		c.Close()
		switch {
		case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
			return err
		case !old:
			p.fail(s, err)
			return err
		}
	}
}

// get takes an idle connection or makes one.
func (p *Pool[C]) get(ctx context.Context, s *server[C]) (c C, old bool, err error) {
	p.mu.Lock()
	if n := len(s.idle); n > 0 {
		c = s.idle[n-1].conn
		s.idle = s.idle[:n-1]
		p.mu.Unlock()
		return c, true, nil
	}
	p.mu.Unlock()
	c, err = p.dial(ctx, s.name)
	return c, false, err
}

func (p *Pool[C]) put(s *server[C], c C) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.down, s.why = time.Time{}, nil
	s.idle = append(s.idle, idle[C]{c, time.Now()})
	if p.timer == nil {
		p.timer = time.AfterFunc(p.o.Idle, p.sweep)
	}
}

// fail leaves a server alone for a while.
func (p *Pool[C]) fail(s *server[C], err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.down, s.why = time.Now().Add(p.o.Retry), err
}

// sweep closes connections that were idle too long.
func (p *Pool[C]) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	limit, left := time.Now().Add(-p.o.Idle), false
	for _, s := range p.servers {
		for len(s.idle) > 0 && !s.idle[0].since.After(limit) {
			s.idle[0].conn.Close()
			s.idle = s.idle[1:]
		}
		left = left || len(s.idle) > 0
	}
	if left {
		p.timer = time.AfterFunc(p.o.Idle, p.sweep)
	}
}

// Close closes the connections that nobody uses.
func (p *Pool[C]) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	for _, s := range p.servers {
		for _, i := range s.idle {
			i.conn.Close()
		}
		s.idle = nil
	}
}
