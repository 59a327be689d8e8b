package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"

	"packetboat/internal/auth"
	"packetboat/internal/auth/wire"
	"packetboat/internal/serve/login"
	"packetboat/internal/store/quota"
	"packetboat/internal/sys/proc"
)

// message is what parent and roles say to each other over a proc.Channel. Op
// says which of the fields hold something. An ID other than 0 asks for a reply
// with the same ID and Op "reply".
type message struct {
	Op       string            `json:"op"`
	ID       uint64            `json:"id,omitempty"`
	Err      string            `json:"err,omitempty"`
	Kind     string            `json:"kind,omitempty"` // of Err, where the caller must tell errors apart
	Setup    *setup            `json:"setup,omitempty"`
	Listen   *listenAs         `json:"listen,omitempty"`
	Handover *login.Handover   `json:"handover,omitempty"`
	Ticket   *wire.Ticket      `json:"ticket,omitempty"`
	User     *auth.UserInfo    `json:"user,omitempty"`
	Name     string            `json:"name,omitempty"`
	Session  *session          `json:"session,omitempty"`
	Number   int               `json:"number,omitempty"`
	Extra    map[string]string `json:"extra,omitempty"`
}

// The operations.
const (
	opReply    = "reply"
	opReady    = "ready"    // role -> parent: I answer
	opSetup    = "setup"    // parent -> role: Setup
	opListen   = "listen"   // parent -> role: Listen, with the socket
	opRun      = "run"      // parent -> role: all sockets have come
	opKeys     = "keys"     // parent -> login: a renewed certificate and key (Setup)
	opRetire   = "retire"   // parent -> role: take no new clients, end when the last has gone
	opStop     = "stop"     // parent -> role: end all sessions politely
	opAuth     = "auth"     // login -> parent: a connection to auth, please (reply has it)
	opClient   = "client"   // parent -> auth: serve this connection
	opHandover = "handover" // login -> parent: Handover, with the client's socket
	opClaim    = "claim"    // parent -> auth: whom does Ticket belong to?
	opLookup   = "lookup"   // parent -> auth, lmtp -> parent: where is the mail of Name?
	opSession  = "session"  // parent -> mail: Session, with its socket
	opKick     = "kick"     // parent -> mail: end session Number politely
	opDone     = "done"     // mail -> parent: session Number has ended
	opDeliver  = "deliver"  // lmtp -> parent: a deliver process for Name (reply has its socket)
)

// The kinds of errors that cross a channel.
const (
	kindTooMany = "too-many"
	kindNoUser  = "no-user"
)

// listenAs says what a listening socket is for.
type listenAs struct {
	Service string // imap, pop3, sieve, lmtp, auth
	SSL     bool   // TLS begins at once
	HAProxy bool   // a load balancer's header comes first
}

// session is one client on its way to a mail process.
type session struct {
	Number int
	Proto  login.Proto
	User   string
	Mail   string // mail location, expanded
	Home   string
	Quota  quota.Settings // nil = no quota
	// ShowQuota says that IMAP tells of it (plugin imap_quota).
	ShowQuota bool
	Tag       string
	Pending   []byte
	TLS       bool
	Session   string
	Method    string
	Remote    netip.AddrPort
	Local     netip.AddrPort
}

// event is a message with the files that came with it. Whoever handles it
// closes them.
type event struct {
	message
	files []*os.File
}

func (e event) close() {
	for _, f := range e.files {
		f.Close()
	}
}

// peer is the process at the other end of a channel.
type peer struct {
	ch   *proc.Channel
	wmu  sync.Mutex
	mu   sync.Mutex
	last uint64
	wait map[uint64]chan event
	done chan struct{} // closed when the other process has gone
}

var errGone = errors.New("the process is gone")

func newPeer(ch *proc.Channel) *peer {
	return &peer{ch: ch, wait: make(map[uint64]chan event), done: make(chan struct{})}
}

// serve reads until the other end has gone. Messages that are no replies go to
// handle, in their order.
func (p *peer) serve(handle func(event)) {
	defer close(p.done)
	for {
		var m message
		files, err := p.ch.Recv(&m)
		if err != nil {
			return
		}
		e := event{m, files}
		if m.Op != opReply {
			handle(e)
			continue
		}
		p.mu.Lock()
		ch := p.wait[m.ID]
		delete(p.wait, m.ID)
		p.mu.Unlock()
		if ch == nil {
			e.close() // nobody waits any more
			continue
		}
		ch <- e
	}
}

func (p *peer) send(m message, files ...*os.File) error {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	return p.ch.Send(m, files...)
}

// call sends m and waits for its reply, whose files the caller closes.
func (p *peer) call(ctx context.Context, m message, files ...*os.File) (event, error) {
	ch := make(chan event, 1)
	p.mu.Lock()
	p.last++
	m.ID = p.last
	p.wait[m.ID] = ch
	p.mu.Unlock()
	if err := p.send(m, files...); err != nil {
		p.forget(m.ID, ch)
		return event{}, err
	}
	select {
	case e := <-ch:
		return e, replyError(e.message)
	case <-p.done:
		return event{}, errGone
	case <-ctx.Done():
		p.forget(m.ID, ch)
		return event{}, ctx.Err()
	}
}

// forget drops a call; a reply that came just now is closed.
func (p *peer) forget(id uint64, ch chan event) {
	p.mu.Lock()
	delete(p.wait, id)
	p.mu.Unlock()
	select {
	case e := <-ch:
		e.close()
	default:
	}
}

// reply answers a call.
func (p *peer) reply(to message, m message, files ...*os.File) {
	m.Op, m.ID = opReply, to.ID
	p.send(m, files...)
}

// fail answers a call with an error.
func (p *peer) fail(to message, err error) {
	m := message{Err: err.Error()}
	switch {
	case errors.Is(err, login.ErrTooMany):
		m.Kind = kindTooMany
	case errors.Is(err, auth.ErrNoUser):
		m.Kind = kindNoUser
	}
	p.reply(to, m)
}

// replyError turns a reply's error back into one that can be told apart.
func replyError(m message) error {
	switch {
	case m.Kind == kindTooMany:
		return login.ErrTooMany
	case m.Kind == kindNoUser:
		return auth.ErrNoUser
	case m.Err != "":
		return errors.New(m.Err)
	}
	return nil
}
