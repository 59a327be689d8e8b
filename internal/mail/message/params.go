package message

import (
	"bytes"
	"sort"
	"strconv"
)

// setType fills in what RFC 2045 section 5.2 says of a missing Content-Type.
// A Content-Type that cannot be read is two empty words, as in Dovecot.
func (t *Part) setType(digest bool) {
	switch {
	case t.Type == nil && digest:
		t.Type, t.Subtype = []byte("message"), []byte("rfc822")
	case t.Type == nil:
		t.Type, t.Subtype = []byte("text"), []byte("plain")
	}
	if t.IsText() && !t.hasParam("charset") {
		t.Params = append(t.Params, Param{[]byte("charset"), []byte("us-ascii")})
	}
	t.Multipart = bytes.EqualFold(t.Type, []byte("multipart"))
	t.Message = bytes.EqualFold(t.Type, []byte("message")) && bytes.EqualFold(t.Subtype, []byte("rfc822"))
}

func (t *Part) hasParam(name string) bool {
	for _, q := range t.Params {
		if bytes.EqualFold(q.Key, []byte(name)) {
			return true
		}
	}
	return false
}

// IsText tells whether the part's type is text/*.
func (t *Part) IsText() bool { return bytes.EqualFold(t.Type, []byte("text")) }

// contentType reads "type/subtype; parameters". White space and comments are
// allowed around the slash, and the subtype may be missing, as Dovecot has it.
func (t *Part) contentType(value []byte) {
	t.Type, t.Subtype, t.MIME = []byte{}, []byte{}, true
	s := scanner{data: value}
	s.space()
	typ := s.token()
	s.space()
	if typ != nil && s.end() {
		t.Type = cloneText(typ)
		return
	}
	if typ == nil || !s.eat('/') {
		return
	}
	s.space()
	sub := s.token()
	s.space()
	if !s.end() && !s.at(';') {
		return
	}
	t.Type, t.Subtype = cloneText(typ), cloneText(sub)
	if bytes.EqualFold(typ, []byte("message")) && bytes.EqualFold(sub, []byte("rfc822")) {
		t.Type, t.Subtype = []byte("message"), []byte("rfc822") // Dovecot keeps one bit for it
	}
	t.Params = s.params()
}

// disposition reads "token; parameters" (RFC 2183).
func (t *Part) disposition(value []byte) {
	s := scanner{data: value}
	s.space()
	d := s.token()
	if d == nil {
		return
	}
	t.Disposition = cloneText(d)
	t.DispParams = s.params()
}

// onlyToken returns the MIME token that a value is, or nil.
func onlyToken(value []byte) []byte {
	s := scanner{data: value}
	s.space()
	word := s.token()
	if s.space(); word == nil || !s.end() {
		return nil
	}
	return cloneText(word)
}

// languages reads the list of Content-Language (RFC 3282).
func languages(value []byte) (tags [][]byte) {
	s := scanner{data: value}
	for {
		s.space()
		tag := s.token()
		if tag == nil {
			return tags
		}
		tags = append(tags, bytes.Clone(tag))
		s.space()
		if !s.eat(',') {
			return tags
		}
	}
}

// params reads "; name=value" as often as it comes and puts the pieces of
// RFC 2231 section 3 together.
func (s *scanner) params() (list []Param) {
	var pieces []piece
	for {
		if s.space(); s.end() {
			break
		}
		name, value := s.param()
		if name == nil {
			s.i++ // Dovecot tries again one byte on
			continue
		}
		if pc, ok := split2231(name, value); ok {
			pieces = append(pieces, pc)
			continue
		}
		list = append(list, Param{bytes.Clone(name), value})
	}
	return join2231(list, pieces)
}

// param reads one "; name=value"; the name is nil where there is none.
func (s *scanner) param() (name, value []byte) {
	if !s.eat(';') {
		return nil, nil
	}
	s.space()
	word := s.token()
	s.space()
	if word == nil || !s.eat('=') {
		return nil, nil
	}
	s.space()
	value, ok := s.value()
	if !ok {
		return nil, nil
	}
	return word, value
}

// piece is one "name*number[*]=value".
type piece struct {
	name     []byte
	num      int
	extended bool
	value    []byte
}

// split2231 takes a continuation's name apart (RFC 2231 section 3); ok is
// false for an ordinary name.
func split2231(name, value []byte) (pc piece, ok bool) {
	i := bytes.IndexByte(name, '*')
	if i <= 0 {
		return pc, false
	}
	pc.name, pc.value = name[:i], value
	digits := name[i+1:]
	if n := len(digits); n > 0 && digits[n-1] == '*' {
		pc.extended, digits = true, digits[:n-1]
	}
	if len(digits) == 0 && !pc.extended {
		pc.extended = true // "name*": all of the value in one piece
		return pc, true
	}
	num, err := strconv.Atoi(string(digits))
	if err != nil || num < 0 || len(digits) > 5 {
		return pc, false
	}
	pc.num = num
	return pc, true
}

// join2231 puts pieces that count from 0 without a gap together; the rest is
// passed on as it came, for the client to see.
func join2231(list []Param, pieces []piece) []Param {
	sort.SliceStable(pieces, func(i, j int) bool {
		if c := bytes.Compare(bytes.ToLower(pieces[i].name), bytes.ToLower(pieces[j].name)); c != 0 {
			return c < 0
		}
		return pieces[i].num < pieces[j].num
	})
	for i := 0; i < len(pieces); {
		j := i
		for j < len(pieces) && bytes.EqualFold(pieces[j].name, pieces[i].name) {
			j++
		}
		list = append(list, joinRun(pieces[i:j])...)
		i = j
	}
	return list
}

func joinRun(run []piece) (list []Param) {
	n := 0
	for n < len(run) && run[n].num == n {
		n++
	}
	if n > 0 {
		name := bytes.Clone(run[0].name)
		var value []byte
		for _, pc := range run[:n] {
			if pc.extended && !bytes.HasSuffix(name, []byte("*")) {
				name = append(name, '*')
				if !run[0].extended {
					value = append([]byte("''"), value...) // no charset was named
				}
			}
			value = append(value, pc.value...)
		}
		list = append(list, Param{name, value})
	}
	for _, pc := range run[n:] {
		name := append(bytes.Clone(pc.name), '*')
		name = strconv.AppendInt(name, int64(pc.num), 10)
		if pc.extended {
			name = append(name, '*')
		}
		list = append(list, Param{name, pc.value})
	}
	return list
}
