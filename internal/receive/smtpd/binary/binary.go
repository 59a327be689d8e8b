// Package binary takes a BODY=BINARYMIME message (RFC 3030 section 3) and makes
// text of it: parts of the encoding "binary" become base64 (RFC 2045 section 6.8),
// as RFC 3030 asks of whoever hands the message to one that cannot take it.
//
// It does so at the door. Behind it a message is lines: queue, checks, milters,
// mbox, IMAP and the next hops would each need to know of messages that are none,
// and each would be a place where two programs disagree about where a line, a part
// or a message ends. receive/smtpd writes to a Writer what comes by BDAT.
//
// A Writer holds one field Content-Transfer-Encoding, or 4 KiB of a line.
package binary

import (
	"bytes"
	"encoding/base64"
	"io"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/route/checks"
)

// pieceSize is how much of a line is looked at at once, in octets. It is longer
// than the part of a boundary that is compared.
const pieceSize = 4096

// maxHeld is the longest field Content-Transfer-Encoding that is believed, in octets.
const maxHeld = 4096

// groupSize is how many octets make a line of base64: 76 characters of RFC 2045.
const groupSize = 57

// Writer turns a binary message into lines that end with LF. Its first error
// stays; what follows is thrown away.
type Writer struct {
	SawBare bool // a line of text ended in a bare LF

	w      io.Writer
	walker *checks.Walker
	line   []byte // what has come of a line, or of its next piece
	raw    bool   // this line is part of a binary leaf: only CRLF ends it
	inside bool   // a piece of this line was passed on already
	header bool   // this line is one of a header
	shown  bool   // the walker has called it a line of a body
	held   []byte // fields Content-Transfer-Encoding of this header
	folded bool   // the last field of this header is one
	blank  bool   // the next line of the body is the empty one behind the header
	group  []byte // of base64
	eol    bool   // a CRLF of a binary leaf, which is its last if a boundary follows
	out    bytes.Buffer
	err    error
}

// NewWriter returns a Writer in front of the message's header. Close ends the message.
func NewWriter(w io.Writer) *Writer {
	b := &Writer{w: w, line: make([]byte, 0, pieceSize), header: true}
	b.walker = checks.NewWalker(checks.MIMEOptions{Report: checks.FaultNesting}, b)
	return b
}

// Write takes bytes as they come on the wire. It never returns fewer than len(p).
func (b *Writer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		n := i + 1
		if i < 0 {
			n = len(rest)
		}
		n = min(n, pieceSize-len(b.line))
		b.line = append(b.line, rest[:n]...)
		rest = rest[n:]
		b.advance()
	}
	return len(p), b.flush()
}

// advance passes a line on when it is complete, or so long that it goes in pieces.
func (b *Writer) advance() {
	n := len(b.line)
	if b.line[n-1] == '\n' {
		crlf := n > 1 && b.line[n-2] == '\r'
		switch {
		case crlf:
			b.take(b.line[:n-2], true)
		case !b.raw:
			b.SawBare = true
			b.take(b.line[:n-1], true) // it ends a line of text, as it does behind DATA
		case n == pieceSize:
			b.take(b.line, false)
		default:
			return
		}
		b.line = b.line[:0]
		return
	}
	if n < pieceSize {
		return
	}
	// A CR at the end may be half of a line end.
	keep := 0
	if b.line[n-1] == '\r' {
		keep = 1
	}
	b.take(b.line[:n-keep], false)
	b.line = append(b.line[:0], b.line[n-keep:]...)
}

// take looks at a line without its end, or at a piece of it.
func (b *Writer) take(text []byte, full bool) {
	first := !b.inside
	if first {
		b.header = b.walker.InHeader()
	}
	if !b.raw {
		clean(text)
	}
	b.shown = false
	b.walker.Line(text, full)
	if b.header && !b.shown {
		b.field(text, first, full)
	}
	b.inside = !full
	if full {
		on, leaf := b.walker.Binary()
		b.raw = on && leaf && !b.walker.InHeader()
	}
}

// clean makes blanks of CRs that end no line, as it is done behind DATA.
func clean(text []byte) {
	for i, c := range text {
		if c == '\r' {
			text[i] = ' '
		}
	}
}

// field writes a line of a header, or keeps it until it is known whether it is to
// go.
func (b *Writer) field(text []byte, first, full bool) {
	if first && (len(text) == 0 || text[0] != ' ' && text[0] != '\t') {
		b.folded = bytes.EqualFold(text[:message.NameLen(text)], []byte("Content-Transfer-Encoding"))
	}
	if !b.folded {
		b.out.Write(text)
		if full {
			b.out.WriteByte('\n')
		}
		return
	}
	b.held = append(b.held, text...)
	if full {
		b.held = append(b.held, '\n')
	}
	if len(b.held) > maxHeld {
		b.fail(mail.Bounce("5.6.0", "Error: too much of Content-Transfer-Encoding"))
	}
}

// MIMEField is for package checks. Fields go out as they came: see field.
func (b *Writer) MIMEField(checks.Class, []byte) {}

// MIMEHeaderEnd is told that a header ends, before the body's first line.
func (b *Writer) MIMEHeaderEnd() {
	switch on, leaf := b.walker.Binary(); {
	case !on:
		b.out.Write(b.held)
	case leaf:
		b.out.WriteString("Content-Transfer-Encoding: base64\n")
	default: // RFC 2045 section 6.4: what is inside has encodings of its own, now text
		b.out.WriteString("Content-Transfer-Encoding: 8bit\n")
	}
	b.held, b.folded, b.blank = b.held[:0], false, true
}

// MIMELine takes a line of a body or a piece of it; it is for package checks.
func (b *Writer) MIMELine(text []byte, full bool, _ int64) {
	b.shown = true
	separator := b.blank
	b.blank = false
	if on, leaf := b.walker.Binary(); !on || !leaf {
		b.endGroup()
		b.out.Write(text)
		if full {
			b.out.WriteByte('\n')
		}
		return
	}
	if separator {
		b.out.WriteByte('\n')
		if len(text) == 0 && full {
			return
		}
	}
	if b.eol {
		b.encode([]byte("\r\n"))
	}
	b.encode(text)
	b.eol = full
}

// MIMEFault is told of parts inside parts without end: what cannot be understood
// cannot be converted.
func (b *Writer) MIMEFault(f checks.Fault, _ []byte) {
	b.fail(&mail.Status{Outcome: mail.Bounced, Code: "5.6.0", Reply: 554, Text: "Error: " + f.Text()})
}

func (b *Writer) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// encode writes octets as base64.
func (b *Writer) encode(p []byte) {
	for len(p) > 0 {
		n := min(groupSize-len(b.group), len(p))
		b.group = append(b.group, p[:n]...)
		p = p[n:]
		if len(b.group) == groupSize {
			b.writeGroup()
		}
	}
}

func (b *Writer) writeGroup() {
	b.out.Write(base64.StdEncoding.AppendEncode(b.out.AvailableBuffer(), b.group))
	b.out.WriteByte('\n')
	b.group = b.group[:0]
}

// endGroup ends a binary leaf. The line end before a boundary belongs to that
// (RFC 2046 section 5.1.1).
func (b *Writer) endGroup() {
	b.eol = false
	if len(b.group) > 0 {
		b.writeGroup()
	}
}

// flush writes what is ready.
func (b *Writer) flush() error {
	if b.err == nil && b.out.Len() > 0 {
		_, b.err = b.w.Write(b.out.Bytes())
	}
	b.out.Reset()
	return b.err
}

// Close ends the message, whose last line may lack its end.
func (b *Writer) Close() error {
	wasRaw := b.raw
	switch {
	case wasRaw && len(b.line) > 0:
		b.take(b.line, false) // no line end is made up in what is no text
	case len(b.line) > 0 || b.inside:
		b.take(b.line, true)
	}
	b.line = b.line[:0]
	if b.walker.InHeader() { // a header without a body
		b.walker.End()
		b.MIMEHeaderEnd()
	}
	if wasRaw && b.eol {
		b.encode([]byte("\r\n"))
	}
	b.endGroup()
	return b.flush()
}
