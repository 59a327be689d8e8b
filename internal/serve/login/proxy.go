package login

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"packetboat/internal/sys/proc"
)

// Buffers of the proxy in bytes: what a session that is silent holds in each
// direction, and what is borrowed while much is under way (a TLS record's size).
const (
	quietBuf = 512
	busyBuf  = 16 << 10
	// quietAfter is how long a borrowed buffer waits for more.
	quietAfter = 20 * time.Millisecond
)

// busy are the borrowed buffers, shared by all sessions.
var busy = sync.Pool{New: func() any { return new([busyBuf]byte) }}

// passTLS hands over one end of a socket pair and carries bytes between the
// other end and the client.
func (c *client) passTLS(ctx context.Context, h Handover) (int, error) {
	near, far, err := proc.SocketPair()
	if err != nil {
		return 0, err
	}
	defer near.Close()
	defer far.Close()
	mpid, err := c.s.parent.Handover(ctx, h, far)
	if err != nil {
		return 0, err
	}
	inner, err := net.FileConn(near)
	if err != nil {
		return 0, err
	}
	c.conn.SetDeadline(time.Time{})
	c.s.active.Add(1)
	// Goroutines of their own: this one's stack has grown by the handshake.
	go carry(c.conn, inner, c.s.active.Done)
	return mpid, nil
}

// carry runs both directions until both have ended.
func carry(client, inner net.Conn, done func()) {
	defer done()
	back := make(chan struct{})
	go func() {
		defer close(back)
		pump(client, inner)
		// The mail process has said all: the client gets TLS's close_notify.
		if t, ok := client.(*tls.Conn); ok {
			t.SetWriteDeadline(time.Now().Add(writeTimeout))
			t.CloseWrite()
		}
		client.Close()
	}()
	pump(inner, client)
	if u, ok := inner.(*net.UnixConn); ok {
		u.CloseWrite() // the mail process sees the end, and may still answer
	}
	<-back
	inner.Close()
}

// pump copies src to dst until either ends. While it waits it holds a small
// buffer; a full one shows that more is coming, and a large one is borrowed.
func pump(dst, src net.Conn) {
	var small [quietBuf]byte
	for {
		n, err := src.Read(small[:])
		if n > 0 && !forward(dst, small[:n]) {
			return
		}
		if err != nil {
			return
		}
		if n == quietBuf && !burst(dst, src) {
			return
		}
	}
}

// burst copies with a large buffer until src is silent; false when it ended.
func burst(dst, src net.Conn) bool {
	b := busy.Get().(*[busyBuf]byte)
	defer busy.Put(b)
	defer src.SetReadDeadline(time.Time{})
	for {
		src.SetReadDeadline(time.Now().Add(quietAfter))
		n, err := src.Read(b[:])
		if n > 0 && !forward(dst, b[:n]) {
			return false
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return true
		}
		if err != nil {
			return false
		}
	}
}

// forwardTimeout is how long a client may refuse to read before it is cut off.
const forwardTimeout = 10 * time.Minute

func forward(dst io.Writer, b []byte) bool {
	if c, ok := dst.(net.Conn); ok {
		c.SetWriteDeadline(time.Now().Add(forwardTimeout))
	}
	_, err := dst.Write(b)
	return err == nil
}
