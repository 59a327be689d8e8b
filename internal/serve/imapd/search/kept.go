package search

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/textsearch"
	"packetboat/internal/serve/imapd/trigram"
	"packetboat/internal/store/index"
)

// What SEARCH keeps of a message: for each field that somebody has searched the
// text of all fields of that name, folded, each with its length, 2 octets, before
// it; and the day of the Date field, 4 octets of days since 1970.
const (
	textKind = "text.1"    // and the name of the field behind it
	addrKind = "address.1" // the same for fields that are compared as addresses
	sentKind = "sent.1"
	maxTexts = 32 << 10
)

// kinds are the numbers of what is kept.
type kinds struct {
	digest, grams, sent index.Kind
	fields              []fieldKind
}

// fieldKind says under which number the texts of a field are kept.
type fieldKind struct {
	name    string
	address bool
	kind    index.Kind
	listed  int // index in digests, or -1
}

// fieldOf returns the number for the field of a key, which it gets at its first use.
func (sr *Searcher) fieldOf(name string, address bool) *fieldKind {
	for i := range sr.kinds.fields {
		if f := &sr.kinds.fields[i]; f.address == address && strings.EqualFold(f.name, name) {
			return f
		}
	}
	prefix := textKind
	if address {
		prefix = addrKind
	}
	f := fieldKind{name, address, sr.Index.Kind(prefix + " " + strings.ToLower(name)), render.ListedField(name)}
	sr.kinds.fields = append(sr.kinds.fields, f)
	return &sr.kinds.fields[len(sr.kinds.fields)-1]
}

func (sr *Searcher) tag() uint32 { return uint32(sr.m.Size) }

// inKept looks for a key's text in what is kept of its field, which is worked
// out where it is not; known is false when that cannot be.
func (sr *Searcher) inKept(k *syntax.Key) (found, known bool) {
	if sr.Index == nil {
		return false, false
	}
	f := sr.fieldOf(k.Header, k.Address)
	sr.text, known = sr.Index.Append(sr.text[:0], f.kind, sr.m.UID, sr.tag())
	if known {
		return inTexts(sr.text, k.Text), true
	}
	header, ok := sr.fields(f.listed)
	if !ok {
		return false, false
	}
	sr.text = appendTexts(sr.text[:0], header, f)
	if len(sr.text) > maxTexts {
		return false, false
	}
	sr.Index.Put(f.kind, sr.m.UID, sr.tag(), sr.text)
	return inTexts(sr.text, k.Text), true
}

// fields returns a header that holds at least the fields of that index in
// digests: these, or all.
func (sr *Searcher) fields(listed int) ([]byte, bool) {
	if listed < 0 || sr.loaded {
		header := sr.loadHeader()
		return header, len(header) < maxSearchHeader && !sr.failed
	}
	var ok bool
	if sr.digest, ok = sr.Index.Append(sr.digest[:0], sr.kinds.digest, sr.m.UID, sr.tag()); ok {
		sr.some = sr.some[:0]
		render.EachListed(sr.digest, func(i int, field []byte) bool {
			if i == listed {
				sr.some = append(sr.some, field...)
			}
			return true
		})
		return sr.some, true
	}
	header := sr.loadHeader()
	if len(header) >= maxSearchHeader || sr.failed {
		return nil, false
	}
	if sr.digest, ok = render.Digest(sr.digest[:0], header); ok {
		sr.Index.Put(sr.kinds.digest, sr.m.UID, sr.tag(), sr.digest)
	}
	return header, true
}

// appendTexts appends the texts of one field's values; more than maxTexts are not to be used.
func appendTexts(b, header []byte, f *fieldKind) []byte {
	textsearch.EachField(header, func(name, value []byte) bool {
		if len(name) == len(f.name) && strings.EqualFold(string(name), f.name) {
			text := textsearch.FieldText(f.name, f.address, value)
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(text))), text...)
		}
		return len(b) <= maxTexts
	})
	return b
}

// inTexts looks for text in each of the texts.
func inTexts(b []byte, text string) bool {
	for len(b) >= 2 {
		n := 2 + int(binary.LittleEndian.Uint16(b))
		if n > len(b) {
			return false
		}
		if bytes.Contains(b[2:n], []byte(text)) {
			return true
		}
		b = b[n:]
	}
	return false
}

// sent returns the day of the Date field, in the sender's zone. Where it is
// missing or makes no sense the day is that of time 0, as in Dovecot.
func (sr *Searcher) sent() time.Time {
	if sr.Index == nil {
		return sentDay(sr.loadHeader())
	}
	var ok bool
	if sr.text, ok = sr.Index.Append(sr.text[:0], sr.kinds.sent, sr.m.UID, sr.tag()); ok && len(sr.text) == 4 {
		return time.Unix(int64(int32(binary.LittleEndian.Uint32(sr.text)))*86400, 0).UTC()
	}
	header, ok := sr.fields(render.ListedField("Date"))
	if !ok {
		return sentDay(sr.loadHeader())
	}
	day := sentDay(header)
	sr.text = binary.LittleEndian.AppendUint32(sr.text[:0], uint32(day.Unix()/86400))
	sr.Index.Put(sr.kinds.sent, sr.m.UID, sr.tag(), sr.text)
	return day
}

// allKept tells whether what a key wants of headers is kept of the last message,
// and so most likely of all: then one processor is done sooner than two.
func (sr *Searcher) allKept(k *syntax.Key) bool {
	n := len(sr.View.Msgs)
	if sr.Index == nil || n == 0 {
		return false
	}
	kind := index.None
	switch k.Op {
	case syntax.KeyHeader:
		kind = sr.fieldOf(k.Header, k.Address).kind
	case syntax.KeySentBefore, syntax.KeySentOn, syntax.KeySentSince:
		kind = sr.kinds.sent
	default:
		return !slices.ContainsFunc(k.Keys, func(k syntax.Key) bool { return !sr.allKept(&k) })
	}
	sr.m = &sr.View.Msgs[n-1]
	var ok bool
	sr.text, ok = sr.Index.Append(sr.text[:0], kind, sr.m.UID, sr.tag())
	return ok
}

// mayHold asks the filter of the message, which is made where there is none yet.
func (sr *Searcher) mayHold(text string) bool {
	var ok bool
	sr.filter, ok = sr.Index.Append(sr.filter[:0], sr.kinds.grams, sr.m.UID, sr.tag())
	return !ok && !sr.makeFilter() || trigram.MayHold(sr.filter, text)
}

// makeFilter reads all of the message once, whatever is looked for, and keeps its
// filter, so that this search and the next ones look only into messages that may
// match. It fails where the message cannot be read to its end.
func (sr *Searcher) makeFilter() bool {
	if sr.grams == nil {
		sr.grams = new(trigram.Builder)
	}
	sr.grams.Reset(sr.m.Size)
	sr.addHeader(sr.loadHeader())
	root, err := sr.Load(sr.m)
	if err != nil {
		return false
	}
	if sr.addPart(root); sr.failed {
		return false
	}
	sr.filter = sr.grams.Append(sr.filter[:0])
	sr.Index.Put(sr.kinds.grams, sr.m.UID, sr.tag(), sr.filter)
	return true
}

func (sr *Searcher) addHeader(header []byte) {
	sr.window.EachLine(header, func(line []byte) bool {
		sr.grams.Add(line)
		return true
	})
}

// addPart takes in what inPart looks through.
func (sr *Searcher) addPart(p *message.Part) {
	for _, child := range p.Children {
		sr.addHeader(sr.readPart(nil, child.Pos, min(child.HeaderSize, maxSearchHeader)))
		sr.addPart(child)
	}
	if !searchable(p) {
		return
	}
	r, err := sr.Read(sr.m.UID, p.BodyPos(), p.BodySize)
	if err == nil {
		err = sr.window.Each(sr.window.Decode(io.LimitReader(r, p.BodySize), p), 3, func(text []byte) bool {
			sr.grams.Add(text)
			return true
		})
		r.Close()
	}
	sr.failed = sr.failed || err != nil
}
