// Package service asks policy servers: programs beside the mail system that
// decide about a client, a sender or a recipient (postgrey, policyd-spf). They
// speak the protocol of SMTPD_POLICY_README: lines name=value, an empty line, and
// the answer in the same form.
//
// receive/policy asks for check_policy_service. Connections are kept and used
// again by all sessions of a service.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Options are the parameters smtpd_policy_service_* of postconf(5). Zero means
// the default that stands behind each.
type Options struct {
	Timeout       time.Duration `main:"smtpd_policy_service_timeout"`        // 100 s, for each of connect, write and read
	MaxIdle       time.Duration `main:"smtpd_policy_service_max_idle"`       // 300 s
	MaxTTL        time.Duration `main:"smtpd_policy_service_max_ttl"`        // 1000 s
	RetryDelay    time.Duration `main:"smtpd_policy_service_retry_delay"`    // 1 s
	RequestLimit  int           `main:"smtpd_policy_service_request_limit"`  // of one connection; 0 = no limit
	TryLimit      int           `main:"smtpd_policy_service_try_limit"`      // 2
	DefaultAction string        `main:"smtpd_policy_service_default_action"` // 451 4.3.5 Server configuration problem
	Context       string        `main:"smtpd_policy_service_policy_context"`
}

// DefaultAction is what Postfix does when a server cannot be asked.
const DefaultAction = "451 4.3.5 Server configuration problem"

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Timeout, 100 * time.Second}, {&o.MaxIdle, 300 * time.Second}, {&o.MaxTTL, 1000 * time.Second}, {&o.RetryDelay, time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.TryLimit == 0 {
		o.TryLimit = 2
	}
	if o.DefaultAction == "" {
		o.DefaultAction = DefaultAction
	}
	return o
}

// Limits of what a server may cost: octets of one answer, and connections that
// wait for the next question.
const (
	maxReply = 64 << 10
	maxIdle  = 32
)

// Client asks one server. It is used by many goroutines.
type Client struct {
	Options
	network, addr, name string
	warn                func(format string, args ...any)

	mu   sync.Mutex
	idle []*conn
}

// conn is a connection between two questions.
type conn struct {
	net.Conn
	opened, used time.Time
	asked        int
}

// New reads the name of a server: inet:host:port, unix:path (below dir, the
// queue directory, where it is not absolute), or { name, option=value ... } with
// options of its own. warn is told, in Postfix's words, why a server cannot be
// asked.
func New(spec string, o Options, dir string, warn func(format string, args ...any)) (*Client, error) {
	c := &Client{Options: o, warn: warn}
	if inner, ok := strings.CutPrefix(spec, "{"); ok {
		var err error
		if spec, err = c.override(strings.TrimSuffix(inner, "}")); err != nil {
			return nil, err
		}
	}
	kind, name, _ := strings.Cut(spec, ":")
	c.name, c.addr = name, name
	switch {
	case name == "":
		return nil, fmt.Errorf("need service transport:endpoint instead of %q", spec)
	case kind == "inet":
		c.network = "tcp"
		if !strings.Contains(name, ":") {
			c.addr = "localhost:" + name
		}
	case kind == "unix" || kind == "local":
		c.network = "unix"
		if !filepath.IsAbs(name) {
			c.addr = filepath.Join(dir, name)
		}
	default:
		return nil, fmt.Errorf("invalid attribute transport name: %s", spec)
	}
	c.Options = c.withDefaults()
	return c, nil
}

// Name is the server as a restriction list names it, without its options.
func (c *Client) Name() string { return c.name }

// Ask sends a question, all its lines with the empty one at the end, and returns
// the action of the answer. An error has been told to warn.
func (c *Client) Ask(ctx context.Context, question []byte) (string, error) {
	for try := 1; ; try++ {
		action, err := c.once(ctx, question)
		if err == nil && !utf8.ValidString(action) {
			c.warn("malformed UTF-8 in policy server %s response: \"%s\"", c.name, action)
			return "", errMalformed
		}
		if err == nil || ctx.Err() != nil {
			return action, err
		}
		if try >= c.TryLimit || !goneAway(err) {
			c.warn("problem talking to server %s: %s", c.name, reason(err))
		}
		if try >= c.TryLimit {
			return "", err
		}
		select {
		case <-time.After(c.RetryDelay):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

var (
	errMalformed = errors.New("malformed answer")
	errNoAction  = errors.New("Success") // the words of errno 0: nothing failed but the answer itself
)

// once asks over a kept connection or a new one. A server that has closed a kept
// connection meanwhile is asked again at once: nothing is wrong with it.
func (c *Client) once(ctx context.Context, question []byte) (string, error) {
	if k := c.kept(); k != nil {
		action, err := c.talk(ctx, k, question)
		if err == nil || !goneAway(err) {
			return action, err
		}
	}
	d := net.Dialer{Timeout: c.Timeout}
	n, err := d.DialContext(ctx, c.network, c.addr)
	if err != nil {
		c.warn("connect to %s: %s", c.name, reason(err))
		return "", err
	}
	return c.talk(ctx, &conn{Conn: n, opened: time.Now()}, question)
}

// talk sends the question and reads the answer; the connection is kept if it is
// good for another one.
func (c *Client) talk(ctx context.Context, k *conn, question []byte) (action string, err error) {
	stop := context.AfterFunc(ctx, func() { k.Close() })
	defer stop()
	k.SetDeadline(time.Now().Add(c.Timeout))
	if _, err = k.Write(question); err == nil {
		action, err = readAction(k)
	}
	if err != nil {
		k.Close()
		return "", err
	}
	k.asked++
	c.keep(k)
	return action, nil
}

// Question writes attributes and their values as a server wants them.
func Question(attrs [][2]string) []byte {
	b := make([]byte, 0, 1024)
	for _, a := range attrs {
		b = append(append(append(b, a[0]...), '='), oneLine(a[1])...)
		b = append(b, '\n')
	}
	return append(b, '\n')
}

// oneLine keeps a client from adding attributes of his own.
func oneLine(s string) string {
	if strings.ContainsAny(s, "\n\r\x00") {
		return strings.NewReplacer("\n", "?", "\r", "?", "\x00", "?").Replace(s)
	}
	return s
}

// readAction reads lines up to the empty one and returns the attribute "action".
func readAction(r io.Reader) (string, error) {
	var got []byte
	for !slices.Equal(got, []byte("\n")) && !strings.HasSuffix(string(got), "\n\n") {
		if len(got) >= maxReply {
			return "", errMalformed
		}
		got = slices.Grow(got, 512)
		n, err := r.Read(got[len(got):cap(got)])
		if got = got[:len(got)+n]; err != nil && n == 0 {
			return "", err
		}
	}
	action, found := "", false
	for line := range strings.Lines(string(got)) {
		if v, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "action="); ok && !found {
			action, found = v, true
		}
	}
	if !found {
		return "", errNoAction
	}
	return action, nil
}

// kept takes the connection that was used last; those that are too old are closed.
func (c *Client) kept() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for len(c.idle) > 0 {
		k := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if now.Sub(k.used) < c.MaxIdle && now.Sub(k.opened) < c.MaxTTL {
			return k
		}
		k.Close()
	}
	return nil
}

func (c *Client) keep(k *conn) {
	k.used = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.RequestLimit > 0 && k.asked >= c.RequestLimit || len(c.idle) >= maxIdle {
		k.Close()
		return
	}
	// Those at the front wait longest: when a burst is over they grow old here.
	for len(c.idle) > 0 && k.used.Sub(c.idle[0].used) >= c.MaxIdle {
		c.idle[0].Close()
		c.idle = c.idle[1:]
	}
	c.idle = append(c.idle, k)
}

// Close closes the kept connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.idle {
		k.Close()
	}
	c.idle = nil
}

// reason is an error as strerror(3) says it.
func reason(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "Success" // a closed connection is no error of the system's
	}
	if os.IsTimeout(err) {
		return "Connection timed out"
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// goneAway tells that a server closed the connection, or is just being started.
func goneAway(err error) bool {
	text := reason(err)
	return text == "Success" || text == "Broken pipe" || text == "Connection reset by peer" || text == "No such file or directory"
}
