package wire

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"packetboat/internal/sys/proc"
)

// Limits of a Server.
const (
	// maxPending is requests under way on one connection; more are refused as
	// temporary failures. A login process has one connection for all its clients, and a
	// refusal takes seconds: with fewer places than it has clients, wrong passwords
	// of some would keep everybody else out.
	maxPending = 4096
	maxClients = 256               // connections at once; more are closed at once
	claimTime  = 150 * time.Second // how long an OK waits for Claim
)

// Backend judges. cmd/mrad gives a Server the Auth of package auth.
type Backend interface {
	// Mechs returns the mechanisms to announce.
	Mechs() []Mech
	// Begin starts a conversation with one of them, or returns nil for an
	// unknown one.
	Begin(r Request) Conversation
}

// Conversation is one authentication under way. Step may block: for a hash, a
// database, or the delay of a failure. ctx ends when the client has gone.
type Conversation interface {
	// Step takes the client's response, nil when the request had none.
	Step(ctx context.Context, response []byte) Answer
}

// Server answers authentication clients. Its zero value with a Backend is good.
type Server struct {
	Backend Backend
	Warn    func(text string) // told when a client breaks the protocol; may be nil

	cuid    atomic.Uint32
	clients atomic.Int32
	mu      sync.Mutex
	kept    map[Ticket]kept
}

// kept is a success that waits for its Claim.
type kept struct {
	req   Request
	ans   Answer
	until time.Time
}

// Serve accepts connections until l is closed.
func (s *Server) Serve(l net.Listener) {
	proc.Accept(l, nil, s.ServeConn)
}

// ServeConn serves one client and closes its connection.
func (s *Server) ServeConn(c net.Conn) {
	defer c.Close()
	defer s.clients.Add(-1)
	if s.clients.Add(1) > maxClients {
		s.warn("too many authentication clients")
		return
	}
	p, err := s.newPeer(c)
	if err != nil {
		return
	}
	defer p.cancel()
	defer s.drop(p.cuid)
	if err := p.serve(); err != nil {
		s.warn(fmt.Sprintf("BUG: Authentication client %s sent broken input: %v", p.cpid, err))
	}
}

func (s *Server) warn(text string) {
	if s.Warn != nil {
		s.Warn(text)
	}
}

// Claim returns a success and forgets it: a ticket works once. It is false for
// an unknown, used or old ticket.
func (s *Server) Claim(t Ticket) (Request, Answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.kept[t]
	delete(s.kept, t)
	if !ok || time.Now().After(k.until) {
		return Request{}, Answer{}, false
	}
	return k.req, k.ans, true
}

// keep stores a success. Old ones go at the same time, so that a login process
// that never claims cannot fill memory.
func (s *Server) keep(t Ticket, k kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[Ticket]kept)
	}
	now := time.Now()
	for old, v := range s.kept {
		if now.After(v.until) {
			delete(s.kept, old)
		}
	}
	k.until = now.Add(claimTime)
	s.kept[t] = k
}

// drop forgets what a client that has gone never claimed.
func (s *Server) drop(cuid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.kept {
		if t.Client == cuid {
			delete(s.kept, t)
		}
	}
}

// peer is one client.
type peer struct {
	s      *Server
	conn   net.Conn
	cuid   uint32
	cpid   string
	cookie string
	ctx    context.Context
	cancel context.CancelFunc

	wmu     sync.Mutex
	mu      sync.Mutex
	pending map[uint32]*pending
}

// pending is one request under way: either a Step runs, or it waits for CONT.
type pending struct {
	conv    Conversation
	req     Request
	waiting bool
	cancel  context.CancelFunc
	ctx     context.Context
}

func (s *Server) newPeer(c net.Conn) (*peer, error) {
	var cookie [16]byte
	rand.Read(cookie[:])
	p := &peer{s: s, conn: c, cuid: s.cuid.Add(1), cookie: hex.EncodeToString(cookie[:]),
		cpid: "0", pending: make(map[uint32]*pending)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, p.write(p.greeting())
}

func (p *peer) greeting() []byte {
	b := fmt.Appendf(nil, "VERSION\t%d\t%d\n", versionMajor, versionMinor)
	for _, m := range p.s.Backend.Mechs() {
		b = append(append(b, "MECH\t"...), m.Name...)
		for i, name := range propNames {
			if m.Prop&(1<<i) != 0 {
				b = append(append(b, '\t'), name...)
			}
		}
		b = append(b, '\n')
	}
	return fmt.Appendf(b, "SPID\t%d\nCUID\t%d\nCOOKIE\t%s\nDONE\n", os.Getpid(), p.cuid, p.cookie)
}

func (p *peer) write(b []byte) error {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	p.conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	_, err := p.conn.Write(b)
	if err != nil {
		p.conn.Close() // a client that does not read is ended
	}
	return err
}

// serve reads lines until the client goes or breaks the protocol.
func (p *peer) serve() error {
	in := bufio.NewReaderSize(p.conn, MaxLine)
	for {
		line, err := readLine(in)
		if errors.Is(err, errLine) {
			return err
		}
		if err != nil {
			return nil // gone
		}
		if err := p.command(strings.Split(line, "\t")); err != nil {
			return err
		}
	}
}

func (p *peer) command(args []string) error {
	switch args[0] {
	case "VERSION":
		if len(args) < 2 || args[1] != strconv.Itoa(versionMajor) {
			return errors.New("unsupported protocol version")
		}
	case "CPID":
		if len(args) < 2 {
			return errLine
		}
		pid, err := parseID(args[1])
		if err != nil {
			return err
		}
		p.cpid = strconv.Itoa(int(pid))
	case "AUTH":
		return p.begin(args[1:])
	case "CONT":
		return p.resume(args[1:])
	case "CANCEL":
		return p.abandon(args[1:])
	}
	return nil // an unknown command is from a newer minor version
}

func (p *peer) begin(args []string) error {
	id, r, err := parseAuth(args)
	if errors.Is(err, errBase64) {
		return p.answer(Answer{ID: id, Code: CodeBase64, Reason: "Invalid base64 data in initial response"})
	}
	if err != nil {
		return err
	}
	if r.Service == "" {
		return errors.New("no service in request")
	}
	conv := p.s.Backend.Begin(r)
	if conv == nil {
		return p.answer(Answer{ID: id, Reason: "Unsupported authentication mechanism."})
	}
	initial := r.Initial
	r.Initial = nil // a password is not kept longer than needed
	q := &pending{conv: conv, req: r}
	if err := p.add(id, q); err != nil {
		if errors.Is(err, errBusy) {
			return p.answer(Answer{ID: id, Temporary: true, Code: CodeTempFail})
		}
		return err
	}
	go p.step(id, q, initial)
	return nil
}

var errBusy = errors.New("too many requests")

func (p *peer) add(id uint32, q *pending) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending[id] != nil {
		return errors.New("request number is in use")
	}
	if len(p.pending) >= maxPending {
		return errBusy
	}
	q.ctx, q.cancel = context.WithCancel(p.ctx)
	p.pending[id] = q
	return nil
}

func (p *peer) resume(args []string) error {
	if len(args) < 2 {
		return errLine
	}
	id, err := parseID(args[0])
	if err != nil {
		return err
	}
	p.mu.Lock()
	q := p.pending[id]
	ready := q != nil && q.waiting
	if ready {
		q.waiting = false
	}
	p.mu.Unlock()
	if !ready {
		return p.answer(Answer{ID: id, Reason: "Authentication request timed out"})
	}
	response, err := decode(args[1])
	if err != nil {
		p.forget(id)
		return p.answer(Answer{ID: id, Code: CodeBase64, Reason: "Invalid base64 data in continued response"})
	}
	go p.step(id, q, response)
	return nil
}

func (p *peer) abandon(args []string) error {
	if len(args) < 1 {
		return errLine
	}
	id, err := parseID(args[0])
	if err == nil {
		p.forget(id)
	}
	return err
}

func (p *peer) forget(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.pending[id]; q != nil {
		q.cancel()
		delete(p.pending, id)
	}
}

// step runs one Step in a goroutine of its own and sends what it says. A panic
// in a backend fails one request, not the server.
func (p *peer) step(id uint32, q *pending, response []byte) {
	defer func() {
		if e := recover(); e != nil {
			p.forget(id)
			p.s.warn(fmt.Sprintf("panic in %s: %v", q.req.Mech, e))
			p.answer(Answer{ID: id, Temporary: true, Code: CodeTempFail})
		}
	}()
	a := q.conv.Step(q.ctx, response)
	a.ID = id
	if !p.settle(id, q, a) {
		return // cancelled meanwhile
	}
	if a.State == OK && q.req.Login {
		p.s.keep(Ticket{p.cuid, id, p.cookie}, kept{req: q.req, ans: a})
	}
	p.answer(a)
}

// settle marks the request as waiting or done; false when it was cancelled.
func (p *peer) settle(id uint32, q *pending, a Answer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending[id] != q {
		return false
	}
	if a.State == Continue {
		q.waiting = true
		return true
	}
	q.cancel()
	delete(p.pending, id)
	return true
}

func (p *peer) answer(a Answer) error { return p.write(appendAnswer(nil, a)) }
