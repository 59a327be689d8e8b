package nettable

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/pool"
)

// Backup is the persistent table behind a memcache.
type Backup interface {
	// Lookup asks it.
	Lookup(ctx context.Context, key string) (string, bool, error)
}

// Memcache is a memcache_table(5): a cache, and perhaps a table behind it.
type Memcache struct {
	env     query.Env
	rules   *query.Rules
	pool    *pool.Pool[*line]
	backup  Backup
	format  string
	ttl     string // seconds
	flags   string
	data    int // data_size_limit
	tries   int
	pause   time.Duration
	timeout time.Duration
}

// maxMemcacheKey is the longest key that memcached takes, in bytes.
const maxMemcacheKey = 250

// OpenMemcache reads the settings; open opens the backup table. No connection is
// made yet.
func OpenMemcache(env query.Env, open func(spec string) (Backup, error)) (*Memcache, error) {
	p := env.Params
	m := &Memcache{env: env, rules: env.Rules("%s"), format: p.Str("key_format", "%s"), flags: strconv.Itoa(p.Int("flags", 0, 0)),
		ttl: strconv.Itoa(p.Int("ttl", 3600, 0)), data: p.Int("data_size_limit", 10240, 1), tries: p.Int("max_try", 2, 1),
		pause: p.Seconds("retry_pause", 1, 1), timeout: p.Seconds("timeout", 2, 1)}
	if _, err := m.rules.Add(m.format, false); err != nil {
		p.Fail(err)
	}
	network, addr, err := place(p.Str("memcache", "inet:localhost:11211"))
	if err != nil {
		p.Fail(fmt.Errorf("memcache: %w", err))
	}
	if spec := p.Str("backup", ""); spec != "" {
		if m.backup, err = open(strings.TrimSpace(spec)); err != nil {
			p.Fail(fmt.Errorf("backup: %w", err))
		}
	}
	d := dialer{network, addr, m.timeout, max(p.Int("line_size_limit", 1024, 1), 512)}
	m.pool = pool.New([]string{addr}, pool.Options{Retry: 1, Timeout: time.Minute}, d.dial)
	return m, p.Err()
}

// Lookup asks the cache, then the table behind it, and puts what that knows into
// the cache. A cache that fails is only an error where nothing stands behind it.
func (m *Memcache) Lookup(ctx context.Context, key string) (string, bool, error) {
	key = keyOf(m.env, key)
	if ok, err := m.rules.Wanted(ctx, key); err != nil || !ok || key == "" {
		return "", false, err
	}
	name, ok := m.rules.Query(nil, m.format, key, nil)
	if !ok {
		return "", false, nil
	}
	id := string(name)
	fits := id != "" && len(id) <= maxMemcacheKey && strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r == 0x7f }) < 0
	v, found, err := "", false, error(nil)
	if fits {
		if v, found, err = m.get(ctx, id); err == nil && found {
			return v, true, nil
		}
	}
	if m.backup == nil {
		return "", false, err
	}
	if v, found, err = m.backup.Lookup(ctx, key); err == nil && found && fits {
		m.set(ctx, id, v)
	}
	return v, found, err
}

// get reads one value from the server.
func (m *Memcache) get(ctx context.Context, id string) (v string, found bool, err error) {
	err = m.do(ctx, "get "+id+"\r\n", func(r *bufio.Reader) error {
		v, found, err = m.value(r, id)
		return err
	})
	return v, found && err == nil, err
}

// do sends a request, again after a pause when something goes wrong.
func (m *Memcache) do(ctx context.Context, request string, read func(*bufio.Reader) error) error {
	for try := 1; ; try++ {
		err := m.pool.Do(ctx, func(ctx context.Context, l *line) error { return l.exchange(ctx, m.timeout, request, read) })
		if err == nil || refusal(err) || try == m.tries {
			return err
		}
		select {
		case <-time.After(m.pause):
		case <-ctx.Done():
			return err
		}
	}
}

// value reads "VALUE id flags bytes", the bytes and "END", or "END" alone.
func (m *Memcache) value(r *bufio.Reader, id string) (string, bool, error) {
	head, err := readLine(r)
	if err != nil || head == "END" {
		return "", false, err
	}
	f := strings.Fields(head)
	if len(f) < 4 || f[0] != "VALUE" || f[1] != id {
		return "", false, fmt.Errorf("unexpected answer from memcached: %.100q", head)
	}
	size, err := strconv.Atoi(f[3])
	if err != nil || size < 0 || size > m.data {
		return "", false, fmt.Errorf("a value of %.20q bytes from memcached; data_size_limit is %d", f[3], m.data)
	}
	b := make([]byte, size+2)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", false, err
	}
	end, err := readLine(r)
	if err != nil {
		return "", false, err
	}
	if string(b[size:]) != "\r\n" || end != "END" {
		return "", false, errors.New("memcached: the value has not the length that was said")
	}
	return string(b[:size]), true, nil
}

// set stores a value. What goes wrong costs only the next look-up time.
func (m *Memcache) set(ctx context.Context, id, value string) {
	if len(value) > m.data {
		return
	}
	request := "set " + id + " " + m.flags + " " + m.ttl + " " + strconv.Itoa(len(value)) + "\r\n" + value + "\r\n"
	m.pool.Do(ctx, func(ctx context.Context, l *line) error {
		return l.exchange(ctx, m.timeout, request, func(r *bufio.Reader) error {
			_, err := readLine(r)
			return err
		})
	})
}

// Close ends the connections.
func (m *Memcache) Close() { m.pool.Close() }
