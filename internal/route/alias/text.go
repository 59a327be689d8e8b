// Package alias reads aliases(5) and says where a local name leads: to
// addresses, commands, files and :include: files. It expands names through
// several alias tables, with owner- aliases, and stops at loops. It starts
// nothing and delivers nothing: its results are destinations with the account
// whose rights count.
package alias

import (
	"errors"
	"strings"
)

// kind is what a token is.
type kind uint8

const (
	atom kind = iota
	quoted
	literal // [domain literal]
	comment
	special // one character
)

// token is one word of an address list in the grammar of RFC 822.
type token struct {
	kind kind
	text string // without quotes, brackets or parentheses
}

// specials end an atom.
const specials = "()<>@,;:\"[].%!|"

// maxTokens bounds one alias: a list of a hundred thousand members.
const maxTokens = 1 << 20

// errTooLong is told of an alias with more than maxTokens words.
var errTooLong = errors.New("alias has too many words")

// scan divides s into tokens. It never fails on what it does not understand:
// missing ends of quotes, brackets and comments stand at the end of s.
func scan(s string) ([]token, error) {
	var list []token
	for i := 0; i < len(s); {
		var t token
		var n int
		switch c := s[i]; {
		case isSpace(c):
			i++
			continue
		case c == '"':
			t.kind = quoted
			t.text, n = until(s[i:], '"')
		case c == '[':
			t.kind = literal
			t.text, n = until(s[i:], ']')
		case c == '(':
			t.kind = comment
			n = commentLen(s[i:])
			t.text = s[i : i+n]
		case strings.IndexByte(specials, c) >= 0:
			t, n = token{special, s[i : i+1]}, 1
		default:
			t.text, n = atomOf(s[i:])
		}
		list = append(list, t)
		i += n
		if len(list) > maxTokens {
			return nil, errTooLong
		}
	}
	return list, nil
}

func isSpace(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

// until reads from behind the first byte to end, and takes backslashes away.
func until(s string, end byte) (text string, n int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == end:
			return b.String(), i + 1
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), len(s)
}

// commentLen returns the length of the comment that s begins with; comments
// stand inside each other.
func commentLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// atomOf reads a word; a backslash keeps the next character in it.
func atomOf(s string) (text string, n int) {
	var b strings.Builder
	for n < len(s) && !isSpace(s[n]) && strings.IndexByte(specials, s[n]) < 0 {
		if s[n] == '\\' {
			if n++; n == len(s) {
				break
			}
		}
		b.WriteByte(s[n])
		n++
	}
	return b.String(), n
}

// is tells whether t is the special character c.
func (t token) is(c byte) bool { return t.kind == special && t.text[0] == c }

// word tells whether a blank stands between t and another word.
func (t token) word() bool { return t.kind != special }

// internal writes tokens in internal form: no quotes, no comments.
func internal(list []token) string {
	var b strings.Builder
	var last *token
	for i := range list {
		t := &list[i]
		if t.kind == comment {
			continue
		}
		if last != nil && last.word() && t.word() {
			b.WriteByte(' ')
		}
		if t.kind == literal {
			b.WriteString("[" + t.text + "]")
		} else {
			b.WriteString(t.text)
		}
		last = t
	}
	return b.String()
}

// external writes tokens so that scan finds them again: the form in which
// postalias(1) stores values.
func external(list []token) string {
	var b strings.Builder
	for i, t := range list {
		if i > 0 && list[i-1].word() && (t.word() || t.is('<')) {
			b.WriteByte(' ')
		}
		switch t.kind {
		case quoted:
			b.WriteString(quote(t.text))
		case literal:
			b.WriteString("[" + escape(t.text, `]\`) + "]")
		case atom:
			b.WriteString(atomText(t.text))
		default:
			b.WriteString(t.text)
		}
		if t.is(',') {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// atomText writes an atom as it was, or quoted where a backslash had put a
// special character into it.
func atomText(s string) string {
	if s == "" || strings.ContainsAny(s, specials+"\\ \t\r\n\v\f") {
		return quote(s)
	}
	return s
}

// quote writes s between double quotes.
func quote(s string) string { return `"` + escape(s, `"\`) + `"` }

// escape puts a backslash before each of some characters.
func escape(s, which string) string {
	if !strings.ContainsAny(s, which) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(which, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// The mistakes of a line, in the words of postalias(1).
var (
	errPair  = errors.New("need name:value pair")
	errLocal = errors.New("name must be local")
)

// ParseLine divides a logical line of an alias file into the name, unquoted,
// and the value in the form that postalias(1) stores.
func ParseLine(line string) (name, value string, err error) {
	list, err := scan(line)
	if err != nil {
		return "", "", err
	}
	colon := 0
	for colon < len(list) && !list[colon].is(':') {
		colon++
	}
	if colon == 0 || colon >= len(list)-1 {
		return "", "", errPair
	}
	for _, t := range list[:colon] {
		switch {
		case t.is(','):
			return "", "", errPair
		case t.is('@'), t.is('%'):
			return "", "", errLocal
		}
	}
	return internal(list[:colon]), external(list[colon+1:]), nil
}

// Item is one member of an alias' value.
type Item struct {
	Kind Kind
	Text string // address in internal form, command without "|", or path
}

// Kind says what an alias leads to.
type Kind uint8

// The values of Kind.
const (
	Address Kind = iota // user or user@domain
	Command             // "|command"
	File                // /file/name; with a "/" at its end a maildir
	Include             // :include:/file/name
	Home                // ~/name, a file below the home folder; "~" is in Text
)

// includePrefix begins an :include: item, in any case.
const includePrefix = ":include:"

// Parse reads an alias' value: addresses, commands, files and :include: files,
// separated by commas. Names of groups and comments are dropped, of
// "Name <address>" the address counts (RFC 822 section 6.1).
func Parse(value string) ([]Item, error) {
	list, err := scan(value)
	if err != nil {
		return nil, err
	}
	var items []Item
	inGroup := groups(list)
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && !list[to].is(',') && !list[to].is(';') {
			to++
		}
		if it, ok := itemOf(member(list[from:to], to < len(list) && inGroup[to])); ok {
			items = append(items, it)
		}
		from = to + 1
	}
	return items, nil
}

// member cuts off what is no address: the name of a group that a later ";"
// ends, and everything around < >.
func member(list []token, inGroup bool) []token {
	if inGroup {
		for i := range list {
			if list[i].is(':') && i > 0 {
				list = list[i+1:]
				break
			}
		}
	}
	for i := range list {
		if !list[i].is('<') {
			continue
		}
		inner := list[i+1:]
		for j := range inner {
			if inner[j].is('>') {
				return inner[:j]
			}
		}
		return inner
	}
	return list
}

// groups tells for each token whether a ";" comes at or after it before the
// next ":": whether a group is open there. One walk from the right, because a
// list may be long.
func groups(list []token) []bool {
	open := make([]bool, len(list))
	state := false
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].kind == special {
			switch list[i].text[0] {
			case ';':
				state = true
			case ':':
				state = false
			}
		}
		open[i] = state
	}
	return open
}

// itemOf says what a member is. Nothing but comments is no member; an empty
// quoted string is one: the empty address.
func itemOf(list []token) (Item, bool) {
	said := false
	for _, t := range list {
		said = said || t.kind != comment
	}
	text := internal(list)
	switch {
	case !said:
		return Item{}, false
	case strings.HasPrefix(text, "|"):
		return Item{Command, text[1:]}, true
	case strings.HasPrefix(text, "/"):
		return Item{File, text}, true
	case strings.HasPrefix(text, "~"):
		return Item{Home, text}, true
	case len(text) >= len(includePrefix) && strings.EqualFold(text[:len(includePrefix)], includePrefix):
		return Item{Include, text[len(includePrefix):]}, true
	}
	return Item{Address, text}, true
}

// Quote writes a name so that ParseLine finds it again.
func Quote(name string) string {
	if name == "" || strings.ContainsAny(name, specials+"\\ \t\r\n\v\f") || name[0] == '#' {
		return quote(name)
	}
	return name
}
