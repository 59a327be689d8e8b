package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"packetboat/internal/mail"
)

// conv is a conversation with one deliver process. One goroutine writes whole
// transactions behind each other, without waiting for answers; another reads
// the answers, which come in the same order. So deliver finds many messages at
// once and appends them under one lock and one fsync.
type conv struct {
	p   *pool
	who Who

	// Kept under p.mu.
	users     int
	idleSince time.Time
	timer     *time.Timer

	mu      sync.Mutex
	change  *sync.Cond
	waiting []*task // not written yet
	flying  []*task // written, without an answer
	bytes   int64   // octets of flying
	over    bool    // no more tasks will come
	broken  *mail.Status
	begun   time.Time // the process was asked for
	connect time.Duration

	conn net.Conn
	out  *bufio.Writer
	copy []byte
	line []byte
}

// bufSize is what is gathered before it is written, in bytes: a few usual
// messages, and not much for each of many conversations.
const bufSize = 16 << 10

// quitTime is the time that deliver may take to end.
const quitTime = 10 * time.Second

func newConv(p *pool, who Who) *conv {
	c := &conv{p: p, who: who}
	c.change = sync.NewCond(&c.mu)
	c.timer = time.AfterFunc(p.o.Idle, func() { p.expire(c) })
	return c
}

// add gives the conversation a task.
func (c *conv) add(t *task) {
	t.began = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		c.reply(t, c.broken, true)
		return
	}
	c.waiting = append(c.waiting, t)
	c.change.Broadcast()
}

// end says that no more tasks will come.
func (c *conv) end() {
	c.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.change.Broadcast()
}

// reply answers for a task. c.mu is held. unsent: another conversation may try.
func (c *conv) reply(t *task, st *mail.Status, unsent bool) {
	a := answer{status: st, send: time.Since(t.began), unsent: unsent}
	if !c.begun.IsZero() && !t.began.After(c.begun.Add(c.connect)) {
		// The task that the process was started for counts the start as set-up.
		a.connect = min(c.connect, a.send)
		a.send -= a.connect
	}
	t.answer <- a
}

// run starts the process and writes what comes, until the end or a failure.
func (c *conv) run(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			c.fail(mail.Defer("4.3.0", "internal error of the delivery agent"))
		}
	}()
	c.begun = time.Now()
	conn, err := c.p.start.Deliver(ctx, c.who)
	if err != nil {
		c.fail(startStatus(err))
		return
	}
	defer conn.Close()
	c.mu.Lock()
	c.conn, c.connect = conn, time.Since(c.begun)
	c.mu.Unlock()
	c.out = bufio.NewWriterSize(conn, bufSize)
	fmt.Fprintf(c.out, "LHLO %s\r\n", c.p.o.Hostname)
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read()
	}()
	if err := c.write(); err != nil {
		c.fail(lost(err))
	}
	<-read
}

// lost is what mail waits with whose conversation broke off.
func lost(err error) *mail.Status {
	if errors.Is(err, io.EOF) {
		return mail.Defer("4.3.0", "mailbox delivery process ended without an answer")
	}
	return mail.Defer("4.3.0", "mailbox delivery process: %v", err)
}

// fail ends the conversation: everything without an answer gets st.
func (c *conv) fail(st *mail.Status) {
	c.p.failed(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = st
	}
	for _, t := range c.flying {
		c.reply(t, c.broken, false)
	}
	for _, t := range c.waiting {
		c.reply(t, c.broken, c.conn != nil)
	}
	c.flying, c.waiting, c.bytes = nil, nil, 0
	if c.conn != nil {
		c.conn.Close()
	}
	c.change.Broadcast()
}

// next waits for a task that fits the window. nil is the end. Before it waits
// it sees to it that deliver has all that was written.
func (c *conv) next() (*task, error) {
	for {
		c.mu.Lock()
		switch {
		case c.broken != nil:
			c.mu.Unlock()
			return nil, nil
		case len(c.waiting) > 0 && c.fits(c.waiting[0]):
			t := c.waiting[0]
			c.waiting = c.waiting[1:]
			c.flying = append(c.flying, t)
			c.bytes += t.content.Len
			c.watch()
			c.mu.Unlock()
			return t, nil
		case c.over && len(c.waiting) == 0:
			c.mu.Unlock()
			return nil, nil
		}
		if c.out.Buffered() == 0 {
			c.change.Wait()
			c.mu.Unlock()
			continue
		}
		c.mu.Unlock()
		if err := c.out.Flush(); err != nil {
			return nil, err
		}
	}
}

// watch sets the time by which deliver must say something: never while it has
// nothing to answer. c.mu is held.
func (c *conv) watch() {
	if len(c.flying) == 0 {
		c.conn.SetReadDeadline(time.Time{})
	} else {
		c.conn.SetReadDeadline(time.Now().Add(c.p.o.DeliverTime))
	}
}

// fits tells whether t may fly with the others; one always may.
func (c *conv) fits(t *task) bool {
	n := len(c.flying)
	return n == 0 || (n < c.p.o.Window && c.bytes+t.content.Len <= c.p.o.WindowBytes)
}

// write writes transactions until there is nothing more to come.
func (c *conv) write() error {
	for {
		t, err := c.next()
		if err != nil {
			return err
		}
		if t == nil {
			break
		}
		c.conn.SetWriteDeadline(time.Now().Add(c.p.o.DeliverTime))
		if err := c.transaction(t); err != nil {
			return err
		}
	}
	c.conn.SetDeadline(time.Now().Add(quitTime))
	c.out.WriteString("QUIT\r\n")
	return c.out.Flush()
}

// transaction writes one message. If it cannot be read to its end after the
// count of its octets was sent, the conversation must end: what follows would
// be taken for its rest.
func (c *conv) transaction(t *task) error {
	content := t.content
	var err error
	if c.line, err = t.head(c.line[:0]); err != nil {
		c.skip(t, mail.Bounce("5.1.3", "bad address syntax"))
		return nil
	}
	c.out.Write(c.line)
	if c.copy == nil && content.Len > bufSize {
		c.copy = make([]byte, bufSize)
	}
	// A small message goes straight into the write buffer, one read and no copy;
	// a large one is copied piece by piece.
	var n int64
	if content.Len <= bufSize {
		n, err = c.out.ReadFrom(content.Reader())
	} else if err = c.out.Flush(); err == nil {
		n, err = io.CopyBuffer(onlyWriter{c.conn}, content.Reader(), c.copy)
	}
	if err == nil && n != content.Len {
		err = fmt.Errorf("message %d octets short", content.Len-n)
	}
	return err
}

// onlyWriter hides what else a connection can do from io.CopyBuffer.
type onlyWriter struct{ io.Writer }

// skip answers for a task that nothing was written of.
func (c *conv) skip(t *task, st *mail.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range c.flying {
		if f == t {
			c.flying = append(c.flying[:i:i], c.flying[i+1:]...)
			c.bytes -= t.content.Len
			c.reply(t, st, false)
			c.watch()
			c.change.Broadcast()
			return
		}
	}
}

// read reads all replies, in the order of the transactions.
func (c *conv) read() {
	defer func() {
		if v := recover(); v != nil {
			c.fail(mail.Defer("4.3.0", "internal error of the delivery agent"))
		}
	}()
	r := bufio.NewReaderSize(c.conn, maxReply)
	for range 2 { // greeting, LHLO
		p, err := readReply(r)
		if err == nil && p.code >= 400 {
			err = fmt.Errorf("said: %d %s", p.code, p.text)
		}
		if err != nil {
			c.fail(lost(err))
			return
		}
	}
	for {
		if err := c.answers(r); err != nil {
			c.fail(lost(err))
			return
		}
	}
}

// answers reads the three replies of one transaction: MAIL, RCPT, BDAT. The
// first one above 400 decides; those behind it only say so again.
func (c *conv) answers(r *bufio.Reader) error {
	var verdict reply
	for range 3 {
		p, err := readReply(r)
		if err != nil {
			return err
		}
		if p.code == 221 || p.code == 421 {
			return fmt.Errorf("said: %d %s", p.code, p.text)
		}
		if verdict.code < 400 {
			verdict = p
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.flying) == 0 {
		return errReply
	}
	t := c.flying[0]
	c.flying = c.flying[1:]
	c.bytes -= t.content.Len
	c.reply(t, verdict.status(t.success), false)
	c.watch()
	c.change.Broadcast()
	return nil
}
