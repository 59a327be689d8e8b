package message

import "bytes"

// header reads the header of t, keeps the fields that BODYSTRUCTURE and
// ENVELOPE show, and returns the boundary of its Content-Type, if any. cut
// says that a boundary of an outer multipart ended the header: no body follows.
func (p *parser) header(t *Part) (boundary []byte, cut bool) {
	start := p.pos
	p.fresh, p.headEOL = true, 0
	for {
		line := p.peek()
		if len(line) == 0 {
			break
		}
		if emptyLine(line) {
			p.lines++
			p.headEOL = lineEnd(line)
			p.skip(len(line))
			break
		}
		if cut = p.atBoundary(line); cut {
			break
		}
		slot := fieldSlot(line)
		if slot == 0 || slot >= slotDate && t.Envelope == nil || p.pos-start > MaxHeader {
			p.skipField()
			continue
		}
		p.unfold()
		p.keep(t, slot, p.field)
	}
	for _, q := range t.Params {
		if bytes.EqualFold(q.Key, []byte("boundary")) {
			boundary = q.Value[:min(len(q.Value), maxBoundary)]
		}
	}
	return boundary, cut
}

// atBoundary tells whether a line of a header is a boundary of an outer
// multipart: the header was cut short.
func (p *parser) atBoundary(line []byte) bool {
	if len(p.marks) == 0 || len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return false
	}
	mark, _ := p.match(line[2:])
	return mark >= 0
}

func emptyLine(line []byte) bool {
	return line[0] == '\n' || line[0] == '\r' && len(line) > 1 && line[1] == '\n'
}

// skipField uses up one line of the header and the lines that continue it.
func (p *parser) skipField() { p.eachPiece(func([]byte, bool) {}) }

// eachPiece uses up a field and calls fn for each piece of it, without line
// ends; next says that the piece begins a continuation line.
func (p *parser) eachPiece(fn func(piece []byte, next bool)) {
	next := false
	for {
		line := p.peek()
		eol := lineEnd(line)
		fn(line[:len(line)-int(eol)], next)
		p.skip(len(line))
		if len(line) == 0 {
			return
		}
		next = eol > 0
		p.headEOL = eol
		if eol > 0 {
			p.lines++
			if c := p.peek(); len(c) == 0 || c[0] != ' ' && c[0] != '\t' || emptyLine(c) {
				return
			}
		}
	}
}

// unfold reads a field into p.field: name, colon and value. A line end inside
// is kept as LF, for whoever shows the text decides what becomes of it.
func (p *parser) unfold() {
	p.field = p.field[:0]
	p.eachPiece(func(piece []byte, next bool) {
		if next {
			p.field = append(p.field, '\n')
		}
		room := min(maxField-len(p.field), len(piece))
		p.field = append(p.field, piece[:max(room, 0)]...)
	})
}

// The slots of the fields that are kept. From slotDate on they are the
// envelope's.
const (
	slotType = 1 + iota
	slotEncoding
	slotID
	slotDescription
	slotDisposition
	slotLanguage
	slotLocation
	slotMD5
	slotVersion
	slotDate
	slotSubject
	slotFrom
	slotSender
	slotReplyTo
	slotTo
	slotCc
	slotBcc
	slotInReplyTo
	slotMessageID
)

// fieldSlot returns the slot of the field that a header line begins with, or 0.
func fieldSlot(line []byte) int {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return 0
	}
	name := bytes.TrimRight(line[:i], " \t")
	if len(name) > len("content-transfer-encoding") || len(name) < 2 {
		return 0
	}
	var low [len("content-transfer-encoding")]byte
	for j, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[j] = c
	}
	if rest, ok := bytes.CutPrefix(low[:len(name)], []byte("content-")); ok {
		return contentSlot(rest)
	}
	return envelopeSlot(low[:len(name)])
}

func contentSlot(name []byte) int {
	switch string(name) {
	case "type":
		return slotType
	case "transfer-encoding":
		return slotEncoding
	case "id":
		return slotID
	case "description":
		return slotDescription
	case "disposition":
		return slotDisposition
	case "language":
		return slotLanguage
	case "location":
		return slotLocation
	case "md5":
		return slotMD5
	}
	return 0
}

func envelopeSlot(name []byte) int {
	switch string(name) {
	case "mime-version":
		return slotVersion
	case "date":
		return slotDate
	case "subject":
		return slotSubject
	case "from":
		return slotFrom
	case "sender":
		return slotSender
	case "reply-to":
		return slotReplyTo
	case "to":
		return slotTo
	case "cc":
		return slotCc
	case "bcc":
		return slotBcc
	case "in-reply-to":
		return slotInReplyTo
	case "message-id":
		return slotMessageID
	}
	return 0
}

// keep stores one field in t, within the message's allowance.
func (p *parser) keep(t *Part, slot int, field []byte) {
	value := field[bytes.IndexByte(field, ':')+1:]
	value = bytes.TrimLeft(value, " \t")
	if p.kept += len(value); p.kept > maxKept {
		return
	}
	if slot >= slotDate {
		t.Envelope.keep(slot, value)
		return
	}
	t.keep(slot, value)
}

// cloneText copies a value; the empty one is not nil.
func cloneText(value []byte) []byte { return append([]byte{}, value...) }

// keep stores a field of MIME. Of several with one name the first counts.
func (t *Part) keep(slot int, value []byte) {
	switch {
	case slot == slotType && t.Type == nil:
		t.contentType(value)
	case slot == slotEncoding && t.Encoding == nil:
		t.Encoding = onlyToken(value)
	case slot == slotID && t.ID == nil:
		t.ID = cloneText(value)
	case slot == slotDescription && t.Description == nil:
		t.Description = cloneText(value)
	case slot == slotDisposition && t.Disposition == nil:
		t.disposition(value)
	case slot == slotLanguage && t.Language == nil:
		t.Language = languages(value)
	case slot == slotLocation && t.Location == nil:
		t.Location = cloneText(value)
	case slot == slotVersion:
		t.MIME = true
	case slot == slotMD5 && t.MD5 == nil:
		t.MD5 = cloneText(value)
	}
}
