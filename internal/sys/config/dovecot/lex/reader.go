package lex

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/sys/config/base"
)

// Limits of dovecot.conf files, all together.
const (
	maxIncludes   = 1000    // files read, and open at a time
	maxDeep       = 50      // files that include files
	maxLineErrors = 50      // errors reported before the reader gives up
	maxContinued  = 1 << 20 // bytes of one continued line
)

// ErrStop ends the reading after too many errors.
var ErrStop = errors.New("too many errors")

// Reader reads a file and what it includes, line by line. Apply is called for
// each line that means something; an error of it ends the reading.
type Reader struct {
	Apply    func(Line) error
	Parse    func(line, before string) Line // nil is the syntax of 2.3
	File     string                         // the current place
	Line     int
	Errors   []error
	Warnings []base.Warning
	open     []string // files, the innermost last
	count    int      // files read
	depth    int      // files that wait for one that they include
}

// Read takes in the text of the file path.
func (r *Reader) Read(path, text string) error {
	outerFile, outerLine := r.File, r.Line
	r.File, r.Line = path, 0
	if len(r.open) == 0 {
		r.open = []string{path}
	}
	defer func() { r.File, r.Line = outerFile, outerLine }()
	parse := r.Parse
	if parse == nil {
		parse = Parse
	}
	before := ""
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		r.Line++
		l := parse(base.CutNUL(strings.TrimSuffix(line, "\r")), before)
		if l.Ambiguous {
			r.Warn("Ambiguous '#' character in line, treating it as comment. Add a space before it to remove this warning.",
				"Configuration file %s line %d: %s")
		}
		if l.Kind == More {
			if before = l.Value; len(before) > maxContinued {
				return r.Error("continued line is too long", "")
			}
			continue
		}
		before = ""
		if err := r.line(l); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) line(l Line) error {
	switch l.Kind {
	case Skip:
		return nil
	case Bad:
		return r.Fail(l.Value, "write \"kind name {\" on a line of its own")
	case Include, Try:
		return r.include(l.Value, l.Kind == Try)
	}
	return r.Apply(l)
}

// Warn adds a warning at the current line; format takes file, line and text in
// Dovecot's words.
func (r *Reader) Warn(text, format string) {
	r.Warnings = append(r.Warnings, base.Warning{File: r.File, Line: r.Line, Text: text, Postfix: fmt.Sprintf(format, r.File, r.Line, text)})
}

// Error makes an error at the current line.
func (r *Reader) Error(text, hint string) *base.Error {
	return &base.Error{File: r.File, Line: r.Line, Text: text, Hint: hint,
		Postfix: fmt.Sprintf("Error in configuration file %s line %d: %s", r.File, r.Line, text)}
}

// Fail notes an error of the current line; the reader goes on with the next
// line, so that all errors are reported at once.
func (r *Reader) Fail(text, hint string) error {
	r.Errors = append(r.Errors, r.Error(text, hint))
	if len(r.Errors) >= maxLineErrors {
		return ErrStop
	}
	return nil
}

// Relative makes a path relative to the directory of the current file.
func (r *Reader) Relative(path string) string {
	if strings.HasPrefix(path, "/") || !strings.Contains(r.File, "/") {
		return path
	}
	return filepath.Dir(r.File) + "/" + path
}

// include reads the files that pattern names, in sorted order. All of them
// count as open until they are read: the original puts them on a stack at once,
// so that one of them cannot include another.
func (r *Reader) include(pattern string, try bool) error {
	paths, err := glob(r.Relative(pattern))
	if err != nil {
		return r.Fail("glob() failed: "+err.Error(), "check the pattern")
	}
	if len(paths) == 0 && !try {
		return r.Fail("No matches", "no file "+r.Relative(pattern)+"; !include_try reads files that may be missing")
	}
	outer := r.open
	defer func() { r.open = outer }()
	for _, p := range slices.Backward(paths) {
		if slices.Contains(r.open, p) {
			return r.Fail("Recursive include file: "+p, "a file must not include itself")
		}
		r.open = append(r.open[:len(r.open):len(r.open)], p)
	}
	for _, p := range paths {
		if err := r.includeFile(p, try); err != nil {
			return err
		}
		r.open = r.open[:len(r.open)-1]
	}
	return nil
}

// glob is glob(3): hidden files do not match a wildcard, braces are alternatives.
func glob(pattern string) (paths []string, err error) {
	for _, p := range braces(pattern) {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !strings.HasPrefix(filepath.Base(f), ".") || strings.HasPrefix(filepath.Base(p), ".") {
				paths = append(paths, f)
			}
		}
	}
	return paths, nil
}

func (r *Reader) includeFile(path string, try bool) error {
	r.depth++
	defer func() { r.depth-- }()
	if r.count++; r.count > maxIncludes || r.depth > maxDeep {
		return r.Fail("too many included files", "")
	}
	text, err := base.Read(path)
	if err != nil && try {
		return nil
	}
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return r.Fail(fmt.Sprintf("Couldn't open include file %s: %s", path, Reason(err)), "")
	}
	return r.Read(path, text)
}

// Reason writes an error of the system as the C library does: with a capital.
func Reason(err error) string {
	s := err.Error()
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// braces expands {a,b} in a glob pattern (GLOB_BRACE); at most 100 patterns.
func braces(pattern string) []string {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}
	}
	n := base.Balance(pattern[open:])
	if n < 0 {
		return []string{pattern}
	}
	var list []string
	for _, alt := range strings.Split(pattern[open+1:open+n-1], ",") {
		if len(list) > 100 {
			break
		}
		list = append(list, braces(pattern[:open]+alt+pattern[open+n:])...)
	}
	return list
}
