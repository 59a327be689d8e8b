// Package lex reads the lines of dovecot.conf files and of those that they
// include: what the syntaxes of Dovecot 2.3 and 2.4 have in common. Packages
// dovecot and newer give the lines a meaning.
package lex

import (
	"strings"
)

// Kind is what a line of dovecot.conf is.
type Kind int

// The kinds of lines.
const (
	Skip     Kind = iota // empty or a comment
	More                 // ends in \, the next line continues it
	Bad                  // Value says why
	Include              // Value is a path or pattern
	Try                  // the same, and it need not exist
	Begin                // Key [Value] {
	End                  // }
	Value                // Key = Value
	File                 // Key = <Value
	Variable             // Key = Value with $names
	Group                // group Key Value { (2.4 only)
)

// Line is one logical line.
type Line struct {
	Kind       Kind
	Key, Value string
	Quoted     bool // the value stood in quotes
	Ambiguous  bool // a # without white space before it began a comment
}

func isWhite(c byte) bool { return c == ' ' || c == '\t' }

func skipWhite(s string) string {
	i := 0
	for i < len(s) && isWhite(s[i]) {
		i++
	}
	return s[i:]
}

func trimWhite(s string) string {
	s = skipWhite(s)
	for s != "" && isWhite(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// Parse reads one physical line of the syntax of 2.3; before is the text of the lines
// that it continues. The value of a More is the text so far.
func Parse(line, before string) Line { return parse(line, before, false) }

// ParseNewer is Parse for the syntax of 2.4, in which keys may stand in quotes and
// "group @LABEL NAME {" begins a group.
func ParseNewer(line, before string) Line { return parse(line, before, true) }

func parse(line, before string, newer bool) Line {
	line = skipWhite(line)
	if line == "" || line[0] == '#' {
		return Line{Kind: Skip}
	}
	line, ambiguous := cutComment(line)
	line = trimWhite(line)
	if strings.HasSuffix(line, "\\") {
		if line = trimWhite(line[:len(line)-1]); line != "" {
			before += line + " "
		}
		return Line{Kind: More, Value: before, Ambiguous: ambiguous}
	}
	l := split(before+line, newer)
	l.Ambiguous = ambiguous
	return l
}

// cutComment takes a comment off the end of a line. Quotes of both kinds
// protect a #; a quote that never ends protects the rest of the line.
func cutComment(line string) (text string, ambiguous bool) {
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case '\'', '"':
			for i++; i < len(line) && line[i] != c; i++ {
				if line[i] == '\\' && i+1 < len(line) {
					i++
				}
			}
		case '#':
			return line[:i], i > 0 && !isWhite(line[i-1])
		}
	}
	return line, false
}

// split takes a whole line apart.
func split(line string, newer bool) Line {
	key, rest := cutKey(line, newer)
	if label, after := cutWord(rest); newer && key == "group" && strings.HasPrefix(label, "@") {
		l := splitSection(label, after)
		if l.Kind == Begin {
			l.Kind = Group
		}
		return l
	}
	switch {
	case key == "!include":
		return Line{Kind: Include, Key: key, Value: rest}
	case key == "!include_try":
		return Line{Kind: Try, Key: key, Value: rest}
	case strings.HasPrefix(rest, "="):
		return splitSetting(key, skipWhite(rest[1:]))
	case key == "}" && rest == "":
		return Line{Kind: End}
	}
	return splitSection(key, rest)
}

// cutKey takes the first word off a line; in the newer syntax it may be quoted.
func cutKey(line string, newer bool) (key, rest string) {
	if newer && strings.HasPrefix(line, `"`) {
		for i := 1; i < len(line); i++ {
			switch line[i] {
			case '\\':
				i++
			case '"':
				return unescape(line[1:i]), skipWhite(line[i+1:])
			}
		}
		return unescape(line[1:]), ""
	}
	i := 0
	for i < len(line) && !isWhite(line[i]) && line[i] != '=' {
		i++
	}
	return line[:i], skipWhite(line[i:])
}

func cutWord(s string) (word, rest string) {
	i := 0
	for i < len(s) && !isWhite(s[i]) {
		i++
	}
	return s[:i], skipWhite(s[i:])
}

func splitSetting(key, value string) Line {
	if strings.HasPrefix(value, "<") {
		return Line{Kind: File, Key: key, Value: skipWhite(value[1:])}
	}
	quoted := value != "" && (value[0] == '"' || value[0] == '\'')
	if !quoted && strings.Contains(value, "$") {
		return Line{Kind: Variable, Key: key, Value: value}
	}
	if quoted = quoted && len(value) > 1 && value[len(value)-1] == value[0]; quoted {
		value = unescape(value[1 : len(value)-1])
	}
	return Line{Kind: Value, Key: key, Value: value, Quoted: quoted}
}

// splitSection reads "kind {", "kind name {" and "kind "name" {".
func splitSection(key, rest string) Line {
	name := ""
	switch {
	case strings.HasPrefix(rest, "{"):
	case strings.HasPrefix(rest, "\""):
		end := strings.IndexByte(rest[1:], '"')
		if end < 0 {
			return Line{Kind: Bad, Key: key, Value: "Expecting '{'"}
		}
		name, rest = unescape(rest[1:end+1]), skipWhite(rest[end+2:])
	default:
		name, rest = cutWord(rest)
	}
	switch {
	case !strings.HasPrefix(rest, "{"):
		return Line{Kind: Bad, Key: key, Value: "Expecting '{'"}
	case rest != "{":
		return Line{Kind: Bad, Key: key, Value: "Garbage after '{'"}
	}
	return Line{Kind: Begin, Key: key, Value: name}
}

// unescape takes the backslashes out of a quoted string.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
