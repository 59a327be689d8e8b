// Package search evaluates the keys of SEARCH (RFC 3501 section 6.4.4) on one
// message after another. It reads a header once for all keys, and a body only
// when the cheaper keys have not decided.
package search

import (
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/textsearch"
	"packetboat/internal/serve/imapd/trigram"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// Source is where the messages of one mailbox are read.
type Source struct {
	// Read is that of store.Mailbox.
	Read func(uid uint32, off, n int64) (io.ReadCloser, error)
	// Load returns the tree of a message.
	Load func(m *store.Msg) (*message.Part, error)
	// Box is the mailbox.
	Box store.Mailbox
	// Index keeps what was found out about messages; nil where nothing does.
	Index *index.File
}

// Searcher runs one search over a view.
type Searcher struct {
	View *view.View
	Source
	Saved syntax.Set // what "$" stands for (RFC 5182), UIDs

	key     syntax.Key
	now     time.Time
	last    uint32 // highest UID
	keyword map[imap.Flag]uint64

	m      *store.Msg // the message looked at
	i      int        // its index
	header []byte     // its header, once it has been read
	loaded bool
	window textsearch.Window

	dear   bool // bodies are read
	ahead  ahead
	kinds  kinds
	failed bool // something of the message could not be read
	grams  *trigram.Builder
	filter []byte
	ids    ident.Messages

	text   []byte // of the field looked at
	digest []byte
	some   []byte // fields of the digest
}

// Prepare gets ready to look for messages that match key, and tells whether
// sizes or dates must be known for it.
func (sr *Searcher) Prepare(key syntax.Key) (look bool) {
	sr.key, sr.now, sr.keyword = key, time.Now(), map[imap.Flag]uint64{}
	if n := len(sr.View.Msgs); n > 0 {
		sr.last = sr.View.Msgs[n-1].UID
	}
	sr.prepare(&sr.key)
	sr.kinds = kinds{digest: sr.Index.Kind(render.DigestKind), grams: sr.Index.Kind(trigram.Kind), sent: sr.Index.Kind(sentKind)}
	c := cost(&sr.key)
	sr.dear = c == 2 || c == 1 && !sr.allKept(&sr.key)
	return needsLook(&sr.key)
}

// Match tells whether message i of the view matches.
func (sr *Searcher) Match(i int) bool {
	if sr.Expired() {
		return false
	}
	if sr.dear {
		return sr.matchAhead(i)
	}
	return sr.matchOne(i)
}

func (sr *Searcher) matchOne(i int) bool {
	sr.m, sr.i, sr.loaded, sr.failed = &sr.View.Msgs[i], i, false, false
	return sr.match(&sr.key)
}

// needsLook tells whether a key asks for more than numbers and flags.
func needsLook(k *syntax.Key) bool {
	switch k.Op {
	case syntax.KeyAll, syntax.KeySaved, syntax.KeyModSeq, syntax.KeySeq, syntax.KeyUID, syntax.KeyFlag:
		return false
	case syntax.KeyAnd, syntax.KeyOr:
		return slices.ContainsFunc(k.Keys, func(k syntax.Key) bool { return needsLook(&k) })
	}
	return true
}

// prepare does once what would cost on every message: sets are resolved,
// strings folded, and cheap keys put before dear ones.
func (sr *Searcher) prepare(k *syntax.Key) {
	switch k.Op {
	case syntax.KeySeq:
		k.Set = k.Set.Resolve(uint32(len(sr.View.Msgs)))
	case syntax.KeyUID:
		k.Set = k.Set.Resolve(sr.last)
	case syntax.KeyHeader, syntax.KeyBody, syntax.KeyText:
		k.Text = textsearch.Fold(k.Text)
	case syntax.KeyFlag:
		sr.keyword[k.Flag] = keywordFold(sr.View.Snap, string(k.Flag))
	}
	for i := range k.Keys {
		sr.prepare(&k.Keys[i])
	}
	sortKeys(k.Keys)
}

// keywordFold returns the bits of a keyword in any case.
func keywordFold(snap *store.Snapshot, name string) (bits uint64) {
	for i, k := range snap.Keywords {
		if strings.EqualFold(k, name) {
			bits |= 1 << i
		}
	}
	return bits
}

// cost orders keys: 0 is known without reading, 1 needs the header, 2 the body.
func cost(k *syntax.Key) int {
	c := 0
	switch k.Op {
	case syntax.KeyBody, syntax.KeyText, syntax.KeyEmailID:
		return 2
	case syntax.KeyHeader, syntax.KeySavedBefore, syntax.KeySavedOn, syntax.KeySavedSince, syntax.KeySentBefore, syntax.KeySentOn, syntax.KeySentSince:
		return 1
	}
	for i := range k.Keys {
		c = max(c, cost(&k.Keys[i]))
	}
	return c
}

func sortKeys(keys []syntax.Key) {
	for i := 1; i < len(keys); i++ {
		for j := i; j > 0 && cost(&keys[j]) < cost(&keys[j-1]); j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
}

func (sr *Searcher) match(k *syntax.Key) bool { return sr.test(k) != k.Not }

// test evaluates one key on the message, without its NOT.
func (sr *Searcher) test(k *syntax.Key) bool {
	m := sr.m
	switch k.Op {
	case syntax.KeyAll:
		return true
	case syntax.KeyAnd:
		for i := range k.Keys {
			if !sr.match(&k.Keys[i]) {
				return false
			}
		}
		return true
	case syntax.KeyOr:
		return sr.match(&k.Keys[0]) || sr.match(&k.Keys[1])
	case syntax.KeySeq:
		return k.Set.Contains(uint32(sr.i + 1))
	case syntax.KeyUID:
		return k.Set.Contains(m.UID)
	case syntax.KeyModSeq:
		return m.ModSeq >= uint64(k.Num)
	case syntax.KeySaved:
		return sr.Saved.Contains(m.UID)
	case syntax.KeyFlag:
		return sr.flag(k.Flag)
	case syntax.KeyLarger:
		return m.Size > k.Num
	case syntax.KeySmaller:
		return m.Size < k.Num
	case syntax.KeyOlder:
		return m.Date <= sr.now.Unix()-k.Num
	case syntax.KeyYounger:
		return m.Date > sr.now.Unix()-k.Num
	case syntax.KeyThreadID:
		return false // threads have no names here
	case syntax.KeyEmailID:
		id, err := sr.ident().EmailID(m)
		return err == nil && id == k.Text
	}
	return sr.testDate(k)
}

func (sr *Searcher) flag(f imap.Flag) bool {
	if bit := view.SystemFlag(string(f)); bit != 0 {
		return sr.m.Flags&bit != 0
	}
	if f == syntax.FlagRecent {
		return sr.View.IsRecent(sr.m.UID)
	}
	return sr.m.Keywords&sr.keyword[f] != 0
}

// testDate compares days; the time of day and the zone are left out of account.
func (sr *Searcher) testDate(k *syntax.Key) bool {
	var day time.Time
	switch k.Op {
	case syntax.KeyBefore, syntax.KeyOn, syntax.KeySince:
		day = dayOf(time.Unix(sr.m.Date, 0))
	case syntax.KeySentBefore, syntax.KeySentOn, syntax.KeySentSince:
		day = sr.sent()
	case syntax.KeySavedBefore, syntax.KeySavedOn, syntax.KeySavedSince:
		saved, err := sr.ident().SaveDate(sr.m)
		if err != nil {
			return false
		}
		day = dayOf(saved)
	default:
		return sr.testText(k)
	}
	switch k.Op {
	case syntax.KeyBefore, syntax.KeySentBefore, syntax.KeySavedBefore:
		return day.Before(k.Date)
	case syntax.KeySince, syntax.KeySentSince, syntax.KeySavedSince:
		return !day.Before(k.Date)
	}
	return day.Equal(k.Date)
}

// ident returns what knows the ids of messages.
func (sr *Searcher) ident() *ident.Messages {
	sr.ids.Box, sr.ids.Index = sr.Box, sr.Index
	return &sr.ids
}

func dayOf(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// sentDay reads the first Date field of a header.
func sentDay(header []byte) (day time.Time) {
	day = time.Unix(0, 0).UTC()
	textsearch.EachField(header, func(name, value []byte) bool {
		if !strings.EqualFold(string(name), "Date") {
			return true
		}
		if t, ok := textsearch.ParseDate(strings.TrimSpace(string(render.Unfold(value)))); ok {
			day = dayOf(t)
		}
		return false
	})
	return day
}
