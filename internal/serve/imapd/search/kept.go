package search

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/textsearch"
	"packetboat/internal/serve/imapd/trigram"
	"packetboat/internal/store/index"
)

// What SEARCH keeps of a message: the day of its Date field, 4 octets of days
// since 1970, and the text of the fields that are searched most, folded: index of
// the field in render's list 1, length 2, text.
const (
	textsKind = "searchtext.1"
	maxTexts  = 32 << 10
)

// kinds are the numbers of what is kept.
type kinds struct{ texts, digest, grams index.Kind }

// kindsOf asks for the numbers once a search.
func kindsOf(x *index.File) kinds {
	return kinds{x.Kind(textsKind), x.Kind(render.DigestKind), x.Kind(trigram.Kind)}
}

// keptAs tells whether the text of a field is kept, and whether as addresses.
func keptAs(name string) (kept, address bool) {
	switch strings.ToLower(name) {
	case "from", "to", "cc", "bcc":
		return true, true
	case "subject", "message-id", "in-reply-to", "list-id", "sender", "reply-to":
		return true, false
	}
	return false, false
}

func (sr *Searcher) tag() uint32 { return uint32(sr.m.Size) }

// texts returns the texts of the message; false when there are none.
func (sr *Searcher) texts() ([]byte, bool) {
	if sr.textsDone {
		return sr.text, sr.textsOK
	}
	sr.textsDone = true
	sr.text, sr.textsOK = sr.Index.Append(sr.text[:0], sr.kinds.texts, sr.m.UID, sr.tag())
	if sr.textsOK {
		sr.textsOK = len(sr.text) >= 4
		return sr.text, sr.textsOK
	}
	header := sr.loadHeader()
	if len(header) >= maxSearchHeader || sr.failed {
		return nil, false
	}
	sr.text = appendTexts(sr.text[:0], header)
	if sr.textsOK = len(sr.text) <= maxTexts; sr.textsOK {
		sr.Index.Put(sr.kinds.texts, sr.m.UID, sr.tag(), sr.text)
	}
	return sr.text, sr.textsOK
}

// appendTexts makes texts of a header; longer ones than maxTexts are not to be used.
func appendTexts(b, header []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(sentDay(header).Unix()/86400))
	textsearch.EachField(header, func(n, value []byte) bool {
		name := string(n)
		i := render.ListedField(name)
		if i < 0 {
			return true
		}
		kept, address := keptAs(name)
		if !kept {
			return true
		}
		text := textsearch.FieldText(name, address, value)
		b = append(binary.LittleEndian.AppendUint16(append(b, byte(i)), uint16(min(len(text), 1<<16-1))), text...)
		return len(b) <= maxTexts
	})
	return b
}

// keptDay returns the day of the Date field out of texts.
func keptDay(texts []byte) time.Time {
	return time.Unix(int64(int32(binary.LittleEndian.Uint32(texts)))*86400, 0).UTC()
}

// inKept looks for a key's text in what is kept of the header; known is false
// when that does not tell.
func (sr *Searcher) inKept(k *syntax.Key) (found, known bool) {
	if sr.Index == nil {
		return false, false
	}
	i := render.ListedField(k.Header)
	if i < 0 {
		return false, false
	}
	if kept, address := keptAs(k.Header); kept && address == k.Address {
		if texts, ok := sr.texts(); ok {
			return inTexts(texts[4:], byte(i), k.Text), true
		}
		return false, false
	}
	var digest []byte
	if digest, known = sr.Index.Append(sr.text[:0], sr.kinds.digest, sr.m.UID, sr.tag()); !known {
		return false, false
	}
	sr.text, sr.textsDone = digest, false
	render.EachListed(digest, func(n int, field []byte) bool {
		if n == i {
			textsearch.EachField(field, func(_, value []byte) bool {
				found = k.Text == "" || strings.Contains(textsearch.FieldText(k.Header, k.Address, value), k.Text)
				return true
			})
		}
		return !found
	})
	return found, true
}

// inTexts looks for text in the texts of one field.
func inTexts(b []byte, field byte, text string) bool {
	for len(b) >= 3 {
		n := 3 + int(binary.LittleEndian.Uint16(b[1:]))
		if n > len(b) {
			return false
		}
		if b[0] == field && bytes.Contains(b[3:n], []byte(text)) {
			return true
		}
		b = b[n:]
	}
	return false
}

// mayHold asks the filter of the message; known is false when there is none yet.
func (sr *Searcher) mayHold(text string) (may, known bool) {
	filter, ok := sr.Index.Append(sr.filter[:0], sr.kinds.grams, sr.m.UID, sr.tag())
	sr.filter = filter
	return !ok || trigram.MayHold(filter, text), ok
}

// inMessageAll is inMessage that reads all of the message, once, and keeps its
// filter, so that the next search reads it only when it may match.
func (sr *Searcher) inMessageAll(text string, headers bool) (found bool) {
	if sr.grams == nil {
		sr.grams = new(trigram.Builder)
	}
	sr.grams.Reset()
	header := sr.loadHeader()
	found = sr.headerHolds(header, text) && headers
	root, err := sr.Load(sr.m)
	if err != nil {
		return found
	}
	if sr.inPartAll(root, text, headers) {
		found = true
	}
	if !sr.failed {
		sr.filter = sr.grams.Append(sr.filter[:0])
		sr.Index.Put(sr.kinds.grams, sr.m.UID, sr.tag(), sr.filter)
	}
	return found
}

// headerHolds is textsearch.HeaderHolds that goes on to the end.
func (sr *Searcher) headerHolds(header []byte, text string) (found bool) {
	textsearch.EachLine(header, func(line string) bool {
		sr.line = append(sr.line[:0], line...)
		sr.grams.Add(sr.line)
		found = found || strings.Contains(line, text)
		return true
	})
	return found
}

// inPartAll is inPart that goes on to the end.
func (sr *Searcher) inPartAll(p *message.Part, text string, headers bool) (found bool) {
	for _, child := range p.Children {
		h := sr.readPart(nil, child.Pos, min(child.HeaderSize, maxSearchHeader))
		if sr.headerHolds(h, text) && headers {
			found = true
		}
		if sr.inPartAll(child, text, headers) {
			found = true
		}
	}
	if !searchable(p) {
		return found
	}
	r, err := sr.Read(sr.m.UID, p.BodyPos(), p.BodySize)
	if err != nil {
		sr.failed = true
		return found
	}
	defer r.Close()
	holds, err := sr.window.Collect(textsearch.DecodeBody(io.LimitReader(r, p.BodySize), p), text, sr.grams.Add)
	sr.failed = sr.failed || err != nil
	return found || holds
}
