package milter

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Editor carries out what milters want changed. A Reply other than the zero one
// says that it could not: the milter's further wishes are read and passed over.
// Positions count from 1. space is what stands between a header's colon and its
// value: a blank, or nothing where the milter writes its own.
type Editor interface {
	AddHeader(name, space, value string) Reply
	InsertHeader(position int, name, space, value string) Reply
	ChangeHeader(occurrence int, name, space, value string) Reply
	DeleteHeader(occurrence int, name string) Reply
	ChangeFrom(address, params string) Reply
	AddRcpt(address, params string) Reply
	DelRcpt(address string) Reply
	// BeginBody, WriteBody (LF line ends) and EndBody put another body in place of
	// the message's.
	BeginBody() Reply
	WriteBody(p []byte) Reply
	EndBody() Reply
}

// edits reads a milter's modifications and gives them to the editor.
type edits struct {
	ed    Editor
	space string
	fault string // what cannot be read, or makes no sense
	resp  Reply  // the editor's first failure

	body   bool // a body is being replaced
	closed bool // it was, and something else came: no more of it
	cr     bool // the last octet was a CR
	last   byte // written to the body
	buf    []byte
}

// apply carries out one modification; false for what cannot be read.
func (e *edits) apply(code byte, data []byte) bool {
	switch code {
	case ansAddHeader:
		name, value, ok := twoStrings(data)
		return ok && e.do(func() Reply { return e.ed.AddHeader(name, e.space, value) })
	case ansInsHeader, ansChgHeader:
		return e.indexed(code, data)
	case ansAddRcpt, ansDelRcpt:
		addr, rest, ok := cutString(data)
		if code == ansDelRcpt {
			return ok && len(rest) == 0 && e.do(func() Reply { return e.ed.DelRcpt(addr) })
		}
		return ok && len(rest) == 0 && e.do(func() Reply { return e.ed.AddRcpt(addr, "") })
	case ansAddRcptPar, ansChgFrom:
		addr, rest, ok := cutString(data)
		params := strings.TrimRight(string(rest), "\x00")
		if code == ansChgFrom {
			return ok && e.do(func() Reply { return e.ed.ChangeFrom(addr, params) })
		}
		return ok && e.do(func() Reply { return e.ed.AddRcpt(addr, params) })
	case ansBody:
		return e.replaceBody(data)
	}
	return false
}

// do runs one change, unless one failed before.
func (e *edits) do(change func() Reply) bool {
	if e.resp.Verdict == Go {
		e.resp = change()
	}
	return true
}

// indexed inserts, changes or (with an empty value) deletes a header.
func (e *edits) indexed(code byte, data []byte) bool {
	if len(data) < 4 {
		e.fault = "input packet too short for network long"
		return false
	}
	index := int(int32(binary.BigEndian.Uint32(data)))
	name, value, ok := twoStrings(data[4:])
	switch {
	case !ok:
		return false
	case code == ansInsHeader && index < 0:
		e.fault = "bad insert header index"
		return false
	case code == ansInsHeader: // 0 is the top
		return e.do(func() Reply { return e.ed.InsertHeader(index+1, name, e.space, value) })
	case index < 0:
		e.fault = "bad change header index"
		return false
	case name == "":
		e.fault = "null change header name"
		return false
	}
	index = max(index, 1) // as Sendmail
	if value == "" {
		return e.do(func() Reply { return e.ed.DeleteHeader(index, name) })
	}
	return e.do(func() Reply { return e.ed.ChangeHeader(index, name, e.space, value) })
}

// twoStrings reads two strings with NUL behind each, and nothing more.
func twoStrings(b []byte) (first, second string, ok bool) {
	first, b, ok = cutString(b)
	if !ok {
		return "", "", false
	}
	second, b, ok = cutString(b)
	return first, second, ok && len(b) == 0
}

func cutString(b []byte) (text string, rest []byte, ok bool) {
	before, rest, ok := bytes.Cut(b, []byte{0})
	return string(before), rest, ok
}

// replaceBody takes a piece of the new body, with CRLF line ends.
func (e *edits) replaceBody(data []byte) bool {
	if e.closed {
		e.fault = "body replacement requests can't currently be mixed with other requests"
		return false
	}
	if !e.body {
		e.body, e.last = true, '\n'
		e.do(e.ed.BeginBody)
	}
	e.buf = e.buf[:0]
	for _, c := range data {
		if e.cr && c != '\n' {
			e.buf = append(e.buf, ' ') // a CR that ends no line
		}
		if e.cr = c == '\r'; !e.cr {
			e.buf = append(e.buf, c)
		}
	}
	e.write(e.buf)
	return true
}

func (e *edits) write(p []byte) {
	if len(p) > 0 {
		e.last = p[len(p)-1]
		e.do(func() Reply { return e.ed.WriteBody(p) })
	}
}

// endBody ends a body that was being replaced.
func (e *edits) endBody() {
	if !e.body {
		return
	}
	e.body, e.closed = false, true
	if e.cr {
		e.write([]byte{' '})
	}
	if e.last != '\n' {
		e.write([]byte{'\n'})
	}
	e.do(e.ed.EndBody)
}

// result is the milter's answer, or the failure of a change where the answer
// would let the message through or refuse it for good.
func (e *edits) result(r Reply) Reply {
	if e.resp.Verdict == Go || r.Verdict == Discard || r.Verdict == Shutdown || r.Temporary() {
		return r
	}
	return e.resp
}
