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

// The limits of socketmap_table(5).
const (
	socketmapTime  = 100 * time.Second
	socketmapReply = 100000 // bytes
	socketmapIdle  = 10 * time.Second
)

// Socketmap opens a socketmap_table(5): inet:host:port:name or unix:path:name.
func Socketmap(name string, env query.Env) (*Table, error) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 || i+1 == len(name) || !strings.HasPrefix(name, "inet:") && !strings.HasPrefix(name, "unix:") {
		return nil, errors.New("expected socketmap syntax: inet:host:port:socketmap-name or unix:pathname:socketmap-name")
	}
	network, addr, err := place(name[:i])
	if err != nil {
		return nil, err
	}
	t, d := &Table{env: env}, dialer{network, addr, socketmapTime, 4096}
	// A server that was down is tried again with the next look-up, as Postfix does.
	t.pool = pool.New([]string{addr}, pool.Options{Retry: 1, Idle: socketmapIdle, Timeout: socketmapTime}, d.dial)
	t.ask = func(ctx context.Context, key string) (v string, found bool, err error) {
		request := name[i+1:] + " " + key
		request = strconv.Itoa(len(request)) + ":" + request + ","
		err = t.pool.Do(ctx, func(ctx context.Context, l *line) error {
			return l.exchange(ctx, socketmapTime, request, func(r *bufio.Reader) error {
				v, found, err = socketmapAnswer(r)
				return err
			})
		})
		if err != nil {
			return "", false, err // whatever came before it
		}
		return v, found, nil
	}
	return t, nil
}

// socketmapAnswer reads one netstring: "OK value", "NOTFOUND ", or trouble.
func socketmapAnswer(r *bufio.Reader) (string, bool, error) {
	s, err := netstring(r)
	if err != nil {
		return "", false, err
	}
	status, text, _ := strings.Cut(s, " ")
	switch status {
	case "OK":
		return text, true, nil
	case "NOTFOUND":
		return "", false, nil
	case "TEMP", "TIMEOUT", "PERM":
		return "", false, &pool.Answered{Err: fmt.Errorf("socketmap server: %s error: %.200q", map[string]string{
			"TEMP": "temporary", "TIMEOUT": "timeout", "PERM": "permanent"}[status], text)}
	}
	return "", false, fmt.Errorf("socketmap server: unknown answer %.200q", s)
}

// netstring reads length:bytes, and no more than socketmapReply bytes.
func netstring(r *bufio.Reader) (string, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := r.ReadByte()
		switch {
		case err != nil:
			return "", err
		case c == ':' && digits > 0:
		case c < '0' || c > '9' || digits > 0 && n == 0:
			return "", errors.New("netstring format error")
		default:
			if n = n*10 + int(c-'0'); n > socketmapReply {
				return "", fmt.Errorf("netstring longer than %d bytes", socketmapReply)
			}
			continue
		}
		break
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	if b[n] != ',' {
		return "", errors.New("netstring format error")
	}
	return string(b[:n]), nil
}
