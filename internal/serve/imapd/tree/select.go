package tree

import (
	"strings"

	"packetboat/internal/serve/imapd/syntax"
)

// Found is one answer of LIST.
type Found struct {
	Entry
	Flags string // the attributes
	Extra string // what follows the name
}

// Select finds what a LIST asks for. RFC 5258 section 3: without options it is
// every folder that matches, with SUBSCRIBED every subscription, also of folders
// that are gone.
func Select(entries []Entry, l *syntax.ListArgs, match func(string) bool, sep byte) (found []Found) {
	var below map[string]bool
	if l.Recursive {
		below = parents(entries, l, match, sep)
	}
	for i := range entries {
		e := &entries[i]
		if !match(e.Name) || !wanted(e, l) && !below[e.Name] {
			continue
		}
		f := Found{Entry: *e, Flags: flags(e, l)}
		if below[e.Name] {
			f.Extra = childInfo(l)
		}
		found = append(found, f)
	}
	return found
}

// wanted tells whether the selection options choose an entry.
func wanted(e *Entry, l *syntax.ListArgs) bool {
	switch {
	case l.Subscribed && !e.Subscribed, !l.Subscribed && e.Missing:
		return false
	case l.SpecialUse && len(e.Use) == 0:
		return false
	}
	return true
}

// parents returns the names above what RECURSIVEMATCH looks for and no pattern
// matches.
func parents(entries []Entry, l *syntax.ListArgs, match func(string) bool, sep byte) map[string]bool {
	above := map[string]bool{}
	for i := range entries {
		e := &entries[i]
		if !wanted(e, l) || match(e.Name) {
			continue
		}
		for k := strings.LastIndexByte(e.Name, sep); k > 0; k = strings.LastIndexByte(e.Name[:k], sep) {
			above[e.Name[:k]] = true
		}
	}
	return above
}

// childInfo says why a name is listed that was not chosen itself (RFC 5258
// section 3.5).
func childInfo(l *syntax.ListArgs) string {
	var words []string
	if l.Subscribed {
		words = append(words, `"SUBSCRIBED"`)
	}
	if l.SpecialUse {
		words = append(words, `"SPECIAL-USE"`)
	}
	return " (CHILDINFO (" + strings.Join(words, " ") + "))"
}

// flags are the attributes of RFC 3501 section 7.2.2, RFC 3348, RFC 5258 and
// RFC 6154, in Dovecot's order.
func flags(e *Entry, l *syntax.ListArgs) string {
	var words []string
	if e.Subscribed && l.RetSubscribed {
		words = append(words, `\Subscribed`)
	}
	switch {
	case e.Missing:
		words = append(words, `\NonExistent`)
	case e.NoSelect:
		words = append(words, `\Noselect`)
	}
	switch {
	case e.NoInferiors:
		words = append(words, `\NoInferiors`)
	case l.Extended && !l.RetChildren:
	case e.HasChildren:
		words = append(words, `\HasChildren`)
	case !e.Missing:
		words = append(words, `\HasNoChildren`)
	}
	if l.RetSpecialUse || !l.Extended {
		words = append(words, e.Use...)
	}
	return strings.Join(words, " ")
}
