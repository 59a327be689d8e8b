package checks

import (
	"bytes"

	"packetboat/internal/mail/message"
)

// Class says where in a message a line stands.
type Class uint8

// The values of Class.
const (
	Primary Class = iota // the message's own header
	MIME                 // header of a part of a multipart; also Content-* and MIME-Version of any header
	Nested               // header of a message inside the message
	Body
)

// Fault is a set of things that are wrong with a message's MIME structure.
type Fault uint8

// The members of Fault, the worst first.
const (
	FaultNesting Fault = 1 << iota // more parts inside each other than mime_nesting_limit
	FaultHeader8Bit
	FaultBody8Bit
	FaultDomain // a multipart or message with an encoding that it must not have (RFC 2045 section 6.4)
)

// Text returns the words that Postfix has for the worst fault; "" for none.
func (f Fault) Text() string {
	switch {
	case f&FaultNesting != 0:
		return "MIME nesting exceeds safety limit"
	case f&FaultHeader8Bit != 0:
		return "improper use of 8-bit data in message header"
	case f&FaultBody8Bit != 0:
		return "improper use of 8-bit data in message body"
	case f&FaultDomain != 0:
		return "invalid message/* or multipart/* encoding domain"
	}
	return ""
}

// MIMEOptions are the limits of a Walker. The zero value has Postfix's.
type MIMEOptions struct {
	Nesting  int   // boundaries that are remembered at once; 0 = 100
	Boundary int   // octets of one that are compared; 0 = 2048
	Header   int   // octets of a field that are gathered; 0 = 102400
	Report   Fault // what Sink.MIMEFault is told of
	Disable  bool  // no MIME: all behind the first header is one body
}

// Sink takes what a Walker finds, in the order of the message. Slices hold
// until the method returns.
type Sink interface {
	// MIMEField takes a header field of a part, without its last line end.
	MIMEField(class Class, field []byte)
	// MIMELine takes a line of a body, or a piece of it: full tells that its line
	// ends here. off is how many octets of this body came before.
	MIMELine(line []byte, full bool, off int64)
	// MIMEFault is told of each fault once, with the text that shows it.
	MIMEFault(f Fault, text []byte)
}

// HeaderEnder is a Sink that wants to know where headers end.
type HeaderEnder interface {
	// MIMEHeaderEnd is called behind the last field of a header, before EightBit
	// speaks of what lies inside.
	MIMEHeaderEnd()
}

// The types and encodings that matter.
const (
	typeOther uint8 = iota
	typeText
	typeMessage
	typeMultipart
)

const (
	subOther uint8 = iota
	subRFC822
	subPartial // also external-body
	subGlobal
)

const (
	enc7Bit uint8 = iota
	enc8Bit
	encBinary
	encBase64
	encQP
)

// mark is a boundary that may come, and what its parts are by default.
type mark struct {
	text   []byte
	digest bool
}

// entity is what a header said of its body.
type entity struct{ ctype, sub, enc, domain uint8 }

// Walker follows one message behind its own header. It is used by one goroutine.
type Walker struct {
	o         MIMEOptions
	sink      Sink
	class     Class // of the next line; Body is no header
	cur       entity
	field     []byte
	cont      bool // the line goes on in the next piece
	separator bool // the next line is the empty one behind the message's own header
	off       int64
	marks     []mark
	faults    Fault
}

// NewWalker returns a Walker that stands in the message's own header.
func NewWalker(o MIMEOptions, sink Sink) *Walker {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&o.Nesting, 100)
	set(&o.Boundary, 2048)
	set(&o.Header, 102400)
	return &Walker{o: o, sink: sink, cur: plain()}
}

// plain is what RFC 2045 section 5.2 and 6.1 make of a part that says nothing.
func plain() entity { return entity{typeText, subOther, enc7Bit, enc7Bit} }

// opaque is the body around a multipart's parts: nothing is known of it.
func opaque() entity { return entity{typeOther, subOther, enc7Bit, enc7Bit} }

// Faults returns what was wrong so far, whether it was reported or not.
func (w *Walker) Faults() Fault { return w.faults }

// Primary learns from a field of the message's own header, which the caller has
// gathered, without its last line end.
func (w *Walker) Primary(field []byte) { w.learn(field) }

// EndPrimary ends the message's own header. blank tells that an empty line ended
// it, which must be given to Line too.
func (w *Walker) EndPrimary(blank bool) {
	w.endHeader(blank)
	w.separator = blank
}

// learn takes from a header field what a body's structure depends on.
func (w *Walker) learn(field []byte) {
	f, ok := message.ParseField(field)
	if !ok {
		return
	}
	if !w.o.Disable {
		switch {
		case f.Is("Content-Type"):
			w.contentType(f.Body, field)
		case f.Is("Content-Transfer-Encoding"):
			w.encoding(f.Body)
		}
	}
	if w.wants(FaultHeader8Bit) && has8Bit(field) {
		w.fault(FaultHeader8Bit, field)
	}
}

// EightBit tells whether the present part says that it holds more than 7-bit text,
// and whether it is a leaf: no message and no multipart, whose parts have encodings
// of their own.
func (w *Walker) EightBit() (on, leaf bool) {
	return w.cur.domain != enc7Bit, w.cur.ctype != typeMessage && w.cur.ctype != typeMultipart
}

// InHeader tells whether the next line is looked at as one of a header.
func (w *Walker) InHeader() bool { return w.class != Body && !w.separator }

// Binary tells whether the present part says that it is no text at all (RFC 3030
// section 3), and whether it is a leaf, as EightBit does.
func (w *Walker) Binary() (on, leaf bool) {
	_, leaf = w.EightBit()
	return w.cur.enc == encBinary, leaf
}

func (w *Walker) wants(f Fault) bool { return w.o.Report&f != 0 && w.faults&f == 0 }

func (w *Walker) fault(f Fault, text []byte) {
	if w.wants(f) {
		w.faults |= f
		w.sink.MIMEFault(f, text)
	}
}

func has8Bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// Line takes the next line without its line end, or the next piece of it.
func (w *Walker) Line(text []byte, full bool) {
	cont := w.cont
	w.cont = !full
	if w.class != Body && !w.separator {
		if w.header(text, cont) {
			return
		}
		w.endHeader(len(text) == 0)
	}
	w.separator = false
	w.bodyLine(text, full, cont)
}

// header takes a line of a part's header; false when it is none.
func (w *Walker) header(text []byte, cont bool) bool {
	if len(w.field) > 0 {
		folded := len(text) > 0 && (text[0] == ' ' || text[0] == '\t')
		if cont || folded {
			w.extend(text, !cont)
			return true
		}
		w.flush()
	}
	n := message.NameLen(text)
	if n == 0 {
		return false
	}
	w.field = append(append(w.field, text[:n]...), bytes.TrimLeft(text[n:], " \t")...)
	return true
}

// extend adds to the gathered field while it is within the limit.
func (w *Walker) extend(text []byte, newLine bool) {
	if len(w.field) >= w.o.Header {
		return
	}
	if newLine {
		w.field = append(w.field, '\n')
	}
	w.field = append(w.field, text...)
}

// flush passes the gathered field on.
func (w *Walker) flush() {
	if len(w.field) == 0 {
		return
	}
	w.learn(w.field)
	w.sink.MIMEField(w.class, w.field)
	w.field = w.field[:0]
}

// endHeader finds out what kind of body follows. A line that is no header ends
// the header too; the body is then what the type says it is, but a message
// inside is not looked into.
func (w *Walker) endHeader(blank bool) {
	w.checkDomain()
	if e, ok := w.sink.(HeaderEnder); ok {
		e.MIMEHeaderEnd()
	}
	w.class, w.off = Body, 0
	switch {
	case !blank || w.o.Disable:
	case w.cur.ctype == typeMessage && (w.cur.sub == subRFC822 || w.cur.sub == subGlobal):
		w.class, w.cur = Nested, plain()
	case w.cur.ctype == typeMultipart:
		w.cur = opaque()
	}
}

// checkDomain is RFC 2045 section 6.4: no encodings around parts.
func (w *Walker) checkDomain() {
	if !w.wants(FaultDomain) || w.o.Disable {
		return
	}
	bad := false
	switch {
	case w.cur.ctype == typeMessage && w.cur.sub == subPartial:
		bad = w.cur.domain != enc7Bit
	case w.cur.ctype == typeMessage && w.cur.sub == subRFC822, w.cur.ctype == typeMultipart:
		bad = w.cur.enc != w.cur.domain
	}
	if bad {
		w.fault(FaultDomain, []byte(encodingName(w.cur.enc)))
	}
}

// bodyLine looks for 8-bit octets and boundaries and passes the line on.
func (w *Walker) bodyLine(text []byte, full, cont bool) {
	if w.wants(FaultBody8Bit) && w.cur.enc == enc7Bit && has8Bit(text) {
		w.fault(FaultBody8Bit, text)
	}
	if len(w.marks) > 0 && !cont && len(text) > 2 && text[0] == '-' && text[1] == '-' {
		w.boundary(text[2:])
	}
	w.sink.MIMELine(text, full, w.off)
	w.off += int64(len(text)) + 1
}

// boundary looks for the innermost boundary that the line begins with; what
// stands behind it does not matter (RFC 2046 section 5.1.1 allows blanks only).
func (w *Walker) boundary(line []byte) {
	for i := len(w.marks) - 1; i >= 0; i-- {
		m := w.marks[i]
		if !bytes.HasPrefix(line, m.text) {
			continue
		}
		w.marks = w.marks[:i+1]
		if bytes.HasPrefix(line[len(m.text):], []byte("--")) {
			w.marks = w.marks[:i]
			w.class, w.cur, w.off = Body, opaque(), 0
			return
		}
		w.class, w.cur = MIME, plain()
		if m.digest {
			w.cur.ctype, w.cur.sub = typeMessage, subRFC822
		}
		return
	}
}

// End ends the message.
func (w *Walker) End() {
	if w.cont {
		w.Line(nil, true)
	}
	if w.class != Body {
		w.flush()
		w.checkDomain()
		w.class = Body
	}
}
