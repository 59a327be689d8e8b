package search

import (
	"bytes"
	"io"
	"strings"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/textsearch"
)

// maxSearchHeader is how much of a header SEARCH looks at.
const maxSearchHeader = 256 << 10

// testText evaluates the keys that look for text. A message that cannot be
// read does not match.
func (sr *Searcher) testText(k *syntax.Key) bool {
	switch k.Op {
	case syntax.KeyHeader:
		return sr.inField(k)
	case syntax.KeyText:
		return k.Text == "" || sr.inMessage(k.Text, true)
	}
	return k.Text == "" || sr.inMessage(k.Text, false)
}

// inField tells whether one of the fields named holds the text.
func (sr *Searcher) inField(k *syntax.Key) (found bool) {
	if found, known := sr.inKept(k); known {
		return found
	}
	sr.eachField(k.Header, func(value []byte) bool {
		found = k.Text == "" || strings.Contains(textsearch.FieldText(k.Header, k.Address, value), k.Text)
		return !found
	})
	return found
}

// eachField calls fn with the value of every field of that name, line ends
// included, until fn returns false.
func (sr *Searcher) eachField(name string, fn func(value []byte) bool) {
	textsearch.EachField(sr.loadHeader(), func(n, value []byte) bool {
		if len(n) != len(name) || !strings.EqualFold(string(n), name) {
			return true
		}
		return fn(value)
	})
}

// loadHeader reads the message's header, once for all keys.
func (sr *Searcher) loadHeader() []byte {
	if sr.loaded {
		return sr.header
	}
	sr.loaded = true
	n := int64(maxSearchHeader)
	if sr.m.Header > 0 {
		n = min(n, sr.m.Header)
	}
	sr.header = sr.readPart(sr.header[:0], 0, n)
	return sr.header
}

// readPart reads octets of the message onto dst.
func (sr *Searcher) readPart(dst []byte, pos, n int64) []byte {
	r, err := sr.Read(sr.m.UID, pos, n)
	if err != nil {
		sr.failed = true
		return dst
	}
	defer r.Close()
	w := bytes.NewBuffer(dst)
	if _, err := io.Copy(w, io.LimitReader(r, n)); err != nil {
		sr.failed = true // what cannot be read does not match
	}
	return w.Bytes()
}

// inMessage looks for text in the bodies of the text parts, and with headers
// set in all headers, as Dovecot does.
func (sr *Searcher) inMessage(text string, headers bool) bool {
	if sr.Index != nil && !sr.mayHold(text) {
		return false
	}
	if headers && sr.window.HeaderHolds(sr.loadHeader(), text) {
		return true
	}
	root, err := sr.Load(sr.m)
	if err != nil {
		return false
	}
	return sr.inPart(root, text, headers)
}

func (sr *Searcher) inPart(p *message.Part, text string, headers bool) bool {
	for _, child := range p.Children {
		if headers {
			h := sr.readPart(nil, child.Pos, min(child.HeaderSize, maxSearchHeader))
			if sr.window.HeaderHolds(h, text) {
				return true
			}
		}
		if sr.inPart(child, text, headers) {
			return true
		}
	}
	if !searchable(p) {
		return false
	}
	r, err := sr.Read(sr.m.UID, p.BodyPos(), p.BodySize)
	if err != nil {
		return false
	}
	defer r.Close()
	return sr.window.Holds(sr.window.Decode(io.LimitReader(r, p.BodySize), p), text)
}

// searchable tells whether a part is text, or a message that is not taken apart.
func searchable(p *message.Part) bool {
	return len(p.Children) == 0 && (p.IsText() || bytes.EqualFold(p.Type, []byte("message"))) && textsearch.Decodable(p)
}
