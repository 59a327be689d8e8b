package mbox

import (
	"bytes"
	"slices"
	"strings"

	"packetboat/internal/store"
)

// maxKeywords is the number of keywords one mailbox may have: the bits of
// store.Msg.Keywords.
const maxKeywords = 64

// maxKeyword is the longest keyword in octets.
const maxKeyword = 255

// keywords is the list of a mailbox's keywords. It only grows, and what was
// handed out in a Snapshot is never changed.
type keywords struct{ names []string }

// bit returns the bit of a keyword; 0 when there is no room for another one.
// Names differ whatever their case (RFC 3501 section 9, flag-keyword).
func (k *keywords) bit(name []byte) uint64 {
	for i, n := range k.names {
		if len(n) == len(name) && strings.EqualFold(n, string(name)) {
			return 1 << i
		}
	}
	if len(k.names) >= maxKeywords || !validKeyword(name) {
		return 0
	}
	k.names = append(slices.Clip(k.names), string(name))
	return 1 << (len(k.names) - 1)
}

// validKeyword tells whether name is an atom that a header line can hold.
func validKeyword(name []byte) bool {
	if len(name) == 0 || len(name) > maxKeyword {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// ownLine looks at a header line: if it is one of the mbox's own, its value is
// taken and it is no part of the message.
func (s *scanner) ownLine(line []byte, first bool) bool {
	switch line[0] | 32 {
	case 's', 'x', 'c', 'l':
	default:
		return false
	}
	name := fieldName(line)
	if name == nil {
		return false
	}
	if equalFold(name, "lines") {
		// Part of the message for readers, but mutt adds it: not in the digest.
		s.sum(s.start)
		s.hashAt = s.start + len(line)
		return false
	}
	if !isOwn(name) {
		return false
	}
	s.cur.rec.bare = false
	s.ownField(name, bytes.TrimSpace(line[bytes.IndexByte(line, ':')+1:]), first)
	return true
}

// ownField takes the value of an own header line.
func (s *scanner) ownField(name, value []byte, first bool) {
	r := &s.cur.rec
	switch {
	case equalFold(name, "status"):
		r.flags |= letters(value, "R", store.Seen)
		r.old = r.old || bytes.IndexByte(value, 'O') >= 0
	case equalFold(name, "x-status"):
		r.flags |= letters(value, "A", store.Answered) | letters(value, "F", store.Flagged) |
			letters(value, "D", store.Deleted) | letters(value, "T", store.Draft)
	case equalFold(name, "x-keywords"):
		for _, word := range bytes.Fields(value) {
			r.kw |= s.keys.bit(word)
		}
	case equalFold(name, "x-uid"):
		s.state.uid = uint32(max(decimal(value), 0))
	case equalFold(name, "content-length"):
		s.state.length = decimal(value)
	case first && !s.base.found: // X-IMAPbase, X-IMAP
		s.baseField(value)
		s.state.pseudo = equalFold(name, "x-imap") && s.base.found
	}
}

func letters(value []byte, letter string, f store.Flag) store.Flag {
	if bytes.Contains(value, []byte(letter)) {
		return f
	}
	return 0
}

// baseField reads "UIDVALIDITY LASTUID keyword ...".
func (s *scanner) baseField(value []byte) {
	words := bytes.Fields(value)
	if len(words) < 2 {
		return
	}
	validity, last := decimal(words[0]), decimal(words[1])
	if validity <= 0 || last < 0 {
		return
	}
	s.base = base{found: true, validity: uint32(validity), last: uint32(last), names: len(words) - 2}
	for _, word := range words[2:] {
		s.keys.bit(word)
	}
}

// decimal reads a number of up to 32 bits, which may be padded with zeros;
// -1 when it is none. Content-Length of larger messages is not believed.
func decimal(b []byte) int64 {
	if len(b) == 0 || len(b) > 20 {
		return -1
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' || n > 1<<32 {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	if n > 1<<32-1 {
		return -1
	}
	return n
}
