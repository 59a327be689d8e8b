package dovecot

import (
	"strings"
)

// lineKind is what a line of dovecot.conf is.
type lineKind int

const (
	lineSkip     lineKind = iota // empty or a comment
	lineMore                     // ends in \, the next line continues it
	lineBad                      // value says why
	lineInclude                  // value is a path or pattern
	lineTry                      // the same, and it need not exist
	lineBegin                    // key [value] {
	lineEnd                      // }
	lineValue                    // key = value
	lineFile                     // key = <value
	lineVariable                 // key = value with $names
)

// dovecotLine is one logical line.
type dovecotLine struct {
	kind       lineKind
	key, value string
	ambiguous  bool // a # without white space before it began a comment
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

// parseLine reads one physical line; before is the text of the lines
// that it continues. The value of a lineMore is the text so far.
func parseLine(line, before string) dovecotLine {
	line = skipWhite(line)
	if line == "" || line[0] == '#' {
		return dovecotLine{kind: lineSkip}
	}
	line, ambiguous := cutComment(line)
	line = trimWhite(line)
	if strings.HasSuffix(line, "\\") {
		if line = trimWhite(line[:len(line)-1]); line != "" {
			before += line + " "
		}
		return dovecotLine{kind: lineMore, value: before, ambiguous: ambiguous}
	}
	l := splitDovecot(before + line)
	l.ambiguous = ambiguous
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

// splitDovecot takes a whole line apart.
func splitDovecot(line string) dovecotLine {
	i := 0
	for i < len(line) && !isWhite(line[i]) && line[i] != '=' {
		i++
	}
	key, rest := line[:i], skipWhite(line[i:])
	switch {
	case key == "!include":
		return dovecotLine{kind: lineInclude, key: key, value: rest}
	case key == "!include_try":
		return dovecotLine{kind: lineTry, key: key, value: rest}
	case strings.HasPrefix(rest, "="):
		return splitSetting(key, skipWhite(rest[1:]))
	case key == "}" && rest == "":
		return dovecotLine{kind: lineEnd}
	}
	return splitSection(key, rest)
}

func splitSetting(key, value string) dovecotLine {
	if strings.HasPrefix(value, "<") {
		return dovecotLine{kind: lineFile, key: key, value: skipWhite(value[1:])}
	}
	quoted := value != "" && (value[0] == '"' || value[0] == '\'')
	if !quoted && strings.Contains(value, "$") {
		return dovecotLine{kind: lineVariable, key: key, value: value}
	}
	if quoted && len(value) > 1 && value[len(value)-1] == value[0] {
		value = unescape(value[1 : len(value)-1])
	}
	return dovecotLine{kind: lineValue, key: key, value: value}
}

// splitSection reads "kind {", "kind name {" and "kind "name" {".
func splitSection(key, rest string) dovecotLine {
	name := ""
	switch {
	case strings.HasPrefix(rest, "{"):
	case strings.HasPrefix(rest, "\""):
		end := strings.IndexByte(rest[1:], '"')
		if end < 0 {
			return dovecotLine{kind: lineBad, key: key, value: "Expecting '{'"}
		}
		name, rest = unescape(rest[1:end+1]), skipWhite(rest[end+2:])
	default:
		i := 0
		for i < len(rest) && !isWhite(rest[i]) {
			i++
		}
		name, rest = rest[:i], skipWhite(rest[i:])
	}
	switch {
	case !strings.HasPrefix(rest, "{"):
		return dovecotLine{kind: lineBad, key: key, value: "Expecting '{'"}
	case rest != "{":
		return dovecotLine{kind: lineBad, key: key, value: "Garbage after '{'"}
	}
	return dovecotLine{kind: lineBegin, key: key, value: name}
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

// newerSyntax returns the number of the line that says dovecot_config_version,
// with which every configuration of Dovecot 2.4 begins; 0 = none.
func newerSyntax(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if strings.HasPrefix(skipWhite(line), "dovecot_config_version") {
			return n
		}
	}
	return 0
}
