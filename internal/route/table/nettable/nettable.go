// Package nettable asks tables that servers keep: tcp_table(5),
// socketmap_table(5) and memcache_table(5). What a server sends is bounded in
// length and time, and a server that fails is an error, never "not found".
package nettable

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/pool"
)

// line is a connection with a buffered reader.
type line struct {
	net.Conn
	r *bufio.Reader
}

// dialer connects to a place with limits of time for the connection and each
// exchange on it.
type dialer struct {
	network, addr string
	limit         time.Duration
	size          int // of the read buffer: the longest line
}

func (d dialer) dial(ctx context.Context, _ string) (*line, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	var nd net.Dialer
	c, err := nd.DialContext(ctx, d.network, d.addr)
	if err != nil {
		return nil, err
	}
	return &line{c, bufio.NewReaderSize(c, d.size)}, nil
}

// exchange sends a request and reads an answer, all before the time is over.
func (l *line) exchange(ctx context.Context, limit time.Duration, request string, read func(*bufio.Reader) error) error {
	end := time.Now().Add(limit)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	l.SetDeadline(end)
	release := context.AfterFunc(ctx, func() { l.SetDeadline(time.Unix(1, 0)) })
	defer release()
	if _, err := l.Write([]byte(request)); err != nil {
		return err
	}
	if err := read(l.r); err != nil {
		return err
	}
	if l.r.Buffered() > 0 {
		return errors.New("the server sent more than an answer")
	}
	return nil
}

// readLine reads a line that fits into the buffer, without its end.
func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("a line longer than %d bytes from the server", r.Size())
	}
	return strings.TrimRight(string(b), "\r\n"), err
}

// place reads host:port, inet:host:port or unix:path.
func place(s string) (network, addr string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok && path != "" {
		return "unix", path, nil
	}
	s = strings.TrimPrefix(s, "inet:")
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return "", "", fmt.Errorf("need host:port or unix:path in %q", s)
	}
	if host == "" {
		host = "localhost"
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

// keyOf folds the key where the table does.
func keyOf(env query.Env, key string) string {
	if env.Fold {
		return strings.ToLower(key)
	}
	return key
}

// Table is a table behind a socket.
type Table struct {
	env  query.Env
	pool *pool.Pool[*line]
	ask  func(ctx context.Context, key string) (string, bool, error)
}

// Lookup asks the server.
func (t *Table) Lookup(ctx context.Context, key string) (string, bool, error) {
	return t.ask(ctx, keyOf(t.env, key))
}

// Close ends the connections.
func (t *Table) Close() { t.pool.Close() }
