package config

import (
	"fmt"
	"strings"

	"packetboat/internal/sys/config/base"
)

// lineReader takes the logical lines of main.cf, master.cf and map sources out
// of a text, as postconf(5) defines them: a line that starts with white space
// continues the one before it; empty lines, lines of white space and lines
// whose first other character is # are ignored, between continuations too.
type lineReader struct {
	file  string
	text  string
	pos   int // of the next physical line
	line  int // number of the last physical line read
	first int // number of the first physical line of the last logical line
	warns []Warning
}

// next returns the next logical line, without its newlines and with the white
// space of its continuations. It is a part of the text where it can be, so the
// common case allocates nothing.
func (r *lineReader) next() (string, bool) {
	for {
		s := r.logical()
		if s == "" {
			return "", false
		}
		if !isSpace(s[0]) {
			return base.CutNUL(s), true
		}
		shown := base.CutNUL(s)
		more := ""
		if len(s) > 30 {
			more = "..."
		}
		shown = shown[:min(30, len(shown))]
		what := fmt.Sprintf("logical line must not start with whitespace: \"%s%s\"", shown, more)
		r.warns = append(r.warns, Warning{File: r.file, Line: r.first, Text: what, Postfix: r.file + ": " + what})
	}
}

// logical gathers one logical line; "" is the end of the text.
func (r *lineReader) logical() string {
	line := ""
	for r.pos < len(r.text) {
		rest := r.text[r.pos:]
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
			r.pos = len(r.text)
		} else {
			r.pos += end + 1
		}
		r.line++
		part := rest[:end]
		if body := skipSpace(part); body != "" && body[0] != '#' {
			if line == "" {
				line, r.first = part, r.line
			} else {
				line += part
			}
		}
		if line != "" && !r.continues() {
			break
		}
	}
	return line
}

// continues tells whether the next physical line may belong to this logical
// line: it starts with white space, or is a comment, which does not end one.
func (r *lineReader) continues() bool {
	if r.pos >= len(r.text) {
		return false
	}
	c := r.text[r.pos]
	return c == '#' || isSpace(c)
}

// isSpace is isspace(3) in the C locale.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func skipSpace(s string) string {
	i := 0
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return s[i:]
}

func trimSpace(s string) string {
	s = skipSpace(s)
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// SplitNameValue takes a "name = value" text apart, as Postfix does for main.cf,
// -o options and table definitions; problem is Postfix's text when it is none.
func SplitNameValue(line string) (name, value, problem string) {
	line = skipSpace(line)
	if line == "" {
		return "", "", "missing attribute name"
	}
	i := 0
	for i < len(line) && line[i] != '=' && !isSpace(line[i]) {
		i++
	}
	if i == 0 {
		return "", "", "missing attribute name"
	}
	rest := skipSpace(line[i:])
	if rest == "" || rest[0] != '=' {
		return "", "", "missing '=' after attribute name"
	}
	return line[:i], trimSpace(rest[1:]), ""
}
