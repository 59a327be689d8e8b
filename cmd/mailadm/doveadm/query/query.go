// Package query reads the search queries of doveadm-search-query(7) and holds
// messages against them. The errors are Dovecot's texts.
package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/serve/imapd/textsearch"
	"packetboat/internal/store"
)

// op is what a key looks at.
type op uint8

const (
	opAll op = iota
	opNone
	opAnd
	opOr
	opSeq
	opUID
	opFlag
	opRecent
	opKeyword
	opLarger
	opSmaller
	opBefore
	opOn
	opSince
	opOlder
	opYounger
	opHeader
	opBody
	opText
	opMailbox
	opBoxGUID
	opGUID
	opModSeq
)

// whichDate says which date a key compares.
type whichDate uint8

const (
	received whichDate = iota
	sent
	saved
)

// Query is one key, or several with AND or OR between them.
type Query struct {
	op      op
	not     bool
	keys    []Query
	set     []span
	flag    store.Flag
	text    string // folded where it is looked for in a text
	field   string // of opHeader
	address bool   // the field holds addresses
	num     int64
	date    int64 // seconds since 1970
	which   whichDate
	exact   bool // date is a moment, not a day of the sender's calendar
}

// maxDepth bounds how deep parentheses and NOTs may nest.
const maxDepth = 100

// Parse reads a query that was given in args; now is what intervals count from.
func Parse(args []string, now time.Time) (*Query, error) {
	p := parser{args: args, now: now}
	q, err := p.list(0)
	if err != nil {
		return nil, err
	}
	return &q, nil
}

type parser struct {
	args  []string
	now   time.Time
	depth int
}

// problem is an error with one of Dovecot's texts.
type problem string

// Error returns the text.
func (p problem) Error() string { return string(p) }

const errMissing = problem("Missing argument")

// next takes one word.
func (p *parser) next() (string, bool) {
	if len(p.args) == 0 {
		return "", false
	}
	w := p.args[0]
	p.args = p.args[1:]
	return w, true
}

// list reads keys up to the end, or up to ")". One OR makes all keys of the list
// alternatives; behind it there must be an OR between any two.
func (p *parser) list(end byte) (Query, error) {
	q := Query{op: opAnd}
	afterOr := false
	for {
		switch {
		case len(p.args) == 0 && end != 0:
			return q, problem("Missing ')'")
		case len(p.args) == 0, p.args[0] == ")" && end != 0:
			p.next()
			if afterOr || len(q.keys) == 0 {
				return q, errMissing
			}
			return q, nil
		case p.args[0] == ")":
			return q, problem("Unexpected ')'")
		case strings.EqualFold(p.args[0], "OR"):
			p.next()
			q.op, afterOr = opOr, true
			continue
		case q.op == opOr && !afterOr:
			return q, problem("Use parenthesis when mixing ANDs and ORs")
		}
		k, err := p.key()
		if err != nil {
			return q, err
		}
		q.keys, afterOr = append(q.keys, k), false
	}
}

// key reads one key with its arguments.
func (p *parser) key() (Query, error) {
	if p.depth++; p.depth > maxDepth {
		return Query{}, problem("Query is nested too deeply")
	}
	defer func() { p.depth-- }()
	w, ok := p.next()
	if !ok || w == ")" {
		return Query{}, errMissing
	}
	name := strings.ToUpper(w)
	switch {
	case w == "(":
		return p.list(')')
	case name == "NOT":
		k, err := p.key()
		k.not = !k.not
		return k, err
	case name == "FUZZY":
		return p.key()
	case w == "*" || w != "" && w[0] >= '0' && w[0] <= '9':
		set, ok := parseSet(w)
		if !ok {
			return Query{}, problem("Invalid messageset")
		}
		return Query{op: opSeq, set: set}, nil
	}
	if k, ok := plainKeys[name]; ok {
		return k, nil
	}
	return p.keyWith(name)
}

// plainKeys are the keys without arguments.
var plainKeys = map[string]Query{
	"ALL": {op: opAll}, "$": {op: opNone}, "SAVEDATESUPPORTED": {op: opNone},
	"ANSWERED": {op: opFlag, flag: store.Answered}, "UNANSWERED": {op: opFlag, flag: store.Answered, not: true},
	"DELETED": {op: opFlag, flag: store.Deleted}, "UNDELETED": {op: opFlag, flag: store.Deleted, not: true},
	"DRAFT": {op: opFlag, flag: store.Draft}, "UNDRAFT": {op: opFlag, flag: store.Draft, not: true},
	"FLAGGED": {op: opFlag, flag: store.Flagged}, "UNFLAGGED": {op: opFlag, flag: store.Flagged, not: true},
	"SEEN": {op: opFlag, flag: store.Seen}, "UNSEEN": {op: opFlag, flag: store.Seen, not: true},
	"RECENT": {op: opRecent}, "OLD": {op: opRecent, not: true},
	"NEW": {op: opAnd, keys: []Query{{op: opRecent}, {op: opFlag, flag: store.Seen, not: true}}},
}

// keyWith reads a key that has an argument.
func (p *parser) keyWith(name string) (Query, error) {
	read, ok := argKeys[name]
	if !ok {
		return Query{}, problem(fmt.Sprintf("Unknown argument %s", name))
	}
	arg, ok := p.next()
	if !ok {
		return Query{}, problem(fmt.Sprintf("Missing parameter for search key (for search key: %s)", name))
	}
	if name == "HEADER" {
		field := arg
		if arg, ok = p.next(); !ok {
			return Query{}, problem(fmt.Sprintf("Missing parameter for search key (for search key: %s)", name))
		}
		return headerKey(field, arg), nil
	}
	return read(p, name, arg)
}

// argKeys are the keys with arguments.
var argKeys = map[string]func(p *parser, name, arg string) (Query, error){
	"HEADER": nil, "BCC": field, "CC": field, "FROM": field, "SUBJECT": field, "TO": field,
	"BODY": text(opBody), "TEXT": text(opText),
	"BEFORE": date, "ON": date, "SINCE": date, "SENTBEFORE": date, "SENTON": date, "SENTSINCE": date,
	"SAVEDBEFORE": date, "SAVEDON": date, "SAVEDSINCE": date,
	"LARGER": size, "SMALLER": size, "OLDER": interval, "YOUNGER": interval,
	"KEYWORD": keyword, "UNKEYWORD": keyword, "UID": uidSet, "MODSEQ": modSeq,
	"MAILBOX": word(opMailbox), "MAILBOX-GUID": word(opBoxGUID), "GUID": word(opGUID),
	"INTHREAD": unbuilt, "MIMEPART": unbuilt,
}

// unbuilt names a key of Dovecot's that there is not.
func unbuilt(_ *parser, name, _ string) (Query, error) {
	return Query{}, problem(fmt.Sprintf("search key %s is not built", name))
}

func headerKey(name, arg string) Query {
	address := false
	for _, n := range []string{"from", "to", "cc", "bcc", "sender", "reply-to"} {
		address = address || strings.EqualFold(n, name)
	}
	return Query{op: opHeader, field: name, address: address, text: textsearch.Fold(arg)}
}

func field(_ *parser, name, arg string) (Query, error) { return headerKey(name, arg), nil }

func text(o op) func(*parser, string, string) (Query, error) {
	return func(_ *parser, _, arg string) (Query, error) { return Query{op: o, text: textsearch.Fold(arg)}, nil }
}

func word(o op) func(*parser, string, string) (Query, error) {
	return func(_ *parser, _, arg string) (Query, error) { return Query{op: o, text: arg}, nil }
}

func keyword(_ *parser, name, arg string) (Query, error) {
	return Query{op: opKeyword, text: arg, not: name == "UNKEYWORD"}, nil
}

func uidSet(_ *parser, _, arg string) (Query, error) {
	set, ok := parseSet(arg)
	if !ok {
		return Query{}, problem("Invalid UID messageset")
	}
	return Query{op: opUID, set: set}, nil
}

func modSeq(_ *parser, _, arg string) (Query, error) {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || n < 0 {
		return Query{}, problem("Invalid MODSEQ value")
	}
	return Query{op: opModSeq, num: n}, nil
}

func interval(_ *parser, name, arg string) (Query, error) {
	n, err := strconv.ParseInt(arg, 10, 32)
	if err != nil || n <= 0 {
		return Query{}, problem("Invalid search interval parameter")
	}
	o := opOlder
	if name == "YOUNGER" {
		o = opYounger
	}
	return Query{op: o, num: n}, nil
}

func date(p *parser, name, arg string) (Query, error) {
	t, exact, ok := parseDate(arg, p.now)
	if !ok {
		return Query{}, problem(fmt.Sprintf("Invalid search date parameter: %s", arg))
	}
	q := Query{date: t, exact: exact}
	if rest, ok := strings.CutPrefix(name, "SENT"); ok {
		name, q.which = rest, sent
	} else if rest, ok := strings.CutPrefix(name, "SAVED"); ok {
		name, q.which = rest, saved
	}
	q.op = map[string]op{"BEFORE": opBefore, "ON": opOn, "SINCE": opSince}[name]
	return q, nil
}

func size(_ *parser, name, arg string) (Query, error) {
	n, ok := parseSize(arg)
	if !ok {
		return Query{}, problem(fmt.Sprintf("Invalid size: %s", arg))
	}
	if name == "LARGER" {
		return Query{op: opLarger, num: n}, nil
	}
	return Query{op: opSmaller, num: n}, nil
}

// NamesMailbox tells whether every branch of the query names a mailbox, and more
// tells whether every branch says something beside: expunge demands both.
func (q *Query) NamesMailbox() (named, more bool) {
	switch q.op {
	case opMailbox, opBoxGUID:
		return !q.not, false
	case opAnd:
		for i := range q.keys {
			n, m := q.keys[i].NamesMailbox()
			named, more = named || n, more || m
		}
		return named && !q.not, more
	case opOr:
		named, more = true, true
		for i := range q.keys {
			n, m := q.keys[i].NamesMailbox()
			named, more = named && n, more && m
		}
		return named && !q.not, more
	}
	return false, true
}

// Names returns the mailboxes that the query names without wildcards.
func (q *Query) Names() (list []string) {
	if q.op == opMailbox && !strings.ContainsAny(q.text, "*%") {
		return []string{q.text}
	}
	for i := range q.keys {
		for _, n := range q.keys[i].Names() {
			if !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	return list
}
