package message

import "bytes"

// Envelope holds the fields of IMAP's ENVELOPE (RFC 3501 section 7.4.2) as
// they came, unfolded; nil = absent. Address fields that come several times
// are one list.
type Envelope struct {
	Date, Subject                      []byte
	From, Sender, ReplyTo, To, Cc, Bcc []byte
	InReplyTo, MessageID               []byte
}

func (e *Envelope) slot(slot int) *[]byte {
	switch slot {
	case slotDate:
		return &e.Date
	case slotSubject:
		return &e.Subject
	case slotFrom:
		return &e.From
	case slotSender:
		return &e.Sender
	case slotReplyTo:
		return &e.ReplyTo
	case slotTo:
		return &e.To
	case slotCc:
		return &e.Cc
	case slotBcc:
		return &e.Bcc
	case slotInReplyTo:
		return &e.InReplyTo
	}
	return &e.MessageID
}

// fieldEnd stands between the values of address fields that came several
// times: garbage in one must not hide the next.
const fieldEnd = 0

func (e *Envelope) keep(slot int, value []byte) {
	f := e.slot(slot)
	if isList := slot >= slotFrom && slot <= slotBcc; isList && len(*f) > 0 {
		*f = append(append(*f, fieldEnd), value...)
		return
	}
	*f = append([]byte{}, value...)
}

// EnvAddress is one address of an ENVELOPE. A nil slice is NIL. The start of a
// group has only Mailbox, its end has nothing at all.
type EnvAddress struct{ Name, Route, Mailbox, Host []byte }

// EachEnvAddress reads an address field as Dovecot reads it and calls yield for each
// address until it returns false. The slices are good until yield returns. What
// cannot be understood is shown as MISSING_MAILBOX, MISSING_DOMAIN or
// SYNTAX_ERROR, so that the client sees that something stood there.
func EachEnvAddress(field []byte, yield func(EnvAddress) bool) {
	a := addrParser{yield: yield}
	for one := range bytes.SplitSeq(field, []byte{fieldEnd}) {
		a.scanner = scanner{data: one}
		if a.space() && !a.ended {
			a.list(false)
		}
	}
}

// addrParser reads one address field.
type addrParser struct {
	scanner
	yield func(EnvAddress) bool
	ended bool // yield wants no more

	name, route, mailbox, host []byte // the address being read; nil = none
}

// list reads addresses with commas between them, or within a group up to ";".
func (a *addrParser) list(group bool) {
	for !a.ended {
		if !group && a.group() {
			// A group has told its members itself.
		} else {
			a.address()
		}
		if a.end() || a.broken || group && a.at(';') {
			return
		}
		if !a.eat(',') || !a.space() {
			return // Dovecot gives up at the first garbage
		}
	}
}

// group reads "phrase: members;". Nothing is used up if it is no group.
func (a *addrParser) group() bool {
	start := a.i
	name, ok := a.phrase(nil)
	if !ok || !a.eat(':') {
		a.i, a.broken = start, false
		return false
	}
	a.tell(EnvAddress{Mailbox: name})
	if a.space() && !a.at(';') {
		a.list(true)
	}
	if a.eat(';') {
		a.space()
	}
	a.tell(EnvAddress{})
	return true
}

func (a *addrParser) tell(e EnvAddress) {
	if !a.ended {
		a.ended = !a.yield(e)
	}
}

// address reads "phrase <addr>" or a bare address.
func (a *addrParser) address() {
	a.name, a.route, a.mailbox, a.host = nil, nil, nil, nil
	start := a.i
	name, _ := a.phrase(nil)
	stop := a.i
	if !a.broken && a.at('<') {
		if len(name) > 0 {
			a.name = name
		}
		if !a.angle() {
			a.host = []byte("SYNTAX_ERROR")
		}
	} else {
		a.i, a.broken = start, false
		a.bare()
		if a.i < stop && a.host == nil && !a.broken {
			a.i, a.name, a.mailbox = stop, name, nil // several words, and no address
		}
	}
	a.fill()
	a.tell(EnvAddress{a.name, a.route, a.mailbox, a.host})
}

// fill puts words where something is missing.
func (a *addrParser) fill() {
	if len(a.mailbox) == 0 {
		a.mailbox = []byte("MISSING_MAILBOX")
	}
	if len(a.host) == 0 {
		a.host = []byte("MISSING_DOMAIN")
	}
}

// phrase reads words onto dst, one space between two of them.
func (a *addrParser) phrase(dst []byte) (out []byte, ok bool) {
	if a.end() || a.at('.') {
		return dst, false
	}
	for {
		if a.at('"') {
			dst, ok = a.quoted(dst)
		} else {
			dst, ok = a.atomOrDot(dst)
		}
		if !ok {
			return dst, false
		}
		if !a.space() {
			return dst, false
		}
		if c := a.data[a.i]; !isAtext(c) && c != '"' && c != '.' {
			return dst, true
		}
		dst = append(dst, ' ')
	}
}

func (a *addrParser) atomOrDot(dst []byte) ([]byte, bool) {
	start := a.i
	for a.i < len(a.data) && (isAtext(a.data[a.i]) || a.data[a.i] == '.') {
		a.i++
	}
	return append(dst, a.data[start:a.i]...), a.i > start
}

// angle reads "<route:local@domain>".
func (a *addrParser) angle() bool {
	a.i++
	if !a.space() {
		return false
	}
	if a.at('@') && !a.sourceRoute() {
		return false
	}
	if !a.at('>') {
		if !a.local() {
			return false
		}
		if a.at('@') && !a.domain() {
			return false
		}
	}
	if !a.eat('>') {
		return false
	}
	a.space()
	return !a.broken
}

// sourceRoute reads "@a,@b:" (RFC 822 section 6.1).
func (a *addrParser) sourceRoute() bool {
	start := a.i
	for a.i < len(a.data) && a.data[a.i] != ':' && a.data[a.i] != '>' {
		a.i++
	}
	if !a.at(':') {
		return false
	}
	a.route = bytes.TrimSpace(a.data[start:a.i])
	a.i++
	return a.space()
}

// local reads the part before the "@".
func (a *addrParser) local() (ok bool) {
	if a.at('"') {
		a.mailbox, ok = a.quoted([]byte{})
		if ok {
			a.space()
		}
	} else {
		a.mailbox, ok = a.dotAtom([]byte{})
	}
	return ok && !a.broken
}

// domain reads "@" and what follows: a dot-atom or a domain literal.
func (a *addrParser) domain() (ok bool) {
	a.i++
	if !a.space() {
		return false
	}
	if !a.at('[') {
		a.host, ok = a.dotAtom([]byte{})
		return ok
	}
	end := bytes.IndexByte(a.data[a.i:], ']')
	if end < 0 {
		return false
	}
	a.host = bytes.Clone(a.data[a.i : a.i+end+1])
	a.i += end + 1
	a.space()
	return !a.broken
}

// bare reads an address without angle brackets. A comment behind it is the
// name, as RFC 822 mailers wrote it; words without "@" are a name as well.
func (a *addrParser) bare() {
	a.comment = a.comment[:0]
	ok := a.local()
	if a.at('@') && !a.broken {
		ok = a.domain()
	}
	switch {
	case len(a.comment) > 0 && !a.broken:
		a.name = bytes.Clone(a.comment)
	case !ok && a.host == nil && len(a.mailbox) > 0:
		a.name, a.mailbox = a.mailbox, nil
	}
}
