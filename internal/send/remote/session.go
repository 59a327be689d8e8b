package remote

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/remote/replies"
	"packetboat/internal/sys/proc"
	"packetboat/internal/trust/tlsrpt"
)

// Limits on what a remote host may say; a hostile one is cut off, never stored.
const (
	maxReplyLines = 200  // lines of one reply
	maxReplyText  = 4096 // octets of one reply kept for the log and the bounce
)

// session is one connection to one host.
type session struct {
	t         *Transport
	host      host
	terms     *terms
	conn      net.Conn
	raw       net.Conn // the connection below TLS; never changes
	r         *bufio.Reader
	w         *bufio.Writer
	doing     string // what we are about, for error texts: "sending RCPT TO"
	ext       map[string]string
	deaf      []string // extensions that we do not want to hear of, in capitals
	isTLS     bool
	matched   bool // the certificate is the one that the policy demands
	failedTLS bool // the handshake failed: another one in the clear may be allowed
	// tlsFailure is what a report tells of the session; zero = TLS went well, if there
	// was any.
	tlsFailure tlsrpt.Failure
	broken     bool // no QUIT: the conversation is lost
	uses       int  // messages so far
	wanted     bool // keep it for the next message
	opened     time.Time
	expire     *time.Timer // while it is idle in the cache
}

// dial connects to one host. The error is Postfix's "connect to ..." line.
func (t *Transport) dial(ctx context.Context, h host, tm *terms) (*session, error) {
	d := net.Dialer{Timeout: t.opts.ConnectTimeout, LocalAddr: t.bind(h)}
	network, address := h.dialTarget()
	c, err := d.DialContext(ctx, network, address)
	if err != nil && d.LocalAddr != nil && bindFailed(err) {
		t.log.Warn("bind %s: %s", d.LocalAddr.(*net.TCPAddr).IP, proc.ErrText(err))
		if t.opts.BindEnforce {
			return nil, errorf("4.3.5", "bind %s: %s", d.LocalAddr.(*net.TCPAddr).IP, proc.ErrText(err))
		}
		d.LocalAddr = nil
		c, err = d.DialContext(ctx, network, address)
	}
	if err != nil {
		return nil, errorf("4.4.1", "connect to %s: %s", h.relay(), proc.ErrText(err))
	}
	return &session{t: t, host: h, terms: tm, conn: c, raw: c, opened: time.Now(),
		r: bufio.NewReaderSize(c, 4096), w: bufio.NewWriterSize(c, 16384)}, nil
}

// bind returns the local address of smtp_bind_address, nil for any.
func (t *Transport) bind(h host) net.Addr {
	s := t.opts.BindAddress
	if h.addr.Is6() {
		s = t.opts.BindAddress6
	}
	if ip := net.ParseIP(s); ip != nil && h.unix == "" {
		return &net.TCPAddr{IP: ip}
	}
	return nil
}

func (s *session) relay() string { return s.host.relay() }

// abort ends the conversation at once: the system stops.
func (s *session) abort() { s.raw.SetDeadline(time.Unix(1, 0)) }

// close says QUIT without waiting long for an answer, and closes.
func (s *session) close() {
	if !s.broken {
		s.conn.SetDeadline(time.Now().Add(min(s.t.opts.QuitTimeout, 2*time.Second)))
		s.w.WriteString("QUIT\r\n")
		if s.w.Flush() == nil {
			s.r.ReadSlice('\n')
		}
	}
	s.conn.Close()
}

// reply is one answer of the host.
type reply struct {
	code int
	text string // all lines, codes included, joined by a space as Postfix shows them
	dsn  string // enhanced code of the first line, empty without one
}

// failed tells whether the host refused.
func (r reply) failed() bool { return r.code/100 != 2 && r.code/100 != 3 }

// read reads one reply, however many lines it has, within limits.
func (s *session) read(timeout time.Duration, doing string) (reply, error) {
	s.doing = doing
	s.conn.SetReadDeadline(time.Now().Add(timeout))
	var r reply
	var text []byte
	for n := 0; ; n++ {
		line, err := s.line()
		if err != nil {
			return r, s.lost(err)
		}
		code, more, ok := replies.Parse(line)
		if !ok || n >= maxReplyLines {
			s.broken = true
			return r, errorf("4.5.0", "host %s sent a malformed or endless reply while %s", s.host, doing)
		}
		if n == 0 {
			r.code, r.dsn = code, replies.Enhanced(line)
		}
		if len(text)+len(line) < maxReplyText {
			if n > 0 {
				text = append(text, ' ')
			}
			text = append(text, line...)
		}
		if !more {
			r.code, r.text = code, string(text)
			return r, nil
		}
	}
}

// line reads one line without its end, and as smtp_reply_filter wants it.
func (s *session) line() ([]byte, error) {
	b, err := replies.Line(s.r)
	if err != nil || s.t.opts.Replies == nil {
		return b, err
	}
	return s.t.filterReply(b), nil
}

// lost makes an error of a connection that ended or timed out.
func (s *session) lost(err error) error {
	s.broken = true
	if errors.Is(err, replies.ErrFlood) {
		return errorf("4.5.0", "host %s sent a malformed or endless reply while %s", s.host, s.doing)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errorf("4.4.2", "conversation with %s timed out while %s", s.host, s.doing)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || proc.IsReset(err) {
		return errorf("4.4.2", "lost connection with %s while %s", s.host, s.doing)
	}
	return errorf("4.4.2", "lost connection with %s while %s: %s", s.host, s.doing, proc.ErrText(err))
}

// refusal makes a status of a reply, with Postfix's "said" text. Codes outside
// 4xx and 5xx where a refusal was found count as temporary.
func (s *session) refusal(r reply, what string) *mail.Status {
	st := mail.Defer("4.0.0", "host %s said: %s (in reply to %s)", s.host, r.text, what)
	if r.code/100 == 5 {
		st = mail.Bounce("5.0.0", "%s", st.Text)
	}
	if r.dsn != "" && r.dsn[0] == st.Code[0] {
		st.Code = r.dsn
	}
	st.Reply, st.MTA, st.Remote = r.code, s.host.name, r.text
	return st
}

// command sends one line and reads its reply.
func (s *session) command(timeout time.Duration, doing, line string) (reply, error) {
	s.doing = doing
	s.conn.SetWriteDeadline(time.Now().Add(timeout))
	s.w.WriteString(line)
	s.w.WriteString("\r\n")
	if err := s.w.Flush(); err != nil {
		return reply{}, s.lost(err)
	}
	return s.read(timeout, doing)
}
