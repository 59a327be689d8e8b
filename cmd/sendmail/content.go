package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/queue/maildrop"
)

// maxHeaders bounds the bytes of recipient headers that -t reads, so that no
// input makes us large.
const maxHeaders = 8 << 20

// reader turns standard input into lines of a message: From_ lines before the
// header go, carriage returns at line ends go, and a lone dot ends it.
type reader struct {
	in       *bufio.Reader
	keepDots bool
	fix      fixEOL
	begun    bool // a line that is no From_ line was seen
	middle   bool // the next bytes continue a line
}

// fixEOL is sendmail_fix_line_endings of postconf(5).
type fixEOL uint8

const (
	fixAlways fixEOL = iota
	fixStrict        // as the first line has it
	fixNever
)

// next returns a line, or a part of one when whole is false, without its line
// end. It returns io.EOF at the end of the message.
func (r *reader) next() (line []byte, whole bool, err error) {
	for {
		line, err = r.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			r.begun, r.middle = true, true
			return line, false, nil
		case errors.Is(err, io.EOF) && len(line) == 0:
			if r.middle { // the last line had no line end
				r.middle = false
				return nil, true, nil
			}
			return nil, false, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, false, err
		}
		line = r.trim(bytes.TrimSuffix(line, []byte{'\n'}))
		first := !r.middle
		r.middle = false
		if first && !r.begun && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			continue
		}
		r.begun = true
		if first && !r.keepDots && len(line) == 1 && line[0] == '.' {
			return nil, false, io.EOF
		}
		return line, true, nil
	}
}

// trim removes carriage returns from the end of a line.
func (r *reader) trim(line []byte) []byte {
	if r.fix == fixStrict {
		r.fix = fixNever
		if bytes.HasSuffix(line, []byte{'\r'}) {
			r.fix = fixAlways
		}
	}
	if r.fix == fixNever {
		return line
	}
	return bytes.TrimRight(line, "\r")
}

// content copies the message on standard input to postdrop and returns the
// recipients in its header when -t asks for them.
func (p *program) content(d *post, sender string) []mail.Address {
	r := &reader{in: bufio.NewReaderSize(p.stdin, 32<<10), keepDots: p.opts.keepDots, fix: p.lineEndings()}
	x := &extractor{done: !p.opts.extract}
	for {
		line, whole, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.fatal("%s(%d): error reading input: %s", sender, os.Getuid(), reason(err))
		}
		if !x.take(line, whole) {
			p.fatal("%s(%d): unable to extract recipients: message header length exceeds safety limit", sender, os.Getuid())
		}
		put(d, line, whole)
	}
	return x.recipients()
}

func put(d *post, line []byte, whole bool) {
	if whole {
		d.PutLine(line)
		return
	}
	for len(line) > 0 {
		n := min(len(line), maildrop.MaxLine)
		d.Put(maildrop.Part, line[:n])
		line = line[n:]
	}
}

func (p *program) lineEndings() fixEOL {
	switch v := p.conf.Get("sendmail_fix_line_endings"); v {
	case "always", "":
		return fixAlways
	case "strict":
		return fixStrict
	case "never":
		return fixNever
	default:
		p.fatal("invalid sendmail_fix_line_endings value: %s", v)
		return 0
	}
}

// extractor finds the recipients in the header of a message that passes by.
// In a resent message only the Resent- headers count (RFC 5322 section 3.6.6).
type extractor struct {
	done   bool // the header is over
	begun  bool // a header field was seen
	middle bool // the next bytes continue a line
	want   bool // the field is one with recipients
	field  []byte
	total  int
	plain  []mail.Address
	resent []mail.Address
	again  bool // a Resent- recipient header was seen
}

// take looks at one line or part of one; false says that the header is too long.
func (x *extractor) take(line []byte, whole bool) bool {
	if x.done {
		return true
	}
	if !x.middle {
		x.lineStart(line)
	}
	x.middle = !whole
	if x.want && !x.done {
		x.field = append(x.field, line...)
		if whole {
			x.field = append(x.field, '\n')
		}
		x.total += len(line) + 1
	}
	return x.total <= maxHeaders
}

// lineStart finds out what a line is: one of the same field, of the next, or
// of the body.
func (x *extractor) lineStart(line []byte) {
	if x.begun && len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return
	}
	x.flush()
	x.begun = true
	x.done = message.NameLen(line) == 0
	x.want = extracts(line)
}

// extracts tells whether the field is one that -t reads.
func extracts(field []byte) bool {
	switch string(bytes.ToLower(field[:message.NameLen(field)])) {
	case "to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc":
		return true
	}
	return false
}

// flush reads the addresses of the gathered field.
func (x *extractor) flush() {
	field := x.field
	x.field = x.field[:0]
	f, ok := message.ParseField(field)
	if !ok || !extracts(field) {
		return
	}
	list := message.Addresses(string(f.Body))
	if bytes.HasPrefix(bytes.ToLower(f.Name), []byte("resent-")) {
		x.again = true
		x.resent = append(x.resent, list...)
		return
	}
	x.plain = append(x.plain, list...)
}

// recipients returns what was found, at the end of the message.
func (x *extractor) recipients() []mail.Address {
	x.flush()
	if x.again {
		return x.resent
	}
	return x.plain
}
