// Package format reads and writes the mbox format: From_ lines, the header
// lines in which an mbox keeps its state, and messages between them. It knows
// bytes and offsets; locks and files are package mbox's.
package format

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"

	"packetboat/internal/store"
)

// scanChunk is how much of the file one read takes. It fits the second-level
// cache, so that the passes over it (From_ lines, line ends) cost little.
const scanChunk = 512 << 10

// castagnoli is a function and no variable, since the table takes a quarter of a
// millisecond to make, and a deliver never needs it.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// ErrNotMbox says that a file does not begin with a From_ line.
var ErrNotMbox = errors.New("not an mbox: it does not begin with a From_ line")

// Record is what is kept of a message beside store.Msg: what its own header
// lines in the file say, to know what there is to write.
type Record struct {
	Hdr    int32  // octets from the From_ line to the body
	Sep    int32  // octets of the empty line behind the body
	Uid    uint32 // X-UID in the file, 0 = none that counts
	Flags  store.Flag
	Old    bool // Status has O: a session saw the message before
	Bare   bool // has no own header line at all
	Quoted bool // lines of the body lose a ">" when they are read
	Kw     uint64
	Digest uint64 // of what identifies the message: From_ line, foreign header lines, body size before unquoting
}

// Scanned is one message as the file shows it.
type Scanned struct {
	Msg store.Msg // UID, ModSeq unset
	Rec Record
}

// Scanner walks through an mbox once, in bounded memory and without
// allocation per line.
type Scanner struct {
	src        io.ReaderAt
	size       int64 // the file ends here
	buf        []byte
	start, end int   // what was read and not yet consumed
	off        int64 // file offset of buf[0]
	err        error

	keys   *Keywords
	Base   Base // of the first message
	cur    Scanned
	state  headState
	hash   uint32
	hashAt int     // buf from here to start is not yet in hash
	last   [4]byte // the last octets consumed
	text   bodyState
	each   func(*Scanned)
	// The pseudo message of UW-IMAP and Dovecot, if the file begins with one.
	Pseudo    store.Msg
	pseudoRec Record
}

// headState is what the header of the current message said.
type headState struct {
	length int64 // Content-Length, -1 = none
	uid    uint32
	pseudo bool // X-IMAP: the folder's internal data, no message
	skip   bool // continuation lines belong to an own header line
	mid    bool // within a line that is longer than the window
	fields int  // header fields so far
	lenAt  int  // which of them was Content-Length
	mutt   bool // Lines stands right behind Content-Length
}

// Base is the mailbox's own state in its first message.
type Base struct {
	Found    bool
	Validity uint32
	Last     uint32 // highest UID ever given
	Names    int    // Keywords it lists
}

// NewScanner scans src up to size.
func NewScanner(src io.ReaderAt, size int64, keys *Keywords, each func(*Scanned)) *Scanner {
	return &Scanner{src: src, size: size, keys: keys, each: each}
}

// Run scans from offset from on, which is 0 or the begin of a From_ line.
func (s *Scanner) Run(from int64) error {
	s.buf = make([]byte, min(max(s.size-from, 0)+1, scanChunk))
	s.off, s.start, s.end = from, 0, 0
	s.fill()
	if from == 0 {
		s.skipBlank()
	}
	first := from == 0
	for s.err == nil && s.start < s.end {
		if !s.message(first) {
			return errors.Join(s.err, ErrNotMbox)
		}
		first = false
	}
	return s.err
}

// fill slides the window to its unread part and reads more. It tells whether
// the window grew.
func (s *Scanner) fill() bool {
	s.sum(s.start)
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.off += int64(s.start)
		s.end -= s.start
		s.start = 0
	}
	s.hashAt = 0
	room := min(int64(len(s.buf)-s.end), s.size-s.off-int64(s.end))
	if room <= 0 || s.err != nil {
		return false
	}
	n, err := s.src.ReadAt(s.buf[s.end:s.end+int(room)], s.off+int64(s.end))
	if err != nil && !(errors.Is(err, io.EOF) && n > 0) {
		s.err = err
	}
	s.end += n
	return n > 0
}

// sum takes the window up to index to into the digest.
func (s *Scanner) sum(to int) {
	if s.hashAt < to {
		s.hash = crc32.Update(s.hash, castagnoli(), s.buf[s.hashAt:to])
	}
	s.hashAt = to
}

// skipBlank passes empty lines before the first From_ line.
func (s *Scanner) skipBlank() {
	for s.start < s.end && (s.buf[s.start] == '\n' || s.buf[s.start] == '\r') {
		s.start++
	}
}

// line returns the next line of the window with its end, or what there is of
// it when the line is longer than the window or the file ends.
func (s *Scanner) line() []byte {
	i := bytes.IndexByte(s.buf[s.start:s.end], '\n')
	if i < 0 {
		for s.fill() {
		}
		i = bytes.IndexByte(s.buf[s.start:s.end], '\n')
	}
	if i < 0 {
		i = s.end - s.start - 1
	}
	return s.buf[s.start : s.start+i+1]
}

// message reads one message; false when there is no From_ line.
func (s *Scanner) message(first bool) bool {
	line := s.line()
	_, date, ok := ParseFrom(line)
	if !ok {
		return false
	}
	s.cur = Scanned{Msg: store.Msg{Date: date, Pos: s.off + int64(s.start)}}
	s.cur.Rec.Bare = true
	s.state = headState{length: -1, lenAt: -1}
	s.hash, s.hashAt = 0, s.start
	s.start += len(line)
	for {
		line = s.line()
		if len(line) == 0 || !s.headerLine(line, first) {
			break
		}
	}
	s.body()
	s.finish()
	return s.err == nil
}

// headerLine takes one line of the header; false at its end.
func (s *Scanner) headerLine(line []byte, first bool) bool {
	n := len(line)
	mid := s.state.mid // the line's begin did not fit the window
	s.state.mid = line[n-1] != '\n'
	if !mid && (line[0] == '\n' || (n == 2 && line[0] == '\r')) {
		s.sum(s.start)
		s.start += n
		s.hashAt = s.start
		s.cur.Msg.Header += 2
		return false
	}
	own := s.state.skip
	if !mid && line[0] != ' ' && line[0] != '\t' {
		s.state.fields++
		own = s.ownLine(line, first)
		s.state.skip = own
	}
	if own {
		s.sum(s.start)
		s.start += n
		s.hashAt = s.start
		return true
	}
	s.start += n
	s.cur.Msg.Header += crlfLen(line)
	return true
}

// crlfLen is the length of a line with CRLF at its end.
func crlfLen(line []byte) int64 {
	n := len(line)
	if line[n-1] == '\n' && (n < 2 || line[n-2] != '\r') {
		n++
	}
	return int64(n)
}

// finish completes the message: the empty line before the next From_ line is
// not part of it.
func (s *Scanner) finish() {
	c := &s.cur
	c.Msg.Raw = s.off + int64(s.start) - c.Msg.Pos
	body := c.Msg.Raw - int64(c.Rec.Hdr)
	switch {
	case string(s.last[2:]) == "\n\n", body == 1 && s.last[3] == '\n':
		c.Rec.Sep = 1
	case string(s.last[:]) == "\r\n\r\n", body == 2 && string(s.last[2:]) == "\r\n":
		c.Rec.Sep = 2
	}
	if c.Rec.Sep > 0 {
		c.Msg.Size -= 2
	}
	c.Rec.Digest = uint64(s.hash)<<32 | uint64(uint32(c.Msg.Size))
	if c.Rec.Quoted = s.unquotes(); c.Rec.Quoted {
		c.Msg.Size -= s.text.quoted
	}
	c.Msg.Size += c.Msg.Header
	c.Msg.Flags, c.Msg.Keywords = c.Rec.Flags, c.Rec.Kw
	c.Rec.Uid = s.state.uid
	if s.state.pseudo {
		s.Pseudo = c.Msg
		s.pseudoRec = c.Rec
		return
	}
	s.each(c)
}
