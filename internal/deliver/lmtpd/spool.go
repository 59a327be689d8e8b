package lmtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"

	"packetboat/internal/mail"
)

// believed is the largest message for which memory is taken at its announcement.
const believed = 16 << 10

// Spool holds one message: in memory as long as it is small, then in a
// temporary file without a name, which is gone with the process.
type Spool struct {
	dir  string
	bare bool // turn CRLF into LF
	cr   bool // a CR came last, which may be half of a CRLF
	mem  []byte
	f    *os.File
	w    *bufio.Writer
	size int64
	err  error
}

// Write takes a piece of the message. It always succeeds; End tells what failed.
func (sp *Spool) Write(p []byte) (int, error) {
	n := len(p)
	sp.write(p)
	return n, nil
}

func (sp *Spool) write(p []byte) {
	if sp.bare {
		p = sp.unix(p)
	}
	if sp.err != nil || len(p) == 0 {
		return
	}
	sp.size += int64(len(p))
	if sp.f == nil && len(sp.mem)+len(p) <= maxMemory {
		sp.mem = append(sp.mem, p...)
		return
	}
	if sp.f == nil {
		sp.file()
	}
	if sp.err == nil {
		_, sp.err = sp.w.Write(p)
	}
}

// expect makes room for n octets that are announced, as far as they may wait in
// memory and will be believed before they are there.
func (sp *Spool) expect(n int64) {
	if sp.mem == nil && sp.f == nil && n <= believed {
		sp.mem = make([]byte, 0, n)
	}
}

// file moves the message into a file.
func (sp *Spool) file() {
	if sp.f, sp.err = os.CreateTemp(sp.dir, "deliver"); sp.err != nil {
		return
	}
	sp.err = os.Remove(sp.f.Name())
	sp.w = bufio.NewWriterSize(sp.f, maxMemory)
	sp.w.Write(sp.mem) // its error comes again at the next write
	sp.mem = nil
}

// unix turns CRLF into LF in place; a CR at the end waits for the next piece.
func (sp *Spool) unix(p []byte) []byte {
	out := p[:0:len(p)]
	if sp.cr && len(p) > 0 && p[0] != '\n' {
		sp.cr = false
		sp.bare = false
		sp.write([]byte{'\r'})
		sp.bare = true
	}
	if len(p) > 0 {
		sp.cr = p[len(p)-1] == '\r'
	}
	if sp.cr {
		p = p[:len(p)-1]
	}
	for {
		i := bytes.Index(p, []byte("\r\n"))
		if i < 0 {
			return append(out, p...)
		}
		out = append(append(out, p[:i]...), '\n')
		p = p[i+2:]
	}
}

// End completes the message.
func (sp *Spool) End() error {
	if sp.cr {
		sp.bare, sp.cr = false, false
		sp.write([]byte{'\r'})
	}
	if sp.err == nil && sp.w != nil {
		sp.err = sp.w.Flush()
	}
	sp.w = nil
	return sp.err
}

// Reader returns a new reader over the message.
func (sp *Spool) Reader() io.Reader {
	if sp.f != nil {
		return io.NewSectionReader(sp.f, 0, sp.size)
	}
	return bytes.NewReader(sp.mem)
}

// Close throws the message away.
func (sp *Spool) Close() {
	if sp.f != nil {
		sp.f.Close()
		sp.f = nil
	}
	sp.mem, sp.w = nil, nil
}

// octets takes n octets of a BDAT chunk into m.
func (s *session) octets(m *Message, n int64) error {
	m.spool.expect(n)
	for n > 0 {
		if s.r.Buffered() == 0 {
			if _, err := s.r.Peek(1); err != nil {
				return ended(err)
			}
		}
		p, _ := s.r.Peek(int(min(n, int64(s.r.Buffered()))))
		s.store(m, p)
		k, err := s.r.Discard(len(p))
		n -= int64(k)
		if err != nil {
			return ended(err)
		}
	}
	return nil
}

// ended makes the end of a conversation within a message an error: half a
// message is none (CVE-class: a truncated BDAT must not count as complete).
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// store adds p to the message, or notes why it cannot be taken.
func (s *session) store(m *Message, p []byte) {
	if s.o.Size > 0 && m.failed == nil && m.spool.size+int64(len(p)) > s.o.Size {
		m.failed = mail.Bounce("5.3.4", "Message size exceeds fixed limit").WithReply(552)
		m.spool.Close()
	}
	if m.failed == nil {
		m.spool.Write(p)
	}
}

// finish notes what went wrong while the message came in.
func (s *session) finish(m *Message) {
	m.Size = m.spool.size
	if m.failed == nil && m.spool.err != nil {
		m.failed = mail.Defer("4.3.1", "Insufficient system storage").WithReply(452)
	}
}

// dots takes the lines of DATA up to the lone dot. Only <CR><LF>.<CR><LF> ends
// the message (RFC 5321 section 4.1.1.4): every other form that some server
// takes for the end is text, so that nobody can smuggle commands in it.
func (s *session) dots(m *Message) error {
	m.spool.bare = true
	begin, cr := true, false // behind a CRLF, or at the begin; behind a CR
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return ended(err)
		}
		if begin && string(line) == ".\r\n" {
			break
		}
		text := line
		if begin && line[0] == '.' {
			text = line[1:]
		}
		begin = bytes.HasSuffix(line, []byte("\r\n")) || cr && string(line) == "\n"
		cr = line[len(line)-1] == '\r'
		if len(text) > 0 {
			s.store(m, text)
		}
	}
	m.spool.End()
	s.finish(m)
	return nil
}
