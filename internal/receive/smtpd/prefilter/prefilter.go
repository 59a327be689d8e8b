// Package prefilter speaks to a content filter before a message is queued
// (smtpd_proxy_filter of postconf(5), SMTPD_PROXY_README): each transaction of a
// client is one SMTP conversation with the filter, and what the filter answers
// is what the client hears. receive/smtpd makes a Conv at the first recipient
// that its own rules accept.
package prefilter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// Options say where the filter is and how it is spoken to.
type Options struct {
	Address string        // host:port, inet:host:port, unix:path; a bare port is one of this machine
	Helo    string        // what we call ourselves (smtpd_proxy_ehlo)
	Timeout time.Duration // of each answer (smtpd_proxy_timeout)
}

// maxLine and maxLines bound a reply of the filter.
const (
	maxLine  = 2048
	maxLines = 100
)

// Refusal is a reply of the filter that is not the one that was hoped for. It is
// told to the client as it is.
type Refusal struct{ Reply string }

// Error is the reply.
func (r *Refusal) Error() string { return "the filter says: " + r.Reply }

// Conv is one conversation.
type Conv struct {
	o    Options
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	can  map[string]bool // attributes of XFORWARD that the filter takes
	bol  bool            // the next byte begins a line
	data bool            // the filter waits for the message
}

// Dial connects to the filter, says hello, and names the client's address and so
// on when the filter wants to know (XFORWARD_README). command is the client's MAIL.
func Dial(ctx context.Context, o Options, peer mail.Peer, command string) (*Conv, error) {
	network, address := where(o.Address)
	d := net.Dialer{Timeout: o.Timeout}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &Conv{o: o, conn: conn, r: bufio.NewReaderSize(conn, maxLine), w: bufio.NewWriterSize(conn, 32<<10), bol: true, can: map[string]bool{}}
	if err := c.begin(peer, command); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func where(s string) (network, address string) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return "unix", path
	}
	s = strings.TrimPrefix(s, "inet:")
	if !strings.Contains(s, ":") {
		s = ":" + s
	}
	return "tcp", s
}

func (c *Conv) begin(peer mail.Peer, command string) error {
	if _, err := c.answer("220"); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	lines, err := c.ask("EHLO "+c.o.Helo, "250")
	if err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	for line := range strings.SplitSeq(lines, "\n") {
		if f := strings.Fields(line[min(4, len(line)):]); len(f) > 1 && strings.EqualFold(f[0], "XFORWARD") {
			for _, name := range f[1:] {
				c.can[strings.ToUpper(name)] = true
			}
		}
	}
	if err := c.forward(peer); err != nil {
		return err
	}
	_, err = c.ask(command, "250")
	return err
}

// forward sends XFORWARD in two commands, as smtpd(8) does, so that none grows
// too long.
func (c *Conv) forward(p mail.Peer) error {
	source := "REMOTE"
	if !p.Addr.IsValid() {
		source = "LOCAL"
	}
	addr := p.Addr.Unmap().String()
	if p.Addr.Unmap().Is6() {
		addr = "IPV6:" + addr
	}
	for _, group := range [][][2]string{
		{{"NAME", p.Name}, {"ADDR", addr}, {"PORT", fmt.Sprint(p.Port)}},
		{{"PROTO", p.Proto}, {"HELO", p.Helo}, {"SOURCE", source}},
	} {
		cmd := "XFORWARD"
		for _, a := range group {
			if !c.can[a[0]] {
				continue
			}
			if a[1] == "" || a[1] == "unknown" {
				a[1] = "[UNAVAILABLE]"
			}
			cmd += " " + a[0] + "=" + mail.Xtext(a[1])
		}
		if cmd == "XFORWARD" {
			continue
		}
		if _, err := c.ask(cmd, "250"); err != nil {
			return fmt.Errorf("XFORWARD: %w", err)
		}
	}
	return nil
}

// Rcpt passes a recipient on; command is the client's RCPT.
func (c *Conv) Rcpt(command string) error {
	_, err := c.ask(command, "250")
	return err
}

// Start asks the filter for its "354" and sends header lines of ours first.
func (c *Conv) Start(header string) error {
	if _, err := c.ask("DATA", "354"); err != nil {
		return err
	}
	c.data = true
	_, err := c.Write([]byte(header))
	return err
}

// Write sends a part of the message: lines that end in LF go out with CRLF, dots
// at their beginning doubled (RFC 5321 section 4.5.2).
func (c *Conv) Write(p []byte) (int, error) {
	c.conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	n := len(p)
	for len(p) > 0 {
		if c.bol && p[0] == '.' {
			c.w.WriteByte('.')
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.bol = false
			_, err := c.w.Write(p)
			return n, err
		}
		c.w.Write(p[:i])
		if _, err := c.w.WriteString("\r\n"); err != nil {
			return 0, err
		}
		p, c.bol = p[i+1:], true
	}
	return n, nil
}

// End ends the message and returns the filter's reply to it.
func (c *Conv) End() (string, error) {
	if !c.bol {
		c.w.WriteString("\r\n")
	}
	return c.ask(".", "2")
}

// Close ends the conversation. In the middle of a message it just leaves, so
// that the filter never takes a part for the whole.
func (c *Conv) Close() {
	if !c.data {
		c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		c.w.WriteString("QUIT\r\n")
		c.w.Flush()
	}
	c.conn.Close()
}

// ask sends a command and waits for its reply, whose lines it returns.
func (c *Conv) ask(command, want string) (string, error) {
	c.conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	c.w.WriteString(command)
	c.w.WriteString("\r\n")
	if err := c.w.Flush(); err != nil {
		return "", err
	}
	if command == "." {
		c.data = false
	}
	return c.answer(want)
}

var errReply = errors.New("the filter's reply cannot be read")

// answer reads a reply; one that does not begin with want is a *Refusal.
func (c *Conv) answer(want string) (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(c.o.Timeout))
	var lines []string
	for range maxLines {
		b, err := c.r.ReadSlice('\n')
		if err == io.EOF || errors.Is(err, bufio.ErrBufferFull) {
			return "", errReply
		}
		if err != nil {
			return "", err
		}
		line := clean(strings.TrimRight(string(b), "\r\n"))
		if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" {
			return "", errReply
		}
		lines = append(lines, line)
		if len(line) == 3 || line[3] != '-' {
			reply := strings.Join(lines, "\n")
			if !strings.HasPrefix(line, want) {
				return "", &Refusal{reply}
			}
			return reply, nil
		}
	}
	return "", errReply
}

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
