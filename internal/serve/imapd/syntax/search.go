package syntax

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-message/charset"
)

// KeyOp is what one key of SEARCH compares.
type KeyOp uint8

// The values of KeyOp.
const (
	KeyAll    KeyOp = iota
	KeyAnd          // all of Keys
	KeyOr           // one of Keys
	KeySeq          // Set
	KeyUID          // Set
	KeyFlag         // Flag: a system flag, \Recent or a keyword
	KeyBefore       // INTERNALDATE's day against Date
	KeyOn
	KeySince
	KeyOlder   // INTERNALDATE more than Num seconds ago (RFC 5032)
	KeyYounger // INTERNALDATE within the last Num seconds
	KeyLarger  // RFC822.SIZE against Num
	KeySmaller
	KeySentBefore // the Date field's day against Date
	KeySentOn
	KeySentSince
	KeyHeader // field Header holds Text
	KeyBody   // the body holds Text
	KeyText   // header or body hold Text
	KeySaved  // "$" of RFC 5182
	KeyModSeq // modseq of at least Num (RFC 7162)
	KeyEmailID
	KeyThreadID    // in no thread that has a name (RFC 8474)
	KeySavedBefore // the day of SAVEDATE against Date (RFC 8514)
	KeySavedOn
	KeySavedSince
)

// Key is a node of a search. go-imap's SearchCriteria cannot say "SMALLER 0",
// nor WITHIN, nor in which order the client wrote its keys; this can.
type Key struct {
	Op      KeyOp
	Not     bool
	Keys    []Key
	Set     Set
	Flag    imap.Flag
	Header  string
	Address bool   // FROM, TO, CC, BCC: addresses are compared as addresses
	Text    string // UTF-8
	Num     int64
	Date    time.Time // midnight UTC of the day
}

// ErrCharset is a charset that nobody knows: NO [BADCHARSET].
var ErrCharset = errors.New("[BADCHARSET] Unknown charset")

// maxKeys is the number of keys of one SEARCH; each may cost a pass over a message.
const maxKeys = 1000

// searchParser reads the arguments of one SEARCH.
type searchParser struct {
	charset string
	keys    int
}

// ParseSearch reads the arguments of SEARCH (RFC 3501 section 6.4.4). The
// result is a KeyAnd.
func ParseSearch(args []Arg) (Key, error) {
	var p searchParser
	if len(args) > 0 && args[0].Is("CHARSET") {
		if len(args) < 2 || !args[1].IsString() {
			return Key{}, Error("Invalid charset argument")
		}
		p.charset = string(args[1].Text)
		if _, err := p.decode([]byte("x")); err != nil {
			return Key{}, ErrCharset
		}
		args = args[2:]
	}
	if len(args) == 0 {
		return Key{}, Error("Missing search parameters")
	}
	return p.all(args)
}

// all reads keys that must all be true.
func (p *searchParser) all(args []Arg) (Key, error) {
	and := Key{Op: KeyAnd}
	for len(args) > 0 {
		k, rest, err := p.key(args)
		if err != nil {
			return Key{}, err
		}
		and.Keys, args = append(and.Keys, k), rest
	}
	return and, nil
}

// key reads one key and returns the arguments behind it.
func (p *searchParser) key(args []Arg) (Key, []Arg, error) {
	if p.keys++; p.keys > maxKeys {
		return Key{}, nil, Error("Too many search parameters")
	}
	if len(args) == 0 {
		return Key{}, nil, Error("Missing argument")
	}
	a, rest := args[0], args[1:]
	if a.Kind == List {
		if len(a.List) == 0 {
			return Key{}, nil, Error("No search parameters inside list")
		}
		k, err := p.all(a.List)
		return k, rest, err
	}
	word := strings.ToUpper(string(a.Text))
	switch word {
	case "NOT":
		k, rest, err := p.key(rest)
		k.Not = !k.Not
		return k, rest, err
	case "OR":
		return p.or(rest)
	}
	if k, ok := flagKey(word); ok {
		return k, rest, nil
	}
	if set, ok := ParseSet(a.Text); ok {
		return Key{Op: KeySeq, Set: set}, rest, nil
	}
	if word == "MODSEQ" {
		return modSeqKey(rest)
	}
	return p.keyWithText(word, rest)
}

func (p *searchParser) or(args []Arg) (Key, []Arg, error) {
	first, args, err := p.key(args)
	if err != nil {
		return Key{}, nil, err
	}
	second, args, err := p.key(args)
	return Key{Op: KeyOr, Keys: []Key{first, second}}, args, err
}

// flagKey knows the keys that take nothing.
func flagKey(word string) (Key, bool) {
	flag := func(f imap.Flag, not bool) (Key, bool) { return Key{Op: KeyFlag, Flag: f, Not: not}, true }
	switch word {
	case "ALL":
		return Key{Op: KeyAll}, true
	case "SAVEDATESUPPORTED":
		return Key{Op: KeyAll}, true
	case "$":
		return Key{Op: KeySaved}, true
	case "ANSWERED", "UNANSWERED":
		return flag(imap.FlagAnswered, word[0] == 'U')
	case "DELETED", "UNDELETED":
		return flag(imap.FlagDeleted, word[0] == 'U')
	case "DRAFT", "UNDRAFT":
		return flag(imap.FlagDraft, word[0] == 'U')
	case "FLAGGED", "UNFLAGGED":
		return flag(imap.FlagFlagged, word[0] == 'U')
	case "SEEN", "UNSEEN":
		return flag(imap.FlagSeen, word[0] == 'U')
	case "RECENT", "OLD":
		return flag(FlagRecent, word == "OLD")
	case "NEW":
		return Key{Op: KeyAnd, Keys: []Key{{Op: KeyFlag, Flag: FlagRecent}, {Op: KeyFlag, Flag: imap.FlagSeen, Not: true}}}, true
	}
	return Key{}, false
}

// FlagRecent is the flag that belongs to the session (RFC 3501 section 2.3.2);
// IMAP4rev2 has dropped it, and go-imap with it.
const FlagRecent imap.Flag = `\Recent`

// keyWithText reads the keys that take an argument or two.
func (p *searchParser) keyWithText(word string, args []Arg) (Key, []Arg, error) {
	k, kind := textKey(word)
	if kind == argNone {
		return Key{}, nil, Error("Unknown argument " + word)
	}
	want := 1
	if kind == argHeader {
		want = 2
	}
	if len(args) > 0 && (args[0].Kind == List || args[min(want, len(args))-1].Kind == List) {
		return Key{}, nil, Error("Unexpected ( (for search key: " + word + ")")
	}
	if len(args) < want {
		return Key{}, nil, Error("Missing parameter for search key (for search key: " + word + ")")
	}
	if kind == argHeader {
		k.Header = string(args[0].Text)
	}
	err := p.setArg(&k, kind, args[want-1].Text)
	return k, args[want:], err
}

// argKind is what a key takes.
type argKind uint8

const (
	argNone argKind = iota
	argString
	argHeader
	argDate
	argNumber
	argInterval
	argFlag
	argSet
)

// textKey knows the keys that take something.
func textKey(word string) (Key, argKind) {
	switch word {
	case "BCC", "CC", "FROM", "TO":
		return Key{Op: KeyHeader, Header: word, Address: true}, argString
	case "SUBJECT":
		return Key{Op: KeyHeader, Header: word}, argString
	case "HEADER":
		return Key{Op: KeyHeader}, argHeader
	case "BODY":
		return Key{Op: KeyBody}, argString
	case "TEXT":
		return Key{Op: KeyText}, argString
	case "KEYWORD", "UNKEYWORD":
		return Key{Op: KeyFlag, Not: word[0] == 'U'}, argFlag
	case "LARGER":
		return Key{Op: KeyLarger}, argNumber
	case "SMALLER":
		return Key{Op: KeySmaller}, argNumber
	case "OLDER":
		return Key{Op: KeyOlder}, argInterval
	case "YOUNGER":
		return Key{Op: KeyYounger}, argInterval
	case "UID":
		return Key{Op: KeyUID}, argSet
	case "EMAILID":
		return Key{Op: KeyEmailID}, argString
	case "THREADID":
		return Key{Op: KeyThreadID}, argString
	}
	return dateKey(word)
}

func dateKey(word string) (Key, argKind) {
	switch word {
	case "BEFORE":
		return Key{Op: KeyBefore}, argDate
	case "ON":
		return Key{Op: KeyOn}, argDate
	case "SINCE":
		return Key{Op: KeySince}, argDate
	case "SENTBEFORE":
		return Key{Op: KeySentBefore}, argDate
	case "SENTON":
		return Key{Op: KeySentOn}, argDate
	case "SENTSINCE":
		return Key{Op: KeySentSince}, argDate
	case "SAVEDBEFORE":
		return Key{Op: KeySavedBefore}, argDate
	case "SAVEDON":
		return Key{Op: KeySavedOn}, argDate
	case "SAVEDSINCE":
		return Key{Op: KeySavedSince}, argDate
	}
	return Key{}, argNone
}

// setArg stores a key's argument.
func (p *searchParser) setArg(k *Key, kind argKind, text []byte) (err error) {
	switch kind {
	case argString, argHeader:
		if k.Text, err = p.decode(text); err != nil {
			return ErrCharset
		}
	case argFlag:
		k.Flag = imap.Flag(text)
	case argDate:
		if k.Date, err = time.Parse("_2-Jan-2006", string(text)); err != nil {
			return Error("Invalid search date parameter")
		}
	case argNumber:
		if k.Num, err = strconv.ParseInt(string(text), 10, 64); err != nil || k.Num < 0 {
			return Error("Invalid search size parameter")
		}
	case argInterval:
		if k.Num, err = strconv.ParseInt(string(text), 10, 32); err != nil || k.Num <= 0 {
			return Error("Invalid search interval parameter")
		}
	case argSet:
		if string(text) == "$" {
			k.Op = KeySaved
			return nil
		}
		var ok bool
		if k.Set, ok = ParseSet(text); !ok {
			return Error("Invalid UID messageset")
		}
	}
	return nil
}

// decode turns a search string into UTF-8.
func (p *searchParser) decode(text []byte) (string, error) {
	switch strings.ToUpper(p.charset) {
	case "", "UTF-8", "UTF8", "US-ASCII", "ASCII":
		return string(text), nil
	}
	r, err := charset.Reader(p.charset, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(r)
	return string(out), err
}

// Clone returns a key that shares nothing with k, for a search that changes its key.
func (k Key) Clone() Key {
	k.Keys = slices.Clone(k.Keys)
	for i := range k.Keys {
		k.Keys[i] = k.Keys[i].Clone()
	}
	return k
}

// HasNumbers tells whether a search names messages by their numbers.
func (k *Key) HasNumbers() bool {
	return k.Op == KeySeq || slices.ContainsFunc(k.Keys, func(k Key) bool { return k.HasNumbers() })
}
