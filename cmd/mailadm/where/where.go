// Package where finds the lines of a configuration that mailadm check and
// mailadm explain speak of: of a parameter, of a word in a list, of an entry in
// a table's source.
package where

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"packetboat/internal/route/table"
	"packetboat/internal/route/table/mapfile"
	"packetboat/internal/sys/config"
)

// Place is where in the configuration something stands. An empty File stands
// for a default.
type Place struct {
	Parameter string `json:"parameter,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
}

// Printable replaces what a terminal would obey: tables and command lines hold
// what strangers chose.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// Short writes a place for people, without the folder; "" for none.
func (p Place) Short() string {
	switch {
	case p.File == "" && p.Parameter == "":
		return ""
	case p.File == "":
		return p.Parameter + " (default)"
	}
	where := fmt.Sprintf("%s:%d", filepath.Base(p.File), p.Line)
	if p.Parameter == "" {
		return where
	}
	return p.Parameter + ", " + where
}

// Of returns where a parameter has its value.
func Of(m *config.Main, name string) Place {
	file, line := m.Where(name)
	p := Place{name, file, line}
	if filepath.Base(file) != "master.cf" {
		return p
	}
	f, err := os.Open(file)
	if err != nil {
		return p
	}
	defer f.Close()
	if n := findOption(f, line, name); n > 0 {
		p.Line = n
	}
	return p
}

// findOption looks for the -o option of a parameter in the service that begins
// at line first.
func findOption(f *os.File, first int, name string) int {
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, mapfile.MaxLine)
	for n := 1; sc.Scan(); n++ {
		text := sc.Text()
		if n < first || n > first && mapfile.Blank([]byte(text)) {
			continue
		}
		if n > first && !mapfile.IsSpace(text[0]) {
			return 0
		}
		for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '{' || r == ',' }) {
			if key, _, _ := strings.Cut(w, "="); key == name {
				return n
			}
		}
	}
	return 0
}

// Word returns the line on which a word of a list stands: a list may go on
// over many lines. What a $name stands for has the place of the list.
func Word(m *config.Main, name string, n int) Place { return Words(m, name).At(n) }

// List is the words of a list and where each stands.
type List struct {
	Words []string
	whole Place
	lines []int // of each word, 0 = that of the list
}

// Words finds the places of all words of a list with one reading of the file.
func Words(m *config.Main, name string) List {
	l := List{Words: config.Fields(m.Get(name)), whole: Of(m, name)}
	if l.whole.File == "" || filepath.Base(l.whole.File) != "main.cf" {
		return l
	}
	f, err := os.Open(l.whole.File)
	if err != nil {
		return l
	}
	defer f.Close()
	written := wordLines(f, l.whole.Line)
	l.lines = make([]int, len(l.Words))
	for i, w := range l.Words {
		if at := written[w]; len(at) > 0 {
			l.lines[i], written[w] = at[0], at[1:]
		}
	}
	return l
}

// At returns the place of word n, from 0.
func (l List) At(n int) Place {
	p := l.whole
	if n >= 0 && n < len(l.lines) && l.lines[n] > 0 {
		p.Line = l.lines[n]
	}
	return p
}

// wordLines returns the lines on which each word of the logical line stands that
// begins at line first.
func wordLines(f *os.File, first int) map[string][]int {
	found := map[string][]int{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, mapfile.MaxLine)
	for n := 1; sc.Scan(); n++ {
		text := sc.Text()
		switch {
		case n < first:
			continue
		case n == first:
			_, text, _ = strings.Cut(text, "=")
		case mapfile.Blank([]byte(text)):
			continue
		case !mapfile.IsSpace(text[0]):
			return found
		}
		for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' }) {
			found[w] = append(found[w], n)
		}
	}
	return found
}

// Entry finds the line of a table's source that answers key. The table's own
// reader tells: it is given the first lines of the source alone, and the fewest
// lines with which it knows the key end with the one that counts, since in every
// kind of source the first entry does.
func Entry(spec, key, value string, o table.Options) (file string, line int) {
	kind, path := Source(spec)
	if path == "" {
		return "", 0
	}
	lines, err := logicalLines(path)
	if err != nil {
		return "", 0
	}
	dir, err := os.MkdirTemp("", "explain")
	if err != nil {
		return path, 0
	}
	defer os.RemoveAll(dir)
	p := prober{copyAt: filepath.Join(dir, filepath.Base(path)), kind: kind, key: key, value: value, o: o}
	p.o.Missing, p.o.Alias = nil, o.Alias || slices.Contains(o.AliasFiles, path)
	all, err := os.ReadFile(path)
	if err != nil || !p.knows(all) {
		return path, 0
	}
	lo, hi := 0, len(lines)-1
	for lo < hi {
		mid := (lo + hi) / 2
		if p.knows(all[:lines[mid].end]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo >= len(lines) {
		return path, 0
	}
	return path, lines[lo].number
}

// prober asks a table of a part of its source.
type prober struct {
	copyAt, kind, key, value string
	o                        table.Options
}

func (p *prober) knows(text []byte) bool {
	if os.WriteFile(p.copyAt, text, 0o600) != nil {
		return false
	}
	t, err := table.Open(p.kind+":"+p.copyAt, p.o)
	if err != nil {
		return false
	}
	v, found, err := t.Lookup(context.Background(), p.key)
	return err == nil && found && v == p.value
}

// Source returns the type and the file of a table that is read from one.
func Source(spec string) (kind, path string) {
	spec = strings.TrimPrefix(spec, "proxy:")
	kind, path, _ = strings.Cut(spec, ":")
	switch kind {
	case "hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash", "regexp", "pcre", "cidr":
		return kind, path
	}
	return "", ""
}

// logicalLine is one of a source: its first physical line, and where it ends in
// the file.
type logicalLine struct{ number, end int }

// logicalLines divides a source as mapfile.Lines does.
func logicalLines(path string) ([]logicalLine, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []logicalLine
	at, n := 0, 0
	for l := range strings.Lines(string(b)) {
		n++
		at += len(l)
		switch {
		case mapfile.Blank([]byte(l)):
		case mapfile.IsSpace(l[0]) && len(out) > 0:
			out[len(out)-1].end = at
		default:
			out = append(out, logicalLine{n, at})
		}
	}
	return out, nil
}
