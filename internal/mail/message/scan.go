package message

import "bytes"

// scanner reads the structured fields of RFC 5322 and RFC 2045 as leniently
// as Dovecot's rfc822-parser does.
type scanner struct {
	data    []byte
	i       int
	comment []byte // the last comment that was skipped
	broken  bool   // a comment or string did not end
}

func (s *scanner) end() bool { return s.i >= len(s.data) }

// at tells whether c comes next.
func (s *scanner) at(c byte) bool { return s.i < len(s.data) && s.data[s.i] == c }

// eat uses c up if it comes next.
func (s *scanner) eat(c byte) bool {
	if s.at(c) {
		s.i++
		return true
	}
	return false
}

// space skips white space and comments and tells whether something follows.
func (s *scanner) space() bool {
	for s.i < len(s.data) {
		switch s.data[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		case '(':
			if !s.skipComment() {
				s.broken = true
				return false
			}
		default:
			return true
		}
	}
	return false
}

// skipComment skips a comment, which may hold others; it tells whether it ended.
func (s *scanner) skipComment() bool {
	s.comment = s.comment[:0]
	depth := 0
	for ; s.i < len(s.data); s.i++ {
		c := s.data[s.i]
		switch c {
		case '(':
			if depth++; depth == 1 {
				continue
			}
		case ')':
			if depth--; depth == 0 {
				s.i++
				return true
			}
		case '\\':
			if s.i++; s.i >= len(s.data) {
				return false
			}
			c = s.data[s.i]
		}
		s.comment = append(s.comment, c)
	}
	return false
}

func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		return true
	}
	return c != 0 && bytes.IndexByte([]byte("!#$%&'*+-/=?^_`{|}~"), c) >= 0
}

// isToken: RFC 2045 section 5.1; bytes above 127 are let through.
func isToken(c byte) bool {
	return c > ' ' && c != 0x7f && bytes.IndexByte([]byte(`()<>@,;:\"/[]?=`), c) < 0
}

// token reads a MIME token; nil if there is none.
func (s *scanner) token() []byte {
	a := s.i
	for s.i < len(s.data) && isToken(s.data[s.i]) {
		s.i++
	}
	if s.i == a {
		return nil
	}
	return s.data[a:s.i]
}

// value reads a parameter's value: a quoted string, or all up to white space
// or ";", for values that should have been quoted come often.
func (s *scanner) value() (value []byte, ok bool) {
	if s.at('"') {
		value, ok = s.quoted([]byte{})
		return value, ok
	}
	a := s.i
	for s.i < len(s.data) && isValue(s.data[s.i]) {
		s.i++
	}
	return bytes.Clone(s.data[a:s.i]), s.i > a
}

func isValue(c byte) bool { return c != ';' && c != ' ' && c != '\t' && c != '\r' && c != '\n' }

// quoted reads a quoted string onto dst.
func (s *scanner) quoted(dst []byte) ([]byte, bool) {
	for s.i++; s.i < len(s.data); s.i++ {
		c := s.data[s.i]
		switch c {
		case '"':
			s.i++
			return dst, true
		case '\r', '\n':
			continue
		case '\\':
			if s.i++; s.i >= len(s.data) {
				s.broken = true
				return dst, false
			}
			c = s.data[s.i]
		}
		dst = append(dst, c)
	}
	s.broken = true
	return dst, false
}

// atom reads an atom onto dst.
func (s *scanner) atom(dst []byte) ([]byte, bool) {
	a := s.i
	for s.i < len(s.data) && isAtext(s.data[s.i]) {
		s.i++
	}
	return append(dst, s.data[a:s.i]...), s.i > a
}

// dotAtom reads a dot-atom onto dst; white space around dots is allowed, as
// in RFC 822, and so are dots in a row, which some systems have.
func (s *scanner) dotAtom(dst []byte) (out []byte, ok bool) {
	for {
		if dst, ok = s.atom(dst); !ok && (len(dst) == 0 || !s.at('.')) {
			return dst, false
		}
		s.space()
		if s.broken || !s.eat('.') {
			return dst, !s.broken
		}
		dst = append(dst, '.')
		if !s.space() {
			return dst, !s.broken
		}
	}
}
