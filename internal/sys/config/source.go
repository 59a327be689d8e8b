package config

import (
	"strings"

	"packetboat/internal/sys/config/base"
)

// source finds places in the text of main.cf or master.cf again, for messages.
type source struct {
	path  string
	lines []string // physical lines without their newlines

	last   int // the logical line that was asked for last, and what it is
	text   string
	pieces []piece
}

func newSource(path, text string) *source {
	return &source{path: path, lines: strings.Split(text, "\n")}
}

// piece is a physical line of a logical one.
type piece struct {
	at   int // offset in the logical line
	line int // from 1
	text string
}

// logical returns the logical line that begins at a physical one, as the
// lineReader joins it, and its pieces.
func (s *source) logical(line int) (text string, pieces []piece) {
	if line == s.last {
		return s.text, s.pieces
	}
	var b strings.Builder
	for i := line - 1; i >= 0 && i < len(s.lines); i++ {
		part := s.lines[i]
		if i >= line && part != "" && part[0] != '#' && !isSpace(part[0]) {
			break
		}
		if body := skipSpace(part); body == "" || body[0] == '#' {
			continue
		}
		pieces = append(pieces, piece{b.Len(), i + 1, part})
		b.WriteString(part)
	}
	s.last, s.text, s.pieces = line, base.CutNUL(b.String()), pieces
	return s.text, s.pieces
}

// place returns the place of an offset of a logical line.
func place(pieces []piece, offset int) (line, col int) {
	for i := len(pieces) - 1; i >= 0; i-- {
		if p := pieces[i]; offset >= p.at {
			return p.line, offset - p.at + 1
		}
	}
	return 0, 0
}

// find returns the place of the first needle after offset from of the logical
// line that begins at line, and the offset after it; a needle that is not there
// is at the line's beginning.
func (s *source) find(line, from int, needle string) (l, col, next int) {
	text, pieces := s.logical(line)
	from = min(from, len(text))
	i := indexWord(text[from:], needle)
	if i < 0 {
		return line, 0, from
	}
	l, col = place(pieces, from+i)
	return l, col, from + i + len(needle)
}

// value returns the offset of the value of "name = value" in the logical line
// that begins at line; -o options of master.cf have theirs after the name.
func (s *source) value(line int, name string) int {
	text, _ := s.logical(line)
	i := 0
	for {
		j := strings.Index(text[i:], name)
		if j < 0 {
			return 0
		}
		i += j + len(name)
		if rest := skipSpace(text[i:]); strings.HasPrefix(rest, "=") {
			return len(text) - len(skipSpace(rest[1:]))
		}
	}
}

// indexWord returns the offset of a word that is not a part of a longer name,
// or else that of the first part; -1 is nowhere.
func indexWord(text, word string) int {
	if word == "" {
		return -1
	}
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return strings.Index(text, word)
		}
		i += from
		from = i + len(word)
		before := i == 0 || !isName(text[i-1])
		after := from == len(text) || !isName(text[from])
		if before && after {
			return i
		}
	}
}
