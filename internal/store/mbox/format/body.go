package format

import (
	"bytes"
	"errors"
	"io"
)

// bodyState is what the walk through a message's body found.
type bodyState struct {
	bol    bool  // the next octet begins a line, or goes on with the ">" that one begins with
	sure   bool  // Content-Length is believed: no From_ line ends the body before
	raw    bool  // a line begins with "From ": who wrote the body does not quote
	quoted int64 // lines that begin with ">From ", ">>From " ...
}

// body finds the end of the message: the next From_ line, or where
// Content-Length says, if a From_ line or the end of the file stands there
// (mboxcl2). Without that rule a forged figure would swallow messages.
func (s *Scanner) body() {
	at := s.off + int64(s.start)
	s.cur.Rec.Hdr = int32(min(at-s.cur.Msg.Pos, 1<<31-1))
	s.last = [4]byte{}
	s.text = bodyState{bol: true}
	to := s.size
	if s.state.length >= 0 {
		if next, ok := s.behind(at + s.state.length); ok {
			to, s.text.sure = next, true
		}
	}
	for !s.walk(to) {
		if s.start == s.end && !s.fill() {
			return
		}
	}
}

// unquotes tells whether the ">" in front of "From " was put there by the
// program that wrote the message into the mailbox. It was not where
// Content-Length is believed (mboxcl2: Dovecot writes bodies as they are), but
// for mutt, which adds Content-Length and Lines to what others have quoted;
// nor where the body has a bare "From " beside it.
func (s *Scanner) unquotes() bool {
	return s.text.quoted > 0 && !s.text.raw && (!s.text.sure || s.state.mutt)
}

// walk consumes lines of the body up to file offset to, and counts what their
// CRLF form needs. It returns true at to or at a From_ line, and false when it
// must see more of the file. This one pass is all that happens to most octets
// of a mailbox: it looks at the ends of lines only.
func (s *Scanner) walk(to int64) bool {
	end := int(min(int64(s.end), to-s.off))
	lines, i := 0, s.start
	for i < end {
		if s.text.bol && (s.buf[i] == 'F' || s.buf[i] == '>') {
			next, stop := s.begin(i, end, s.off+int64(end) < to)
			if stop != goOn {
				s.consume(next-s.start, lines)
				return stop == atFrom || !s.fill()
			}
			i = next
		}
		j := bytes.IndexByte(s.buf[i:end], '\n')
		if s.text.bol = j >= 0; j < 0 {
			i = end
			break
		}
		i += j + 1
		// The CR may stand at the end of what was consumed before.
		if i-2 >= s.start && s.buf[i-2] == '\r' || i-2 < s.start && s.last[3] == '\r' {
			lines--
		}
		lines++
	}
	s.consume(i-s.start, lines)
	return s.off+int64(end) >= to
}

// verdict is what begin says of a line.
type verdict uint8

const (
	goOn   verdict = iota // text of the body
	atFrom                // the next message begins here
	more                  // the window must slide to this index first
)

// begin looks at a line that begins at index i with "F" or ">". more tells
// that the body may go on behind end.
func (s *Scanner) begin(i, end int, cut bool) (int, verdict) {
	line := s.buf[i:end]
	n := quotes(line)
	if cut && n+len(fromPrefix) > len(line) && bytes.HasPrefix(fromPrefix, line[n:]) {
		return i + max(n-1, 0), more // of a long run the last ">" is enough
	}
	if !bytes.HasPrefix(line[n:], fromPrefix) {
		return i + n, goOn
	}
	if n > 0 {
		s.text.quoted++
		return i + n, goOn
	}
	if !s.text.sure {
		if cut && len(line) < MaxFrom {
			return i, more // the whole line is needed
		}
		if _, _, ok := ParseFrom(CutLine(line)); ok {
			return i, atFrom
		}
	}
	s.text.raw = true
	return i + 1, goOn
}

// quotes returns the number of ">" that b begins with.
func quotes(b []byte) int {
	n := 0
	for n < len(b) && b[n] == '>' {
		n++
	}
	return n
}

// Unquote looks at the octets of a body from the begin of a line, or from
// within the ">" that one begins with. It returns how many of them to show and
// how many behind those to drop; ok is false when it must see more of the body
// first. cut tells that there is more.
func Unquote(b []byte, cut bool) (show, drop int, ok bool) {
	n := quotes(b)
	switch {
	case n > 0 && bytes.HasPrefix(b[n:], fromPrefix):
		return n - 1, 1, true
	case n > 0 && cut && n+len(fromPrefix) > len(b) && bytes.HasPrefix(fromPrefix, b[n:]):
		return n - 1, 0, false
	}
	return n, 0, true
}

// CutLine returns the first line of b without its end.
func CutLine(b []byte) []byte {
	if len(b) > MaxFrom+1 {
		b = b[:MaxFrom+1]
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i]
	}
	return b
}

// behind tells whether a message may end at offset e, and where the next one
// begins.
func (s *Scanner) behind(e int64) (next int64, ok bool) {
	if e > s.size || e < s.off {
		return 0, false
	}
	if e == s.size {
		return e, true
	}
	var b [MaxFrom]byte
	n, err := s.src.ReadAt(b[:min(MaxFrom, s.size-e)], e)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false
	}
	rest := b[:n]
	blank := len(rest) - len(bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte("\r")), []byte("\n")))
	if e+int64(blank) == s.size {
		return s.size, true
	}
	_, _, ok = ParseFrom(CutLine(rest[blank:]))
	return e + int64(blank), ok && (blank > 0 || s.endsLine(e))
}

// endsLine tells whether a line ends before offset e.
func (s *Scanner) endsLine(e int64) bool {
	var b [1]byte
	if e == 0 {
		return true
	}
	_, err := s.src.ReadAt(b[:], e-1)
	return err == nil && b[0] == '\n'
}

// consume takes n octets of the body, in which lf line ends lack their CR.
func (s *Scanner) consume(n, lf int) {
	if n <= 0 {
		return
	}
	b := s.buf[s.start : s.start+n]
	s.cur.Msg.Size += int64(n + lf)
	if n >= 4 {
		copy(s.last[:], b[n-4:])
	} else {
		copy(s.last[:], s.last[n:])
		copy(s.last[4-n:], b)
	}
	s.start += n
	s.hashAt = s.start
}

var lf = []byte("\n")
