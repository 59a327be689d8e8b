// Package maildrop knows the files of the maildrop folder: what sendmail hands
// to postdrop, and postdrop leaves for pickup. The format is Postfix's own, so
// that a maildrop that one of the two has filled is emptied by the other.
//
// A file is a sequence of records: one byte of type, the length of the data in
// groups of seven bits (least significant first, the high bit says that more
// follow), the data. Three segments follow each other:
//
//	envelope   T time, A attribute, F full name, S sender, V VERP delimiters,
//	           R recipient, ended by M
//	content    N a line without its line end, L a part of a longer line,
//	           ended by X
//	extracted  A, R of recipients that stand in the header, ended by E
//
// A file without the E record is not whole and was never acknowledged. Its
// owner is the sender's account; nothing inside says who that is.
package maildrop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// The types of records.
const (
	Time      = 'T' // "seconds microseconds" of the arrival, written by postdrop
	Attribute = 'A' // "name=value"
	FullName  = 'F' // display name for a missing From:
	Sender    = 'S' // envelope sender, internal form
	Verp      = 'V' // two VERP delimiters
	Recipient = 'R' // envelope recipient, internal form
	Content   = 'M' // ends the envelope
	Line      = 'N' // a line of the message, its LF left out
	Part      = 'L' // part of a line that goes on in the next record
	Extracted = 'X' // ends the content
	End       = 'E' // ends the file
)

// MaxLine is the length in octets at which a line is cut into Part records
// (line_length_limit of postconf(5)).
const MaxLine = 2048

// MaxRecord is the longest record in octets that a Reader accepts: the largest
// line_length_limit that a configuration would sensibly have.
const MaxRecord = 64 << 10

// errMalformed is the reason for all damage.
var errMalformed = errors.New("malformed record")

// Writer writes records.
type Writer struct {
	w   *bufio.Writer
	err error
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 32<<10)} }

// Put writes one record. The first error stays and is told by Flush.
func (w *Writer) Put(kind byte, data []byte) {
	w.head(kind, len(data))
	w.keep(w.w.Write(data))
}

// PutString is Put for strings.
func (w *Writer) PutString(kind byte, data string) {
	w.head(kind, len(data))
	w.keep(w.w.WriteString(data))
}

// PutLine writes a line of the message, without its line end, in as many
// records as it needs.
func (w *Writer) PutLine(line []byte) {
	for len(line) > MaxLine {
		w.Put(Part, line[:MaxLine])
		line = line[MaxLine:]
	}
	w.Put(Line, line)
}

func (w *Writer) head(kind byte, n int) {
	w.w.WriteByte(kind)
	for ; n >= 0x80; n >>= 7 {
		w.w.WriteByte(byte(n) | 0x80)
	}
	w.w.WriteByte(byte(n))
}

func (w *Writer) keep(_ int, err error) {
	if w.err == nil {
		w.err = err
	}
}

// Err returns the first error so far.
func (w *Writer) Err() error { return w.err }

// Flush writes what is buffered and returns the first error of all.
func (w *Writer) Flush() error {
	w.keep(0, w.w.Flush())
	return w.err
}

// recordReader reads records.
type recordReader struct {
	r   *bufio.Reader
	buf []byte
}

// next returns the next record. data holds until the next call. io.EOF before
// the first byte of a record is returned as it is.
func (r *recordReader) next() (kind byte, data []byte, err error) {
	if kind, err = r.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := r.length()
	if err != nil {
		return 0, nil, err
	}
	// The usual case costs no copy: the record lies whole in the buffer.
	if data, err = r.r.Peek(n); err == nil {
		r.r.Discard(n)
		return kind, data, nil
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, MaxRecord)
	}
	data = r.buf[:n]
	if _, err = io.ReadFull(r.r, data); err != nil {
		return 0, nil, fmt.Errorf("%w: it ends early", errMalformed)
	}
	return kind, data, nil
}

func (r *recordReader) length() (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.r.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("%w: no length", errMalformed)
		}
		if n |= int(b&0x7f) << shift; n > MaxRecord {
			break
		}
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: longer than %d", errMalformed, MaxRecord)
}
