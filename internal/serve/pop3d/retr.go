package pop3d

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"

	"packetboat/internal/store"
)

// readBuf is how much of a message is in memory at once, in bytes.
const readBuf = 32 << 10

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuf) }}

// retr sends a whole message.
func (x *session) retr(args string) error {
	i, ok := x.only(args)
	if !ok {
		return nil
	}
	head := fmt.Sprintf("+OK %d octets\r\n", max(x.snap.Msgs[i].Size, 0))
	n, err := x.send(i, head, func(w *stuffer, r *bufio.Reader) error { return w.all(r) })
	if n > 0 {
		x.stats.Retr++
		x.stats.RetrBytes += n
		x.seen[i] = true
	}
	return err
}

// top sends the header and the first lines of the body (RFC 1939 section 7).
func (x *session) top(args string) error {
	i, rest, ok := x.number(args)
	if !ok {
		return nil
	}
	if rest == "" {
		x.reply("-ERR Noise after message number: ")
		return nil
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	lines, err := strconv.ParseUint(rest[:digits], 10, 62)
	switch {
	case digits > 0 && digits < len(rest) && rest[digits] == ' ':
		x.reply("-ERR Noise after size: %s", printable(rest[digits:]))
		return nil
	case err != nil || digits < len(rest):
		x.reply("-ERR Invalid size: %s", printable(rest))
		return nil
	}
	n, err := x.send(i, "+OK\r\n", func(w *stuffer, r *bufio.Reader) error { return w.top(r, lines) })
	if n > 0 {
		x.stats.Top++
		x.stats.TopBytes += n
	}
	return err
}

// send opens message i and writes head and what copy takes of it. n is the
// octets written without the last dot; 0 when the message could not be had. An
// error in the middle of a message ends the session: there is no way to tell
// the client otherwise that it is not whole.
func (x *session) send(i int, head string, copy func(*stuffer, *bufio.Reader) error) (n int64, err error) {
	m := &x.snap.Msgs[i]
	body, err := x.box.Read(m.UID, 0, -1)
	if err != nil {
		return 0, x.unreadable(i, err)
	}
	defer body.Close()
	r := readers.Get().(*bufio.Reader)
	r.Reset(x.nulless(body))
	defer func() { r.Reset(nil); readers.Put(r) }()
	// The first bytes are read before anything is promised.
	if _, err := r.Peek(1); err != nil && !errors.Is(err, io.EOF) {
		return 0, x.unreadable(i, err)
	}
	x.out.WriteString(head)
	w := &stuffer{w: x.out, n: int64(len(head)), bol: true, header: slices.Contains(x.o.Workarounds, "oe-ns-eoh")}
	if err := copy(w, r); err != nil {
		x.o.Log.POP3Error(x.user.Name, os.Getpid(), x.start.Session, fmt.Sprintf("message %d: %v", m.UID, err))
		return w.n, err
	}
	if !w.bol {
		x.out.WriteString("\r\n")
		w.n += 2
	}
	if w.header { // oe-ns-eoh: the header ends, though no empty line says so
		x.out.WriteString("\r\n")
		w.n += 2
	}
	_, err = x.out.WriteString(".\r\n")
	return w.n, err
}

// unreadable answers a message that cannot be read; the session goes on.
func (x *session) unreadable(i int, err error) error {
	if errors.Is(err, store.ErrNoMessage) {
		x.reply("-ERR Message %d was expunged.", i+1)
		return nil
	}
	x.o.Log.POP3Error(x.user.Name, os.Getpid(), x.start.Session, err.Error())
	x.reply("-ERR [SYS/TEMP] Message %d could not be read. Refer to server log for more information.", i+1)
	return nil
}

// stuffer writes lines with a dot before each that begins with one (RFC 1939
// section 3).
type stuffer struct {
	w   *bufio.Writer
	n   int64
	bol bool // at the beginning of a line
	// header says that the end of the header is looked for, and has not come.
	header bool
}

// nulless replaces NUL bytes by 0x80 for clients that hang at them
// (outlook-no-nuls of pop3_client_workarounds).
func (x *session) nulless(r io.Reader) io.Reader {
	if !slices.Contains(x.o.Workarounds, "outlook-no-nuls") {
		return r
	}
	return noNULs{r}
}

type noNULs struct{ r io.Reader }

// Read implements io.Reader.
func (n noNULs) Read(b []byte) (int, error) {
	got, err := n.r.Read(b)
	for i, c := range b[:got] {
		if c == 0 {
			b[i] = 0x80
		}
	}
	return got, err
}

// all copies r to its end, a buffer at a time.
func (s *stuffer) all(r *bufio.Reader) error {
	for s.header {
		if err := s.top(r, 0); err != nil || s.header {
			return err
		}
	}
	for {
		b, err := r.Peek(1)
		if len(b) == 0 {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		b, _ = r.Peek(r.Buffered())
		if err := s.write(b); err != nil {
			return err
		}
		r.Discard(len(b))
	}
}

// top copies the header, the empty line and n lines of the body.
func (s *stuffer) top(r *bufio.Reader, n uint64) error {
	header := true
	for header || n > 0 {
		start := s.bol
		b, err := r.ReadSlice('\n')
		if len(b) > 0 {
			if werr := s.write(b); werr != nil {
				return werr
			}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue // a line longer than the buffer comes in parts
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if header {
			header = !start || len(bytes.TrimRight(b, "\r\n")) > 0
			s.header = s.header && header
			continue
		}
		n--
	}
	return nil
}

// write writes b, finding the dots with the speed of IndexByte.
func (s *stuffer) write(b []byte) error {
	for len(b) > 0 {
		if s.bol && b[0] == '.' {
			s.n++
			if err := s.w.WriteByte('.'); err != nil {
				return err
			}
		}
		n := nextDot(b)
		s.bol = b[n-1] == '\n'
		s.n += int64(n)
		if _, err := s.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// nextDot returns how many bytes of b can go before a dot must be added.
func nextDot(b []byte) int {
	if i := bytes.Index(b, []byte("\n.")); i >= 0 {
		return i + 1
	}
	return len(b)
}
