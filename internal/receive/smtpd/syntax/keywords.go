package syntax

import (
	"slices"
	"strings"
)

// Keywords says which EHLO keywords are left out (smtpd_discard_ehlo_keywords).
type Keywords struct {
	hidden map[string]bool
	All    bool // nothing is offered: the table that says cannot be asked
	Silent bool // the log is not told
}

// NewKeywords reads a list of keywords.
func NewKeywords(discard []string) Keywords {
	f := Keywords{hidden: make(map[string]bool)}
	for _, w := range discard {
		f.hidden[strings.ToUpper(w)] = true
	}
	f.Silent = f.hidden["SILENT-DISCARD"]
	return f
}

// Has tells whether a keyword may be offered.
func (f Keywords) Has(keyword string) bool { return !f.All && !f.hidden[keyword] }

// List names what is left out, for the log.
func (f Keywords) List() string {
	var out []string
	for w := range f.hidden {
		out = append(out, w)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Fields splits a list at blanks and commas.
func Fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// Empty tells that nothing is left out.
func (f Keywords) Empty() bool { return !f.All && len(f.hidden) == 0 }
