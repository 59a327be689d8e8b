// Package config reads the configuration that a machine has: Postfix's main.cf
// and master.cf and Dovecot's dovecot.conf, as they stand. It holds the one
// table of parameters (names, types, defaults, and what this system does with
// them) and fills the Options structs of the other packages from it. Only cmd/
// imports it.
//
// The readers are exact: what postconf(1) and doveconf(1) say about a file is
// the measure. They never panic, and never loop, on any text.
package config

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of what the readers take. Real files stay far below them: the largest
// of the 129 public main.cf files that we know has 34 kB.
const (
	maxFile    = 8 << 20 // bytes of one configuration file
	maxExpand  = 1 << 20 // bytes of one value after expansion
	maxNesting = 100     // depth of $name references, as in Postfix
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
func (w Warning) String() string { return place(w.File, w.Line) + w.Text }

// Error is something that a configuration must not have. It prints as
// "file:line: text"; Hint says what to write instead.
type Error struct {
	File string // path of the file; empty = not from a file (a command line)
	Line int    // line, from 1; 0 = the file as a whole
	Text string // what is wrong, without the place
	Hint string // what was expected or what to do; may be empty
	// Postfix is the whole text that Postfix prints after "fatal: "; empty
	// where there is no such text.
	Postfix string
}

// Error returns "file:line: text".
func (e *Error) Error() string { return place(e.File, e.Line) + e.Text }

// Report formats err for people: one "error:" line for each problem, and a
// "hint:" line after it where there is one.
func Report(err error) string {
	var b strings.Builder
	for _, e := range flatten(err) {
		fmt.Fprintf(&b, "error: %v\n", e)
		var ce *Error
		if errors.As(e, &ce) && ce.Hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", ce.Hint)
		}
	}
	return b.String()
}

// flatten takes apart what errors.Join put together.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

func place(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return file + ": "
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}
