package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// handshakeTimeout bounds the time from connect to DONE.
const handshakeTimeout = 10 * time.Second

// answerTimeout bounds the wait for one answer when the context has no end of
// its own. Dovecot gives up a request after 150 seconds.
const answerTimeout = 150 * time.Second

// ErrClosed is returned when a Client has been closed.
var ErrClosed = errors.New("authentication client is closed")

// Client asks one authentication server. It is safe for many goroutines, which
// share one connection; a broken connection is made again by the next Start.
type Client struct {
	dial func(context.Context) (net.Conn, error)

	mu     sync.Mutex
	link   *link  // nil before the first use and after a break
	mechs  []Mech // of the last handshake
	closed bool
}

// Dial connects to the unix socket at path ("private/auth" of Postfix, or
// /run/dovecot/auth-client) and waits for the handshake.
func Dial(ctx context.Context, path string) (*Client, error) {
	c := New(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
	if _, err := c.connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// New returns a Client that connects with dial when it is first used, and
// again whenever the connection breaks.
func New(dial func(context.Context) (net.Conn, error)) *Client { return &Client{dial: dial} }

// Mechs returns the mechanisms that the server offers, connecting if need be.
// When the server cannot be reached they are those that it offered last, or
// nil. Callers leave out those with Private.
func (c *Client) Mechs() []Mech {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	l, err := c.connect(ctx)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mechs
	}
	return l.mechs
}

// Close ends the connection; conversations under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.link != nil {
		c.link.end(ErrClosed)
	}
	return nil
}

// connect returns the living connection or makes one. Whoever comes while
// another goroutine connects waits for it: a dead server is asked once at a time.
func (c *Client) connect(ctx context.Context) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if c.link != nil && !c.link.broken() {
		return c.link, nil
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	l, err := handshake(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.link, c.mechs = l, l.mechs
	go l.read()
	return l, nil
}

// Exchange is one authentication under way.
type Exchange struct {
	l  *link
	id uint32
	ch chan Answer
}

// Start begins an authentication and returns the first answer. After Continue
// the caller goes on with Next or gives up with Cancel. The error means that
// no server could be asked: it says nothing about the password.
func (c *Client) Start(ctx context.Context, r Request) (*Exchange, Answer, error) {
	// A server that was started again leaves us a dead connection, which only
	// the first use shows: so a request that got no answer is asked once more.
	for try := 0; ; try++ {
		l, err := c.connect(ctx)
		if err != nil {
			return nil, Answer{}, err
		}
		x := l.exchange()
		a, err := x.ask(ctx, appendAuth(nil, x.id, r))
		if err == nil {
			return x, a, nil
		}
		if ctx.Err() != nil || try > 0 || errors.Is(err, ErrClosed) {
			return nil, Answer{}, err
		}
	}
}

// Next sends the client's response to the last challenge.
func (x *Exchange) Next(ctx context.Context, response []byte) (Answer, error) {
	return x.ask(ctx, appendCont(nil, x.id, response))
}

// Cancel gives the exchange up after a Continue: the client wants no more, or
// is gone.
func (x *Exchange) Cancel() {
	if x.l.forget(x.id) {
		x.l.write([]byte("CANCEL\t" + strconv.FormatUint(uint64(x.id), 10) + "\n"))
	}
}

// Ticket returns what the parent needs to fetch the user after an OK.
func (x *Exchange) Ticket() Ticket { return Ticket{x.l.cuid, x.id, x.l.cookie} }

func (x *Exchange) ask(ctx context.Context, line []byte) (Answer, error) {
	if len(line) > MaxLine {
		x.Cancel()
		return Answer{}, fmt.Errorf("authentication request of %d bytes is too long", len(line))
	}
	if err := x.l.write(line); err != nil {
		x.l.forget(x.id)
		return Answer{}, err
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case a := <-x.ch:
		return a, nil
	case <-x.l.done:
		return x.late()
	case <-ctx.Done():
		x.Cancel()
		return Answer{}, ctx.Err()
	case <-timer.C:
		x.Cancel()
		return Answer{}, os.ErrDeadlineExceeded
	}
}

// late returns an answer that came just before the connection broke.
func (x *Exchange) late() (Answer, error) {
	select {
	case a := <-x.ch:
		return a, nil
	default:
		return Answer{}, x.l.err
	}
}

// link is one connection after its handshake.
type link struct {
	conn   net.Conn
	in     *bufio.Reader
	mechs  []Mech
	cuid   uint32
	cookie string
	done   chan struct{} // closed when the connection is broken
	err    error         // why; set before done is closed

	wmu     sync.Mutex // one line at a time
	mu      sync.Mutex
	last    uint32
	pending map[uint32]chan Answer
}

// handshake greets and reads the server's greeting up to DONE.
func handshake(ctx context.Context, conn net.Conn) (*link, error) {
	deadline := time.Now().Add(handshakeTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	conn.SetDeadline(deadline)
	l := &link{conn: conn, in: bufio.NewReaderSize(conn, MaxLine),
		done: make(chan struct{}), pending: make(map[uint32]chan Answer)}
	hello := fmt.Sprintf("VERSION\t%d\t%d\nCPID\t%d\n", versionMajor, versionMinor, os.Getpid())
	if _, err := conn.Write([]byte(hello)); err != nil {
		return nil, err
	}
	for {
		line, err := readLine(l.in)
		if err != nil {
			return nil, fmt.Errorf("authentication handshake: %w", err)
		}
		if line == "DONE" {
			conn.SetDeadline(time.Time{})
			return l, nil
		}
		if err := l.greeting(strings.Split(line, "\t")); err != nil {
			return nil, err
		}
	}
}

// greeting takes one line of the handshake; unknown ones are passed over.
func (l *link) greeting(args []string) error {
	if len(args) < 2 {
		return nil
	}
	switch args[0] {
	case "VERSION":
		if args[1] != strconv.Itoa(versionMajor) {
			return fmt.Errorf("authentication server speaks version %.10q, not %d", args[1], versionMajor)
		}
	case "MECH":
		l.mechs = append(l.mechs, parseMech(args[1:]))
	case "CUID":
		l.cuid, _ = parseID(args[1])
	case "COOKIE":
		l.cookie = args[1]
	}
	return nil
}

func parseMech(args []string) Mech {
	m := Mech{Name: args[0]}
	for _, word := range args[1:] {
		for i, name := range propNames {
			if word == name {
				m.Prop |= 1 << i
			}
		}
	}
	return m
}

// readLine returns the next line without its end; one longer than the reader's
// buffer is an error.
func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return "", errLine
		}
		return "", err
	}
	return string(b[:len(b)-1]), nil
}

// read hands answers to whoever waits, until the connection ends.
func (l *link) read() {
	for {
		line, err := readLine(l.in)
		if err != nil {
			l.end(fmt.Errorf("authentication server is gone: %w", err))
			return
		}
		a, err := parseAnswer(line)
		if err != nil {
			l.end(err)
			return
		}
		l.deliver(a)
	}
}

func (l *link) deliver(a Answer) {
	l.mu.Lock()
	ch := l.pending[a.ID]
	if a.State != Continue {
		delete(l.pending, a.ID)
	}
	l.mu.Unlock()
	if ch == nil {
		return // cancelled meanwhile
	}
	select {
	case ch <- a:
	default: // a second answer to one question: the server is wrong, nobody waits
	}
}

// exchange takes the next request number.
func (l *link) exchange() *Exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	ch := make(chan Answer, 1)
	l.pending[l.last] = ch
	return &Exchange{l, l.last, ch}
}

// forget drops a request and tells whether it was still under way.
func (l *link) forget(id uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.pending[id]
	delete(l.pending, id)
	return ok
}

func (l *link) write(line []byte) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	_, err := l.conn.Write(line)
	if err != nil {
		l.end(err)
	}
	return err
}

func (l *link) broken() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// end marks the connection as broken, once.
func (l *link) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken() {
		return
	}
	l.err = err
	close(l.done)
	l.conn.Close()
}
