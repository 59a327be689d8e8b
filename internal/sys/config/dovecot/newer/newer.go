// Package newer reads the syntax of Dovecot 2.4 and says it in the words of 2.3,
// which the rest of the house understands: a file becomes a stream of sections
// and settings, each with the place where it stands. Package dovecot feeds itself
// with that stream when the first setting of a file is
// dovecot_config_version. What 2.3 has no word for is either without meaning
// here, and left out, or returned as an error of its own.
//
// The facts are those of Dovecot's documentation (core/settings/syntax, types,
// variables, and installation/upgrade/2.3-to-2.4).
package newer

import (
	"errors"
	"fmt"
	"strings"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot/lex"
)

// Limits of a configuration, besides those of package lex.
const (
	maxDeep     = 20     // sections in sections
	maxSettings = 10_000 // settings, or sections, in one section
)

// Line is a line of 2.3's syntax with its place.
type Line struct {
	lex.Line
	Path string // file in which the setting stands
	At   int    // its line there, from 1
}

// Known tells the type (str, bool, time ...) and the default of a setting of
// 2.3; block is "" for the root.
type Known func(block, name string) (kind, value string, ok bool)

// Result is a file that was read.
type Result struct {
	Version  string // of the configuration: 2.4.0 ...
	Lines    []Line
	Warnings []base.Warning
	Refused  []error // settings that would change something and cannot be said in 2.3's words
	Notes    []Note
}

// Note is a setting of 2.3 that 2.4 has no word for, kept in a comment
// "#2.3: PATH: NAME = VALUE" by the translation the other way.
type Note struct {
	Path, Name, Value string
	File              string
	Line              int
}

// Version returns the value of dovecot_config_version if that is the first
// setting of text, and its line; otherwise 0.
func Version(text string) (version string, line int) {
	n := 0
	for raw := range strings.Lines(text) {
		n++
		l := lex.ParseNewer(base.CutNUL(strings.TrimRight(raw, "\r\n")), "")
		switch {
		case l.Kind == lex.Skip:
			continue
		case l.Key == "dovecot_config_version":
			return l.Value, n
		}
		return "", 0
	}
	return "", 0
}

// reader reads one 2.4 configuration.
type reader struct {
	lex.Reader
	known Known
	root  *scope
	stack []*scope
	res   Result
}

// Read reads the text of a file in the syntax of 2.4. All errors are returned
// at once, joined.
func Read(path, text string, known Known) (*Result, error) {
	r := &reader{known: known, root: &scope{sort: rootScope}}
	r.stack = []*scope{r.root}
	r.Apply, r.Parse = r.apply, lex.ParseNewer
	if err := r.Read(path, text); err != nil && !errors.Is(err, lex.ErrStop) {
		r.Errors = append(r.Errors, err)
	}
	if s := r.top(); len(r.stack) > 1 {
		what := fmt.Sprintf("Missing '}' (section started at %s:%d)", s.file, s.line)
		r.Errors = append(r.Errors, &base.Error{File: s.file, Line: s.line, Text: "missing '}' of the section that starts here",
			Hint: "close every section with a line }", Postfix: fmt.Sprintf("Error in configuration file %s: %s", path, what)})
	}
	if len(r.Errors) == 0 {
		r.writeRoot()
	}
	if len(r.Errors) == 0 && r.root.find("dovecot_storage_version") == nil {
		r.Warnings = append(r.Warnings, base.Warning{File: path, Text: "dovecot_storage_version setting must be set", Postfix: "dovecot_storage_version setting must be set"})
	}
	r.res.Warnings = r.Warnings
	r.res.Notes = notes(path, text)
	return &r.res, errors.Join(r.Errors...)
}

// notes finds the comments that keep settings of 2.3.
func notes(path, text string) (list []Note) {
	n := 0
	for raw := range strings.Lines(text) {
		n++
		rest, ok := strings.CutPrefix(strings.TrimRight(raw, "\r\n"), "#2.3: ")
		where, setting, ok2 := strings.Cut(rest, ": ")
		name, value, ok3 := strings.Cut(setting, " = ")
		if ok && ok2 && ok3 {
			list = append(list, Note{Path: where, Name: name, Value: value, File: path, Line: n})
		}
	}
	return list
}

func (r *reader) top() *scope { return r.stack[len(r.stack)-1] }

// refuse notes a setting that would change something here and cannot.
func (r *reader) refuse(s *setting, text string) {
	what := s.name
	if s.value != "" && !strings.Contains(s.name, "password") && len(s.value) < 60 {
		what += " = " + s.value
	}
	r.res.Refused = append(r.res.Refused, &base.Error{File: s.file, Line: s.line, Text: what + ": " + text, Hint: "remove it, or set its default"})
}

// bad is an error at the place of a setting.
func (r *reader) bad(s *setting, text, hint string) {
	r.Errors = append(r.Errors, &base.Error{File: s.file, Line: s.line, Text: s.name + ": " + text, Hint: hint,
		Postfix: fmt.Sprintf("Error in configuration file %s line %d: %s: %s", s.file, s.line, s.name, text)})
}
