// Package convert changes a message on its way out, as smtp(8) does: it maps
// addresses (smtp_generic_maps), does what header and body checks say, and turns
// 8-bit parts into quoted-printable for a host without 8BITMIME (RFC 6152
// section 3). It reads and writes a line at a time; no message is held in memory.
// send/remote calls it for the messages that need it, which are few.
package convert

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/route/checks"
)

// Options say what is done to messages. The zero value changes nothing.
type Options struct {
	Header *checks.Maps // smtp_header_checks
	MIME   *checks.Maps // smtp_mime_header_checks; Header where it is nil
	Nested *checks.Maps // smtp_nested_header_checks; Header where it is nil
	Body   *checks.Maps // smtp_body_checks
	// Generic maps an address (smtp_generic_maps); nil = none. It returns the
	// address itself where nothing matches.
	Generic func(mail.Address) (mail.Address, error)
	// Action is told what was done to a line ("replace", "header", line, text);
	// Warn is told what is wrong with a table. nil = nobody.
	Action func(action, where, line, text string)
	Warn   func(text string)
}

// Needed tells whether any message needs to go through New.
func (o *Options) Needed() bool {
	return o.Header != nil || o.MIME != nil || o.Nested != nil || o.Body != nil || o.Generic != nil
}

// lineSize is how much of a line is looked at at once, in octets: what is longer
// goes on as a further piece of the same line.
const lineSize = 2048

// Reader is a message while it is changed.
type Reader struct {
	ctx    context.Context
	o      Options
	down   bool // 8-bit parts become quoted-printable
	in     *bufio.Reader
	header *message.HeaderReader // nil behind the message's own header
	walker *checks.Walker
	out    bytes.Buffer
	qp     []byte // a line of quoted-printable that is not full yet
	field  bytes.Buffer
	skip   bool // the rest of a line that a check took away
	plain  bool // a piece of a line went out: no check of the next one
	err    error
}

// New returns the changed message of r, whose lines end with LF. down turns 8-bit
// parts into quoted-printable.
func New(ctx context.Context, r io.Reader, o Options, down bool) *Reader {
	c := &Reader{ctx: ctx, o: o, down: down, in: bufio.NewReaderSize(r, lineSize)}
	if c.o.MIME == nil {
		c.o.MIME = c.o.Header
	}
	if c.o.Nested == nil {
		c.o.Nested = c.o.Header
	}
	c.header = message.NewHeaderReader(c.in, message.HeaderLimits{})
	mo := checks.MIMEOptions{}
	if down {
		mo.Report = checks.FaultNesting
	}
	c.walker = checks.NewWalker(mo, c)
	return c
}

// Read returns the next bytes of the changed message. An error of a table is a
// *mail.Status.
func (c *Reader) Read(p []byte) (int, error) {
	for c.out.Len() == 0 && c.err == nil {
		if c.header != nil {
			c.nextField()
		} else {
			c.nextLine()
		}
	}
	if c.out.Len() > 0 {
		return c.out.Read(p)
	}
	return 0, c.err
}

// fail keeps the first error.
func (c *Reader) fail(err error) {
	if c.err == nil || errors.Is(c.err, io.EOF) {
		c.err = err
	}
}

// nextField does one field of the message's own header.
func (c *Reader) nextField() {
	f, err := c.header.Next()
	if err == nil {
		raw := bytes.TrimSuffix(f.Raw, []byte("\n"))
		c.walker.Primary(raw)
		c.MIMEField(checks.Primary, raw)
		return
	}
	if !errors.Is(err, io.EOF) {
		c.fail(err)
		return
	}
	blank, rest := c.header.Blank(), c.header.Rest()
	c.header = nil
	c.walker.EndPrimary(blank)
	switch {
	case blank:
		c.walker.Line(nil, true)
	case len(rest) > 0:
		c.walker.Line(bytes.TrimSuffix(rest, []byte("\n")), rest[len(rest)-1] == '\n')
	}
}

// nextLine does one line of the rest, or a piece of a long one.
func (c *Reader) nextLine() {
	line, err := c.in.ReadSlice('\n')
	if full := bytes.HasSuffix(line, []byte("\n")); full || len(line) > 0 {
		c.walker.Line(bytes.TrimSuffix(line, []byte("\n")), full)
	}
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		c.walker.End() // a last line without end gets one, as it does on the wire
		c.flushQP()
		c.fail(err)
	}
}

// MIMEField takes a header field of the message or of a part; it is for package
// checks.
func (c *Reader) MIMEField(class checks.Class, field []byte) {
	c.field.Reset()
	c.field.Write(field)
	if c.down && c.dropped(field) {
		return
	}
	maps := [...]*checks.Maps{checks.Primary: c.o.Header, checks.MIME: c.o.MIME, checks.Nested: c.o.Nested}[class]
	text, ok := c.judge(maps, "header", c.field.String())
	if !ok {
		return
	}
	if class == checks.Primary && c.o.Generic != nil {
		text = c.generic(text)
	}
	c.out.WriteString(text)
	c.out.WriteByte('\n')
}

// dropped tells whether a field is the Content-Transfer-Encoding of a part that
// gets another one at the end of its header.
func (c *Reader) dropped(field []byte) bool {
	f, ok := message.ParseField(field)
	eight, _ := c.walker.EightBit()
	return ok && eight && f.Is("Content-Transfer-Encoding")
}

// MIMEHeaderEnd is told that a header ends, before the body's first line.
func (c *Reader) MIMEHeaderEnd() {
	eight, leaf := c.walker.EightBit()
	switch {
	case !c.down || !eight:
	case leaf:
		c.out.WriteString("Content-Transfer-Encoding: quoted-printable\n")
	default: // RFC 2045 section 6.4: parts inside are encoded one by one
		c.out.WriteString("Content-Transfer-Encoding: 7bit\n")
	}
}

// MIMELine takes a line of a body or a piece of it; it is for package checks.
func (c *Reader) MIMELine(line []byte, full bool, _ int64) {
	first := !c.plain
	c.plain = !full
	if c.skip {
		c.skip = !full
		return
	}
	text := line
	if first && c.o.Body != nil && len(line) > 0 {
		changed, ok := c.judge(c.o.Body, "body", string(line))
		if !ok {
			c.skip = !full
			return
		}
		text = []byte(changed)
	}
	eight, leaf := c.walker.EightBit()
	if c.down && eight && leaf {
		c.encode(text, full)
		return
	}
	c.flushQP()
	c.out.Write(text)
	if full {
		c.out.WriteByte('\n')
	}
}

// MIMEFault is told of parts inside parts without end. What cannot be understood
// cannot be converted.
func (c *Reader) MIMEFault(f checks.Fault, _ []byte) {
	c.fail(mail.Bounce("5.6.0", "%s", f.Text()))
}
