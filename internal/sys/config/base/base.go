// Package base holds what the configuration readers share: errors and warnings
// with their place, limits, and small scanners. It knows no format.
package base

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Limits of what the readers take. Real files stay far below them: the largest
// of the 129 public main.cf files that we know has 34 kB.
const (
	MaxFile   = 8 << 20 // bytes of one configuration file
	MaxExpand = 1 << 20 // bytes of one value after expansion
)

// State says what this system does with a parameter.
type State string

// The states of a parameter.
const (
	StateOpen     State = "open"     // not yet decided: it is read and kept, nothing acts on it
	StateDone     State = "done"     // acts as its manual page says
	StateAccepted State = "accepted" // has no meaning here, and its absence changes nothing
	StateRefused  State = "refused"  // would change behaviour and is not built
)

// Warning is something in a configuration file that does not stop the reader.
type Warning struct {
	File string // path of the file
	Line int    // line, from 1; 0 = the file as a whole
	Text string // what is wrong, without the place
	// Postfix is the whole text that Postfix prints after "warning: ".
	Postfix string
}

// String returns "file:line: text".
func (w Warning) String() string { return Place(w.File, w.Line) + w.Text }

// Error is something that a configuration must not have. It prints as
// "file:line: text"; Hint says what to write instead.
type Error struct {
	File string // path of the file; empty = not from a file (a command line)
	Line int    // line, from 1; 0 = the file as a whole
	Col  int    // column in bytes, from 1; 0 = not known
	Text string // what is wrong, without the place
	Hint string // what was expected or what to do; may be empty
	// Postfix is the whole text that Postfix prints after "fatal: "; empty
	// where there is no such text.
	Postfix string
}

// Error returns "file:line: text", or "file:line:column: text".
func (e *Error) Error() string { return PlaceAt(e.File, e.Line, e.Col) + e.Text }

// Report formats err for people: one "error:" line for each problem, and a
// "hint:" line after it where there is one.
func Report(err error) string {
	var b strings.Builder
	for _, e := range Flatten(err) {
		fmt.Fprintf(&b, "error: %v\n", e)
		var ce *Error
		if errors.As(e, &ce) && ce.Hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", ce.Hint)
		}
	}
	return b.String()
}

// Flatten takes apart what errors.Join put together, in any depth.
func Flatten(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var list []error
		for _, e := range j.Unwrap() {
			list = append(list, Flatten(e)...)
		}
		return list
	}
	return []error{err}
}

// Place returns "file:line: ", as far as they are known.
func Place(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return file + ": "
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}

// PlaceAt is Place with a column, from 1; 0 is not known.
func PlaceAt(file string, line, col int) string {
	if file == "" || line == 0 || col == 0 {
		return Place(file, line)
	}
	return fmt.Sprintf("%s:%d:%d: ", file, line, col)
}

// Read reads a whole configuration file.
func Read(path string) (string, error) {
	// Nobody may ever write to a pipe: only those that a shell makes are read.
	if fi, err := os.Stat(path); err == nil && fi.Mode()&os.ModeNamedPipe != 0 &&
		!strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/proc/") {
		return "", &Error{File: path, Text: "a named pipe, not a file", Hint: "put a text file there"}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return ReadFrom(f, path)
}

// ReadFrom is Read of an open file.
func ReadFrom(f *os.File, path string) (string, error) {
	var b strings.Builder
	if fi, err := f.Stat(); err == nil && fi.Size() < MaxFile {
		b.Grow(int(fi.Size()))
	}
	n, err := io.Copy(&b, io.LimitReader(f, MaxFile+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if n > MaxFile {
		return "", &Error{File: path, Text: fmt.Sprintf("more than %d bytes", MaxFile),
			Hint: "a configuration file of that size is a mistake; large tables belong into maps"}
	}
	return b.String(), nil
}

// CutNUL ends s at its first NUL byte, where the originals' strings end.
func CutNUL(s string) string {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}

// Balance returns the length of the group that s starts with, its closing
// parenthesis included, or -1 when there is none.
func Balance(s string) int {
	open, closing := s[0], byte('}')
	if open == '(' {
		closing = ')'
	}
	level := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case open:
			level++
		case closing:
			if level--; level == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// IsDigits tells whether s is one or more decimal digits.
func IsDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// syntaxError is a text that cannot be understood; the words are the original's.
type syntaxError string

func (e syntaxError) Error() string { return string(e) }

// Bad makes an error whose words are those of Postfix or Dovecot.
func Bad(format string, args ...any) error { return syntaxError(fmt.Sprintf(format, args...)) }

// maxDistance is the longest name that Distance compares.
const maxDistance = 100

// Distance is the number of steps between two names, where a step changes,
// adds or removes a letter or swaps two neighbours (Damerau's distance, each
// letter in one step at most); names over maxDistance are all different.
func Distance(a, b string) int {
	if len(a) > maxDistance || len(b) > maxDistance {
		return maxDistance
	}
	var rows [3][maxDistance + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
