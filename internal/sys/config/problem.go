package config

import (
	"errors"
	"fmt"

	"packetboat/internal/sys/config/base"
)

// Severity says what a problem does to a start.
type Severity string

// The severities of a problem.
const (
	SeverityWarning Severity = "warning" // the system starts; what was written may not be what was meant
	SeverityRefused Severity = "refused" // the system starts only with --force, and then does without it
	SeverityError   Severity = "error"   // the system does not start, and keeps the configuration that it has
)

// Problem is something in a configuration that is not as it should be.
type Problem struct {
	File     string   `json:"file"`             // path of the file
	Line     int      `json:"line,omitempty"`   // from 1; 0 = the file as a whole
	Col      int      `json:"column,omitempty"` // in bytes, from 1; 0 = not known
	Name     string   `json:"name,omitempty"`   // of the parameter, restriction or service
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`           // what is wrong, without the place
	Hint     string   `json:"hint,omitempty"` // what was expected, or what to write instead
}

// String returns "file:line:column: text", as far as the place is known.
func (p Problem) String() string { return base.PlaceAt(p.File, p.Line, p.Col) + p.Text }

// Err returns the problem as an error.
func (p Problem) Err() error {
	return &Error{File: p.File, Line: p.Line, Col: p.Col, Text: p.Text, Hint: p.Hint}
}

// Stop returns the problems that keep a system from starting, joined, each an
// *Error; nil when there is none. With force the refused ones do not count.
func Stop(list []Problem, force bool) error {
	var errs []error
	for _, p := range list {
		if p.Severity == SeverityError || p.Severity == SeverityRefused && !force {
			errs = append(errs, p.Err())
		}
	}
	return errors.Join(errs...)
}

// problemOf makes a problem of an error; every *Error has its place.
func problemOf(err error, name string) Problem {
	p := Problem{Name: name, Severity: SeverityError, Text: err.Error()}
	var e *Error
	if errors.As(err, &e) {
		p.File, p.Line, p.Col, p.Text, p.Hint = e.File, e.Line, e.Col, e.Text, e.Hint
	}
	return p
}

// didYouMean is the hint for a name that nobody knows; write says what else can
// be done.
func didYouMean(suggestion, write string) string {
	if suggestion == "" {
		return write
	}
	return fmt.Sprintf("did you mean %s? %s", suggestion, write)
}
