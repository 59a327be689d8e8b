package main

import (
	"os"
	"path/filepath"
	"sync"

	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/sys/proc"
)

// warm is the deliver process of one engine. It serves the conversations of all
// users: a process for each would cost more than the mail it writes, in time and
// in memory. It runs as mail_owner, with the right to act on files as other
// accounts and no other right; without root all mail is the caller's own. It ends
// by itself when it has had nothing to do, and a new one is started.
type warm struct {
	role proc.Role
	mu   sync.Mutex
	ch   *proc.Channel
}

func newWarm(p *parent) *warm {
	w := &warm{role: proc.Role{
		Path: filepath.Join(p.bin, "deliver"), Args: []string{"deliver", "-c", p.main.Dir(), "-z", "--many"},
		Env: proc.CleanEnv(), Stderr: p.words.in,
	}}
	if os.Geteuid() == 0 {
		w.role.User, w.role.Switch = p.owner, true
	}
	return w
}

// begin hands one end of a conversation to the process and returns the other.
func (w *warm) begin(t lmtpd.Talk) (*os.File, error) {
	ours, theirs, err := proc.SocketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for try := 0; ; try++ {
		if w.ch == nil {
			if err = w.start(); err != nil {
				break
			}
		}
		if err = w.ch.Send(t, theirs); err == nil {
			return ours, nil
		}
		// It has ended, in peace or not.
		w.ch.Close()
		w.ch = nil
		if try > 0 {
			break
		}
	}
	ours.Close()
	return nil, err
}

// start starts the process. w.mu is held.
func (w *warm) start() error {
	near, far, err := proc.Pair()
	if err != nil {
		return err
	}
	defer far.Close()
	r := w.role
	r.Files = []*os.File{far}
	p, err := proc.Start(r)
	if err != nil {
		near.Close()
		return err
	}
	go p.Wait()
	w.ch = near
	return nil
}

// end lets the process finish what it has and end.
func (w *warm) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch != nil {
		w.ch.Close()
		w.ch = nil
	}
}
