package nettable

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/pool"
)

// The limits of tcp_table(5).
const (
	tcpTime  = 100 * time.Second // for connecting, and for an answer
	tcpLine  = 4096              // bytes of an answer
	tcpTries = 10
	tcpPause = time.Second
)

// TCP opens a tcp_table(5), host:port.
func TCP(name string, env query.Env) (*Table, error) {
	network, addr, err := place(name)
	if err != nil {
		return nil, err
	}
	return newTCP(network, addr, env, tcpPause), nil
}

func newTCP(network, addr string, env query.Env, pause time.Duration) *Table {
	t := &Table{env: env}
	d := dialer{network, addr, tcpTime, tcpLine}
	t.pool = pool.New([]string{addr}, pool.Options{Retry: 1, Timeout: tcpTime}, d.dial)
	t.ask = func(ctx context.Context, key string) (v string, found bool, err error) {
		for try := 1; ; try++ {
			err = t.pool.Do(ctx, func(ctx context.Context, l *line) error {
				v, found = "", false
				return l.exchange(ctx, tcpTime, "get "+hexQuote(key)+"\n", func(r *bufio.Reader) error {
					v, found, err = tcpAnswer(r)
					return err
				})
			})
			if err == nil {
				return v, found, nil
			}
			if refusal(err) || try == tcpTries {
				return "", false, err
			}
			// A server that is being started again is waited for.
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return "", false, err
			}
		}
	}
	return t
}

// refusal tells an answer of the server from trouble on the way.
func refusal(err error) bool {
	_, ok := err.(*pool.Answered)
	return ok
}

// tcpAnswer reads "200 value", "500 not found" or "400 trouble".
func tcpAnswer(r *bufio.Reader) (string, bool, error) {
	s, err := readLine(r)
	if err != nil {
		return "", false, err
	}
	code, text, _ := strings.Cut(s, " ")
	switch code {
	case "200":
		v, ok := hexUnquote(text)
		if !ok {
			return "", false, fmt.Errorf("badly encoded answer from the server")
		}
		return v, true, nil
	case "500":
		return "", false, nil
	case "400":
		return "", false, &pool.Answered{Err: fmt.Errorf("the server answers: %.200q", text)}
	}
	return "", false, fmt.Errorf("bad answer from the server: %.200q", s)
}

// hexQuote writes what is no printable ASCII, blanks and "%" as %XX.
func hexQuote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// hexUnquote undoes hexQuote.
func hexUnquote(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), true
}
