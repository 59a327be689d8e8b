package syntax

import "strings"

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

// order is how the log names keywords: Postfix's, then those it does not know.
// EHLO_MASK_SMTPUTF8 is what Postfix 3.7 writes for SMTPUTF8.
func order() []string {
	return []string{"8BITMIME", "AUTH", "ETRN", "PIPELINING", "SIZE", "VERP", "XCLIENT", "XFORWARD", "STARTTLS",
		"ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8", "CHUNKING", "VRFY", "REQUIRETLS", "LIMITS", "BINARYMIME", "HELP"}
}

// List names what is left out, for the log. Words that are no keywords are not told.
func (f Keywords) List() string {
	var out []string
	for _, w := range order() {
		switch {
		case !f.hidden[w]:
		case w == "SMTPUTF8":
			out = append(out, "EHLO_MASK_SMTPUTF8")
		default:
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// Fields splits a list at blanks and commas.
func Fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// Empty tells that nothing is left out.
func (f Keywords) Empty() bool { return !f.All && len(f.hidden) == 0 }
