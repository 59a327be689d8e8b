package format

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

// Keywords is the list of a mailbox's keywords. It only grows, and what was
// handed out in a Snapshot is never changed.
type Keywords struct{ Names []string }

// Bit returns the bit of a keyword; 0 when there is no room for another one.
// Names differ whatever their case (RFC 3501 section 9, flag-keyword).
func (k *Keywords) Bit(name []byte) uint64 {
	for i, n := range k.Names {
		if len(n) == len(name) && strings.EqualFold(n, string(name)) {
			return 1 << i
		}
	}
	if len(k.Names) >= maxKeywords || !validKeyword(name) {
		return 0
	}
	k.Names = append(slices.Clip(k.Names), string(name))
	return 1 << (len(k.Names) - 1)
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
func (s *Scanner) ownLine(line []byte, first bool) bool {
	switch line[0] | 32 {
	case 's', 'x', 'c', 'l':
	default:
		return false
	}
	name := FieldName(line)
	if name == nil {
		return false
	}
	if equalFold(name, "lines") {
		// Part of the message for readers, but mutt adds it: not in the digest.
		s.state.mutt = s.state.mutt || s.state.lenAt == s.state.fields-1
		s.sum(s.start)
		s.hashAt = s.start + len(line)
		return false
	}
	if !IsOwn(name) {
		return false
	}
	s.cur.Rec.Bare = false
	s.ownField(name, bytes.TrimSpace(line[bytes.IndexByte(line, ':')+1:]), first)
	return true
}

// ownField takes the value of an own header line.
func (s *Scanner) ownField(name, value []byte, first bool) {
	r := &s.cur.Rec
	switch {
	case equalFold(name, "status"):
		r.Flags |= letters(value, "R", store.Seen)
		r.Old = r.Old || bytes.IndexByte(value, 'O') >= 0
	case equalFold(name, "x-status"):
		r.Flags |= letters(value, "A", store.Answered) | letters(value, "F", store.Flagged) |
			letters(value, "D", store.Deleted) | letters(value, "T", store.Draft)
	case equalFold(name, "x-keywords"):
		for _, word := range bytes.Fields(value) {
			r.Kw |= s.keys.Bit(word)
		}
	case equalFold(name, "x-uid"):
		s.state.uid = uint32(max(decimal(value), 0))
	case equalFold(name, "content-length"):
		s.state.length, s.state.lenAt = decimal(value), s.state.fields
	case first && !s.Base.Found: // X-IMAPbase, X-IMAP
		s.baseField(value)
		s.state.pseudo = equalFold(name, "x-imap") && s.Base.Found
	}
}

func letters(value []byte, letter string, f store.Flag) store.Flag {
	if bytes.Contains(value, []byte(letter)) {
		return f
	}
	return 0
}

// baseField reads "UIDVALIDITY LASTUID keyword ...".
func (s *Scanner) baseField(value []byte) {
	words := bytes.Fields(value)
	if len(words) < 2 {
		return
	}
	validity, last := decimal(words[0]), decimal(words[1])
	if validity <= 0 || last < 0 {
		return
	}
	s.Base = Base{Found: true, Validity: uint32(validity), Last: uint32(last), Names: len(words) - 2}
	for _, word := range words[2:] {
		s.keys.Bit(word)
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
