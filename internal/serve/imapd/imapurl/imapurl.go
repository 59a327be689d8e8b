// Package imapurl reads the URLs of messages and their parts that a client writes
// into CATENATE (RFC 4469 with RFC 5092 section 7; RFC 5550 adds PARTIAL). Only
// relative ones are understood: no other server is ever asked. The texts of errors
// are Dovecot's.
package imapurl

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"packetboat/internal/serve/imapd/syntax"
)

// URL is a part of a message of one's own mail.
type URL struct {
	Mailbox  string      // UTF-8; empty = the selected one
	Validity uint32      // UIDVALIDITY; 0 = any
	UID      uint32      // never 0
	Item     syntax.Item // what of it, as in FETCH
}

// maxURL is the longest URL, in octets.
const maxURL = 4000

// Error is why a URL is not understood. Its text follows "NO [BADURL ...] ".
type Error string

// Error returns the text.
func (e Error) Error() string { return string(e) }

// What Parse finds wrong.
const (
	errAbsolute = Error("Invalid IMAP URL: Relative URL required")
	errMissing  = Error("Invalid IMAP URL: Missing message UID")
	errLong     = Error("Invalid IMAP URL: Too long")
	errEscape   = Error("Invalid IMAP URL: Invalid %-encoding")
	errName     = Error("Invalid IMAP URL: Invalid mailbox name")
	errSection  = Error("Invalid IMAP URL: Invalid SECTION")
	errPartial  = Error("Invalid IMAP URL: Invalid PARTIAL value")
	errUnknown  = Error("Invalid IMAP URL: Unexpected parameter")
)

// Parse reads a URL. Its parameters may have a slash before them or not, as clients
// write both, but stand in the order of RFC 5092 section 11.
func Parse(text string) (u URL, err error) {
	switch {
	case len(text) > maxURL:
		return u, errLong
	case strings.HasPrefix(text, "//"), strings.Contains(before(text, "/;"), ":"):
		return u, errAbsolute
	}
	fields := strings.Split(text, ";")
	if u.Mailbox, err = mailbox(fields[0]); err != nil {
		return u, err
	}
	section, partial, rank := "", "", 0
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		value = strings.TrimSuffix(value, "/")
		if value, err = url.PathUnescape(value); err != nil {
			return u, errEscape
		}
		place := strings.Index(" UIDVALIDITY UID SECTION PARTIAL ", " "+strings.ToUpper(name)+" ") + 1
		if place <= rank {
			return u, errUnknown
		}
		rank = place
		switch strings.ToUpper(name) {
		case "UIDVALIDITY":
			u.Validity, err = number(value)
		case "UID":
			u.UID, err = number(value)
		case "SECTION":
			section = value
		case "PARTIAL":
			partial = "<" + value + ">"
			if value == "" || strings.ContainsAny(value, "<>") {
				err = errPartial
			}
		}
		if err != nil {
			return u, err
		}
	}
	if u.UID == 0 {
		return u, errMissing
	}
	u.Item, err = item(section, partial)
	return u, err
}

// before returns text up to mark.
func before(text, mark string) string {
	text, _, _ = strings.Cut(text, mark)
	return text
}

// mailbox reads the path in front of the parameters.
func mailbox(path string) (string, error) {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	name, err := url.PathUnescape(path)
	switch {
	case err != nil:
		return "", errEscape
	case !utf8.ValidString(name) || strings.Contains(name, "\x00"):
		return "", errName
	}
	return name, nil
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, Error("Invalid IMAP URL: Value '" + text + "' is not a valid IMAP number")
	}
	return uint32(n), nil
}

// item reads a section as FETCH would.
func item(section, partial string) (syntax.Item, error) {
	list := []syntax.Arg{{Text: []byte("BODY.PEEK[" + section + "]" + partial)}}
	if word, names, ok := strings.Cut(section, " ("); ok {
		names, closed := strings.CutSuffix(names, ")")
		if !closed || strings.ContainsAny(names, `()"`) {
			return syntax.Item{}, errSection
		}
		fields := syntax.Arg{Kind: syntax.List}
		for f := range strings.FieldsSeq(names) {
			fields.List = append(fields.List, syntax.Arg{Text: []byte(f)})
		}
		list = []syntax.Arg{{Text: []byte("BODY.PEEK[" + word)}, fields, {Text: []byte("]" + partial)}}
	}
	items, err := syntax.ParseFetch([]syntax.Arg{{Kind: syntax.List, List: list}})
	switch {
	case err != nil || len(items) != 1 || items[0].Kind != syntax.ItemSection:
		return syntax.Item{}, errSection
	case partial != "" && items[0].Section.Partial == nil:
		return syntax.Item{}, errPartial
	}
	return items[0], nil
}
