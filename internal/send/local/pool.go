package local

import (
	"context"
	"errors"
	"sync"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
	"packetboat/internal/sys/proc"
)

// task is one message for one mailbox on its way through a conversation.
type task struct {
	sender, rcpt, orig, delivered mail.Address
	content                       mail.Content // open until the answer has come
	success                       string       // the text of a success that says nothing itself

	began  time.Time // taken on by the conversation
	answer chan answer
}

// answer is what became of a task.
type answer struct {
	status  *mail.Status
	connect time.Duration
	send    time.Duration
	unsent  bool // the conversation broke off before it was the task's turn
}

// errGone marks the status of a mailbox whose account does not exist.
var errGone = mail.Bounce("5.1.1", "no such user")

// pool holds the open conversations, one per mailbox.
type pool struct {
	start  Starter
	o      Options
	mu     sync.Mutex
	wake   *sync.Cond // a conversation ended
	convs  map[Who]*conv
	closed bool
}

func newPool(o Options, s Starter) *pool {
	p := &pool{start: s, o: o, convs: map[Who]*conv{}}
	p.wake = sync.NewCond(&p.mu)
	return p
}

// errClosed is told of mail that comes while the transport is shut down.
var errClosed = errors.New("the delivery agent is shutting down")

// deliver sends one message to one mailbox and waits for the answer.
func (p *pool) deliver(ctx context.Context, who Who, t *task) answer {
	t.answer = make(chan answer, 1)
	for try := 1; ; try++ {
		c, err := p.get(ctx, who)
		if err != nil {
			return answer{status: mail.Defer("4.3.2", "%v", err)}
		}
		c.add(t)
		// Once it is written a message cannot be taken back: the answer is waited
		// for whatever happens to ctx. The conversation's own time limits bound it.
		a := <-t.answer
		p.done(c)
		if !a.unsent || try == maxTries {
			return a
		}
	}
}

// maxTries is how often a message is given to a conversation that breaks off
// before a byte of the message was written.
const maxTries = 2

// get returns the conversation with who, which counts one user more. Where the
// most are open, one that is idle ends; are all at work, the caller waits.
func (p *pool) get(ctx context.Context, who Who) (*conv, error) {
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wake.Broadcast()
	})
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch c := p.convs[who]; {
		case p.closed:
			return nil, errClosed
		case ctx.Err() != nil:
			return nil, errClosed
		case c != nil:
			c.users++
			return c, nil
		case len(p.convs) < p.o.Conversations:
			c = newConv(p, who)
			p.convs[who] = c
			c.users = 1
			go c.run(ctx)
			return c, nil
		}
		if !p.evict() {
			p.wake.Wait()
		}
	}
}

// evict ends a conversation that is idle; false when all work. Any will do, and
// the map's order is random: were it the one that has been idle longest, users
// whose mail comes in turn would always find theirs just ended.
func (p *pool) evict() bool {
	for _, c := range p.convs {
		if c.users == 0 {
			p.remove(c)
			return true
		}
	}
	return false
}

// remove takes a conversation out of the pool and has it end. p.mu is held.
func (p *pool) remove(c *conv) {
	if p.convs[c.who] == c {
		delete(p.convs, c.who)
		p.wake.Broadcast()
	}
	c.end()
}

// done counts one user less.
func (p *pool) done(c *conv) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.users--
	if c.users > 0 {
		return
	}
	c.idleSince = time.Now()
	if p.closed {
		p.remove(c)
		return
	}
	p.wake.Broadcast()
	c.timer.Reset(p.o.Idle)
}

// expire ends a conversation that has been idle for the stated time.
func (p *pool) expire(c *conv) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.users == 0 && time.Since(c.idleSince) >= p.o.Idle {
		p.remove(c)
	}
}

// failed takes a broken conversation out, so that the next mail gets a new one.
func (p *pool) failed(c *conv) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(c)
}

// close ends idle conversations now and the others when they are.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.convs {
		if c.users == 0 {
			p.remove(c)
		}
	}
	p.wake.Broadcast()
}

// send delivers the message of d to a mailbox, in the name of local(8).
func (d *delivery) send(who Who, t *alias.Dest, success string) mail.Result {
	a := d.l.pool.deliver(d.ctx, who, &task{sender: d.sender(t), rcpt: t.Addr, orig: d.orig(), delivered: t.Delivered,
		content: d.content, success: success})
	res := d.result(a.status)
	res.Connect, res.Send = a.connect, a.send
	return res
}

// startStatus is what mail waits or bounces with when no process started.
func startStatus(err error) *mail.Status {
	if errors.Is(err, proc.ErrNoUser) {
		return errGone
	}
	if st, ok := errors.AsType[*mail.Status](err); ok {
		return st
	}
	return mail.Defer("4.3.0", "cannot start mailbox delivery: %v", err)
}
