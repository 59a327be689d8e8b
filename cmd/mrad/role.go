package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"packetboat/internal/sys/proc"
)

// The pauses before a crashed role is started again: short the first time,
// then longer while it does not last a minute.
const (
	restartMin   = 100 * time.Millisecond
	restartMax   = 30 * time.Second
	restartReset = time.Minute
	readyTime    = 20 * time.Second
)

// role is auth, login or lmtp: one process of a kind at a time, started again
// when it ends.
type role struct {
	name   string
	p      *parent
	setup  func(*peer) error          // hands over what the process needs
	handle func(*peer, event)         // what the process asks
	user   func() (*proc.User, error) // whom to start it as; nil = the parent's user

	mu      sync.Mutex
	now     *peer
	all     map[*peer]bool // now, and those that finish their clients
	started time.Time
	pause   time.Duration
	ended   bool // no more starts
	procs   sync.WaitGroup
}

func (r *role) current() *peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// start starts a process, sets it up, and makes it the current one.
func (r *role) start() error {
	q, pr, err := r.p.spawn(r.name, r.user)
	if err != nil {
		return fmt.Errorf("%s process: %w", r.name, err)
	}
	ready := make(chan struct{}, 1)
	r.procs.Add(1)
	r.add(q)
	go q.serve(func(e event) {
		if e.Op == opReady {
			ready <- struct{}{}
			return
		}
		r.handle(q, e)
	})
	go r.watch(q, pr)
	if err := r.setup(q); err != nil {
		q.ch.Close()
		return err
	}
	// It says so when it has its sockets: a system that cannot log anybody in
	// must not say that it runs.
	select {
	case <-ready:
	case <-q.done:
		return fmt.Errorf("the %s process did not start: see the log", r.name)
	case <-time.After(readyTime):
		q.ch.Close()
		return fmt.Errorf("the %s process does not answer", r.name)
	}
	r.mu.Lock()
	r.now, r.started = q, time.Now()
	r.mu.Unlock()
	return nil
}

// add counts a process in.
func (r *role) add(q *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[*peer]bool)
	}
	r.all[q] = true
}

// watch waits for the end of a process. The current one is started again.
func (r *role) watch(q *peer, pr *proc.Process) {
	defer r.procs.Done()
	code := pr.Wait()
	q.ch.Close()
	r.mu.Lock()
	delete(r.all, q)
	current := r.now == q
	if current {
		r.now = nil
	}
	again := current && !r.ended
	r.mu.Unlock()
	if !again {
		return
	}
	r.p.log().DovecotError("master", fmt.Sprintf("service(%s): child %d ended with %d", r.name, pr.PID(), code))
	go r.restart()
}

func (r *role) restart() {
	for {
		r.mu.Lock()
		if time.Since(r.started) > restartReset {
			r.pause = restartMin
		}
		pause := max(r.pause, restartMin)
		r.pause = min(2*pause, restartMax)
		r.mu.Unlock()
		time.Sleep(pause)
		r.mu.Lock()
		over := r.ended || r.now != nil
		r.mu.Unlock()
		if over {
			return
		}
		err := r.start()
		if err == nil {
			return
		}
		r.p.log().DovecotError("master", err.Error())
	}
}

// replace starts a new process and lets the old one finish its clients.
func (r *role) replace() {
	old := r.current()
	if err := r.start(); err != nil {
		r.p.log().DovecotError("master", err.Error())
		return
	}
	if old == nil {
		return
	}
	old.send(message{Op: opRetire})
	if r.name == "auth" {
		// Conversations under way get their answers; then nobody asks it.
		time.AfterFunc(restartReset, func() { old.ch.Close() })
	}
}

// stop ends the role and waits for its processes.
func (r *role) stop(ctx context.Context) {
	r.mu.Lock()
	r.ended = true
	for q := range r.all {
		if r.name == "auth" {
			q.ch.Close()
		} else {
			go q.send(message{Op: opStop})
		}
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() { r.procs.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// spawn starts this executable in a role.
func (p *parent) spawn(name string, as func() (*proc.User, error)) (*peer, *proc.Process, error) {
	ch, far, err := proc.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer far.Close()
	ro := proc.Role{Path: p.self, Args: []string{"mrad", "--role", name, "-c", p.path},
		Env: proc.CleanEnv(), Stderr: p.logPipe, Files: []*os.File{far}}
	if as != nil {
		if ro.User, err = as(); err != nil {
			ch.Close()
			return nil, nil, err
		}
	}
	pr, err := proc.Start(ro)
	if err != nil {
		ch.Close()
		return nil, nil, err
	}
	return newPeer(ch), pr, nil
}
