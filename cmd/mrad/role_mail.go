package main

import (
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"packetboat/cmd/mrad/polite"
	"packetboat/cmd/mrad/spaces"
	"packetboat/internal/serve/imapd"
	"packetboat/internal/serve/login"
	"packetboat/internal/serve/pop3d"
	"packetboat/internal/store"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/maillog"
	"packetboat/internal/sys/proc"
)

// mailRole holds all sessions of one user number. It becomes that user with the
// first message of the parent, before it sees anything of a client.
type mailRole struct {
	p    *peer
	log  *maillog.Log
	imap *maillog.Log  // writes "imap" before its lines, pop3d does so itself
	stop chan struct{} // closed when all sessions are to end

	mu     sync.Mutex
	u      *setup                  // nil until the process has become its user
	stores map[string]*sharedStore // by mail location
	kicks  map[int]chan struct{}   // by session number; closed to end that session
	active sync.WaitGroup
}

// sharedStore is one user's store, shared by the sessions that have it open.
type sharedStore struct {
	store.Store
	users int
}

func runMail(string) error {
	ch, err := proc.Inherited(channelFD)
	if err != nil {
		return err
	}
	// Many of these processes stand idle: memory is given back early.
	debug.SetGCPercent(50)
	r := &mailRole{p: newPeer(ch), log: roleLog(), imap: roleLogger().Program("imap"),
		stop: make(chan struct{}), stores: make(map[string]*sharedStore), kicks: make(map[int]chan struct{})}
	r.p.serve(r.handle)
	// The parent closed the channel: it has no session of ours, or it is gone.
	r.end()
	return nil
}

func (r *mailRole) handle(e event) {
	switch {
	case e.Op == opSetup:
		if err := r.setup(e.Setup); err != nil {
			r.log.DovecotError("mail", err.Error())
			os.Exit(1)
		}
	case e.Op == opStop:
		go r.end()
	case e.Op == opKick:
		r.kick(e.Number)
	case e.Op == opSession && len(e.files) == 1 && r.settings() != nil:
		r.active.Add(1)
		go r.session(e, r.kickable(e.Session.Number))
		return
	}
	e.close()
}

// setup takes the settings; the first ones say whom to become.
func (r *mailRole) setup(u *setup) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.u == nil && u.RunAs != nil {
		if err := proc.BecomeWith(u.RunAs, u.Groups); err != nil {
			return err
		}
	}
	r.u = u
	return nil
}

// settings are those of this moment; the process must have become its user.
func (r *mailRole) settings() *setup {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.u
}

// stopTime is how long sessions may take to end when the system stops.
const stopTime = 8 * time.Second

// end asks every session to end, waits for them, and ends the process.
func (r *mailRole) end() {
	r.mu.Lock()
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() { r.active.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopTime):
	}
	os.Exit(0)
}

// session runs one client to its end and tells the parent.
func (r *mailRole) session(e event, kicked <-chan struct{}) {
	s := *e.Session
	defer r.active.Done()
	defer r.p.send(message{Op: opDone, Number: s.Number})
	defer r.kick(s.Number) // forgets it
	defer func() {
		if p := recover(); p != nil {
			r.log.DovecotError(fmt.Sprintf("%s(%s)", s.Proto, s.User), fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	conn, err := net.FileConn(e.files[0])
	e.close()
	if err != nil {
		return
	}
	defer conn.Close()
	st, err := r.open(s.Mail)
	if err != nil {
		r.refuse(conn, s, err)
		return
	}
	defer r.release(s.Mail)
	u := r.settings()
	wrapped, stopping := polite.Wrap(conn, r.stop, kicked)
	defer wrapped.Close() // ends the goroutine that waits for the stop
	x := r.extras(&s)
	x.Begin()
	if s.Proto == login.POP3 {
		defer r.endPOP3(&s, x)
		if st, err = r.limitStore(&s, x.Watched(st)); err != nil {
			r.refuse(conn, s, err)
			return
		}
		pop3d.Serve(wrapped, pop3d.User{Name: s.User, Store: st},
			pop3d.Options{Log: r.log, UIDL: u.UIDL, NoFlags: u.NoFlagUpdates, Workarounds: u.Workarounds}, pop3d.Start{Pending: s.Pending, TLS: s.TLS, Session: s.Session, Stopping: stopping})
		return
	}
	who := spaces.User{Name: s.User, Home: s.Home, Mail: s.Mail}
	list, opened, err := spaces.Open(u.Spaces, who, r.open)
	defer func() {
		for _, where := range opened {
			r.release(where)
		}
	}()
	var limits imapd.Quota
	if err == nil {
		x.Watch(list)
		limits, err = r.limitSpaces(&s, list)
	}
	if err != nil {
		r.refuse(conn, s, err)
		return
	}
	imapd.Serve(wrapped, imapd.User{Name: s.User, Namespaces: list, Quota: limits, Attributes: who.Dict(u.Attributes)},
		imapd.Options{Log: r.imap, IdleNotify: u.IdleNotify, MaxLine: u.MaxLine, IDSend: u.IDSend, Capability: u.Capability, Workarounds: u.Bends}, imapd.Start{Tag: s.Tag, Pending: s.Pending, TLS: s.TLS, Session: s.Session, Stopping: stopping})
	x.End(list)
}

// kickable notes a session, and returns what is closed when it is to end.
func (r *mailRole) kickable(number int) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan struct{})
	r.kicks[number] = c
	return c
}

// kick ends one session as a stop of the system would, and forgets it.
func (r *mailRole) kick(number int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.kicks[number]; c != nil {
		delete(r.kicks, number)
		close(c)
	}
}

// refuse tells a client whose mail cannot be opened, in its protocol.
func (r *mailRole) refuse(conn net.Conn, s session, err error) {
	r.log.DovecotError(fmt.Sprintf("%s(%s)<%d><%s>", s.Proto, s.User, os.Getpid(), s.Session), "mail location "+s.Mail+": "+err.Error())
	const text = "Internal error occurred. Refer to server log for more information."
	conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if s.Proto == login.POP3 {
		fmt.Fprintf(conn, "-ERR [SYS/TEMP] %s\r\n", text)
		return
	}
	fmt.Fprintf(conn, "%s NO [UNAVAILABLE] %s\r\n* BYE %s\r\n", s.Tag, text, text)
}

// open returns the store of a mail location; sessions of one user share it.
func (r *mailRole) open(where string) (store.Store, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.stores[where]; s != nil {
		s.users++
		return s, nil
	}
	st, err := location.Open(where, location.Options{LockTimeout: r.u.LockTimeout, DotlockStale: r.u.DotlockStale})
	if err != nil {
		return nil, err
	}
	r.stores[where] = &sharedStore{st, 1}
	return r.stores[where], nil
}

func (r *mailRole) release(where string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stores[where]
	if s.users--; s.users > 0 {
		return
	}
	delete(r.stores, where)
	if err := s.Close(); err != nil {
		r.log.DovecotError("mail", err.Error())
	}
}
