package checks

import (
	"bytes"
	"strings"
)

// token is one word of a structured field: kind 'a' for an atom, '"' for a
// quoted string, else the special itself.
type token struct {
	kind byte
	text string
}

func (t token) is(word string) bool { return t.kind == 'a' && strings.EqualFold(t.text, word) }

// maxTokens is how many words of each parameter are looked at: name = value.
const maxTokens = 3

// specials are the tspecials of RFC 2045 section 5.1 and what ends a word.
const specials = "()<>@,;:\\\"/[]?="

// words reads up to the next ";" and returns the first words and the rest;
// more is false at the end of the value.
func words(b []byte, special string) (toks []token, rest []byte, more bool) {
	i := 0
	add := func(t token) {
		if len(toks) < maxTokens {
			toks = append(toks, t)
		}
	}
	for i < len(b) {
		switch c := b[i]; {
		case isSpace(c):
			i++
		case c == ';' && special != "":
			return toks, b[i+1:], true
		case c == '(':
			i = skipComment(b, i+1)
		case c == '"':
			text, end := quoted(b, i+1)
			add(token{'"', text})
			i = end
		case strings.IndexByte(special, c) >= 0:
			add(token{c, string(c)})
			i++
		default:
			end := i
			for end < len(b) && !isSpace(b[end]) && b[end] != '(' && b[end] != '"' && strings.IndexByte(special, b[end]) < 0 {
				end++
			}
			add(token{'a', string(b[i:end])})
			i = end
		}
	}
	return toks, nil, len(toks) > 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// skipComment returns the index behind the comment that began before i.
func skipComment(b []byte, i int) int {
	for depth := 1; i < len(b) && depth > 0; i++ {
		switch b[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		}
	}
	return min(i, len(b))
}

// quoted reads a quoted-string from behind its first quote.
func quoted(b []byte, i int) (text string, end int) {
	var s strings.Builder
	for ; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
		}
		if b[i] != '\n' {
			s.WriteByte(b[i])
		}
	}
	return s.String(), min(i+1, len(b))
}

// contentType learns from the value of Content-Type. Several boundaries, which
// no standard allows and which could hide a part from one reader, all count.
func (w *Walker) contentType(value, field []byte) {
	toks, rest, _ := words(value, specials)
	if len(toks) == 0 {
		w.cur.ctype = typeOther
		return
	}
	sub := token{}
	if len(toks) == maxTokens && toks[1].kind == '/' {
		sub = toks[2]
	}
	switch {
	case toks[0].is("text"):
		w.cur.ctype, w.cur.sub = typeText, subOther
	case toks[0].is("message"):
		w.cur.ctype, w.cur.sub = typeMessage, messageKind(sub)
	case toks[0].is("multipart"):
		w.cur.ctype = typeMultipart
		w.boundaries(rest, sub.is("digest"), field)
	}
}

func messageKind(sub token) uint8 {
	switch {
	case sub.is("rfc822"):
		return subRFC822
	case sub.is("partial"), sub.is("external-body"):
		return subPartial
	case sub.is("global"):
		return subGlobal
	}
	return subOther
}

// boundaries remembers the boundary parameters of a multipart.
func (w *Walker) boundaries(params []byte, digest bool, field []byte) {
	for more := true; more; {
		var toks []token
		toks, params, more = words(params, specials)
		if len(toks) < maxTokens || !toks[0].is("boundary") || toks[1].kind != '=' {
			continue
		}
		if len(w.marks)-1 > w.o.Nesting {
			w.fault(FaultNesting, field)
			continue
		}
		text := toks[2].text
		w.marks = append(w.marks, mark{[]byte(text[:min(len(text), w.o.Boundary)]), digest})
	}
}

// encoding learns from the value of Content-Transfer-Encoding (RFC 2045 section 6).
func (w *Walker) encoding(value []byte) {
	toks, _, _ := words(bytes.TrimSpace(value), "")
	if len(toks) == 0 || toks[0].kind != 'a' {
		return
	}
	for enc := enc7Bit; enc <= encQP; enc++ {
		if toks[0].is(encodingName(enc)) {
			w.cur.enc, w.cur.domain = enc, enc
			if enc >= encBase64 {
				w.cur.domain = enc7Bit
			}
		}
	}
}

// encodingName is the word of RFC 2045 section 6.1 for an encoding.
func encodingName(enc uint8) string {
	switch enc {
	case enc7Bit:
		return "7bit"
	case enc8Bit:
		return "8bit"
	case encBinary:
		return "binary"
	case encBase64:
		return "base64"
	}
	return "quoted-printable"
}
