package remote

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
	"packetboat/internal/trust/tlsrpt"
)

// Limits on what a remote host may say; a hostile one is cut off, never stored.
const (
	maxReplyLine  = 2048 // octets of one reply line (RFC 5321 section 4.5.3.1.5 asks for 512)
	maxReplyLines = 200  // lines of one reply
	maxReplyText  = 4096 // octets of one reply kept for the log and the bounce

	// maxFlood is how many octets without a line end are read: an endless line would
	// keep us busy until the time is over.
	maxFlood = 64 << 10
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
		code, more, ok := parseReplyLine(line)
		if !ok || n >= maxReplyLines {
			s.broken = true
			return r, errorf("4.5.0", "host %s sent a malformed or endless reply while %s", s.host, doing)
		}
		if n == 0 {
			r.code, r.dsn = code, enhanced(line)
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
	b, err := s.rawLine()
	if err != nil || s.t.opts.Replies == nil {
		return b, err
	}
	return s.t.filterReply(b), nil
}

// errFlood ends a conversation with a host that sends a line without an end.
var errFlood = errors.New("endless line")

// rawLine reads one line as it came; what is longer than maxReplyLine is cut.
func (s *session) rawLine() ([]byte, error) {
	var out []byte
	for n := 0; ; {
		b, err := s.r.ReadSlice('\n')
		if n += len(b); n > maxFlood {
			return nil, errFlood
		}
		if room := maxReplyLine - len(out); room > 0 {
			out = append(out, b[:min(len(b), room)]...)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	for len(out) > 0 && (out[len(out)-1] == '\n' || out[len(out)-1] == '\r') {
		out = out[:len(out)-1]
	}
	for i, c := range out {
		if c < ' ' || c == 0x7f {
			out[i] = '?'
		}
	}
	return out, nil
}

// parseReplyLine reads "250-text", "250 text" or "250".
func parseReplyLine(b []byte) (code int, more, ok bool) {
	if len(b) < 3 {
		return 0, false, false
	}
	code, err := strconv.Atoi(string(b[:3]))
	if err != nil || code < 200 || code > 599 {
		return 0, false, false
	}
	if len(b) > 3 && b[3] != ' ' && b[3] != '-' {
		return 0, false, false
	}
	return code, len(b) > 3 && b[3] == '-', true
}

// enhanced returns the status code x.y.z (RFC 2034) behind the reply code.
func enhanced(line []byte) string {
	if len(line) < 9 {
		return ""
	}
	word, _, _ := strings.Cut(string(line[4:]), " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) || parts[0][0] != line[0] {
		return ""
	}
	for _, p := range parts {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 {
			return ""
		}
	}
	return word
}

// lost makes an error of a connection that ended or timed out.
func (s *session) lost(err error) error {
	s.broken = true
	if errors.Is(err, errFlood) {
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
