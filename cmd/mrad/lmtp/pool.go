package lmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"packetboat/internal/mail"
)

// pool is the conversations with deliver processes, one a user. It serves the two
// goroutines of a conversation with a client.
type pool struct {
	d Door

	mu    sync.Mutex // over convs and gone
	convs map[string]*conv
	gone  bool // the client is
}

// conv is one of them. deliver answers in order; mu lets one at a time ask.
type conv struct {
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
}

// maxAnswer bounds one line of an answer, in octets.
const maxAnswer = 4 << 10

// transfer is one message for one recipient.
type transfer struct {
	sender mail.Address
	addr   mail.Address
	orcpt  string
	folder string
	many   bool      // it has other recipients, too: nothing in it says whose it is
	body   io.Reader // LF line ends
	size   int64
}

// deliver hands a message over and returns deliver's answer. An error says that the
// process is gone: nobody knows what became of the message, so the sender tries again.
func (p *pool) deliver(user string, x transfer) (*mail.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	c, err := p.conversation(ctx, user)
	if err != nil {
		return nil, err
	}
	st, err := c.deliver(x)
	if err != nil {
		p.forget(user, c)
	}
	return st, err
}

// ask asks whether a message of so many octets would be taken.
func (p *pool) ask(ctx context.Context, user string, size int64) (*mail.Status, error) {
	c, err := p.conversation(ctx, user)
	if err != nil {
		return nil, err
	}
	st, err := c.ask(size)
	if err != nil {
		p.forget(user, c)
	}
	return st, err
}

func (c *conv) deliver(x transfer) (*mail.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetDeadline(time.Now().Add(deliverWait))
	params := ""
	if x.orcpt != "" {
		params += " ORCPT=" + x.orcpt
	}
	if x.many {
		params += " XDLVR=-"
	}
	if x.folder != "" {
		params += " XFOLDER=" + mail.Xtext(x.folder)
	}
	w := bufio.NewWriterSize(c.conn, 32<<10)
	fmt.Fprintf(w, "MAIL FROM:<%s> SIZE=%d\r\nRCPT TO:<%s>%s\r\nBDAT %d LAST\r\n", x.sender.Quoted(), x.size, x.addr.Quoted(), params, x.size)
	if n, err := io.Copy(w, x.body); err != nil || n != x.size {
		return nil, errors.Join(err, fmt.Errorf("%d octets of %d", n, x.size))
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return c.answers(3)
}

func (c *conv) ask(size int64) (*mail.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetDeadline(time.Now().Add(deliverWait))
	if _, err := fmt.Fprintf(c.conn, "MAIL FROM:<> SIZE=%d\r\nRCPT TO:<x> XQUOTA\r\nRSET\r\n", size); err != nil {
		return nil, err
	}
	return c.answers(3)
}

// answers reads n answers and returns the first that refuses, or the last.
func (c *conv) answers(n int) (st *mail.Status, err error) {
	for range n {
		next, err := c.answer()
		if err != nil {
			return nil, err
		}
		if st == nil || st.Outcome == mail.Sent {
			st = next
		}
	}
	return st, nil
}

// answer reads one answer: "552 5.2.2 text", perhaps with lines before it.
func (c *conv) answer() (*mail.Status, error) {
	for {
		b, err := c.r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line := strings.TrimRight(string(b), "\r\n")
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		return parseAnswer(line)
	}
}

func parseAnswer(line string) (*mail.Status, error) {
	head, rest, _ := strings.Cut(line, " ")
	reply, err := strconv.Atoi(head)
	if err != nil || len(head) != 3 {
		return nil, fmt.Errorf("unexpected answer %.80q", line)
	}
	code, text, _ := strings.Cut(rest, " ")
	if len(code) < 5 || code[1] != '.' {
		code, text = fmt.Sprintf("%d.0.0", reply/100), rest
	}
	switch reply / 100 {
	case 2:
		return mail.OK(code, "%s", text), nil
	case 5:
		return mail.Bounce(code, "%s", text).WithReply(reply), nil
	}
	return mail.Defer(code, "%s", text).WithReply(reply), nil
}

// conversation returns the conversation with the user's deliver process.
func (p *pool) conversation(ctx context.Context, user string) (*conv, error) {
	if c := p.known(user); c != nil {
		return c, nil
	}
	conn, err := p.d.Deliver(ctx, user)
	if err != nil {
		return nil, err
	}
	c := &conv{conn: conn, r: bufio.NewReaderSize(conn, maxAnswer)}
	conn.SetDeadline(time.Now().Add(deliverWait))
	_, err = io.WriteString(conn, "LHLO localhost\r\n")
	if err == nil {
		_, err = c.answers(2)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return p.keep(user, c)
}

// known returns the conversation that there is, and makes room for one more.
func (p *pool) known(user string) *conv {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.convs[user]; c != nil || len(p.convs) < maxConvs {
		return c
	}
	p.quitAll()
	return nil
}

// keep remembers a conversation, unless hangUp came before it, or the other goroutine
// has begun one, which is returned then.
func (p *pool) keep(user string, c *conv) (*conv, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		c.conn.Close()
		return nil, errors.New("the client is gone")
	}
	if old := p.convs[user]; old != nil {
		c.conn.Close()
		return old, nil
	}
	p.convs[user] = c
	return c, nil
}

// forget ends a conversation that is of no use any more.
func (p *pool) forget(user string, c *conv) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.conn.Close()
	if p.convs[user] == c {
		delete(p.convs, user)
	}
}

// hangUp ends all conversations, and those that would still begin.
func (p *pool) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	for _, c := range p.convs {
		c.conn.Close()
	}
	clear(p.convs)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quitAll()
}

// quitAll ends the conversations that nobody uses at this moment; mu is held.
func (p *pool) quitAll() {
	for user, c := range p.convs {
		if !c.mu.TryLock() {
			continue
		}
		c.conn.Close()
		c.mu.Unlock()
		delete(p.convs, user)
	}
}
