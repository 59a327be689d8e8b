package imapd

import (
	"bytes"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/unicode/norm"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/syntax"
)

// maxSearchHeader is how much of a header SEARCH looks at.
const maxSearchHeader = 256 << 10

// fold makes text comparable: letters of one case, taken apart from their
// accents (RFC 5051, i;unicode-casemap).
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return strings.ToLower(norm.NFKD.String(strings.ToValidUTF8(s, "\uFFFD")))
		}
	}
	return strings.ToLower(s)
}

// testText evaluates the keys that look for text. A message that cannot be
// read does not match.
func (sr *searcher) testText(k *syntax.Key) bool {
	switch k.Op {
	case syntax.KeyHeader:
		return sr.inField(k)
	case syntax.KeyText:
		return k.Text == "" || sr.inMessage(k.Text, true)
	}
	return k.Text == "" || sr.inMessage(k.Text, false)
}

// inField tells whether one of the fields named holds the text.
func (sr *searcher) inField(k *syntax.Key) (found bool) {
	sr.eachField(k.Header, func(value []byte) bool {
		found = k.Text == "" || strings.Contains(fieldText(k, value), k.Text)
		return !found
	})
	return found
}

// fieldText is what a field's value says to a reader: addresses are written
// anew, so that quoting makes no difference; encoded words are decoded.
func fieldText(k *syntax.Key, value []byte) string {
	line := string(unfold(value))
	if k.Address {
		if list := addressText(value); list != "" {
			line = list
		}
	}
	line = decodeWords(line)
	if strings.EqualFold(k.Header, "Subject") {
		line = strings.Join(strings.Fields(line), " ")
	}
	return fold(line)
}

// decodeWords decodes RFC 2047's encoded words; what cannot be decoded stays.
func decodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	d := mime.WordDecoder{CharsetReader: wordCharset}
	out, err := d.DecodeHeader(s)
	if err != nil {
		return s
	}
	return out
}

// wordCharset is charset.Reader for encoded words: RFC 2231's language is cut
// off, and text of an unknown charset is taken as it is.
func wordCharset(name string, r io.Reader) (io.Reader, error) {
	name, _, _ = strings.Cut(name, "*")
	if conv, err := charset.Reader(name, r); err == nil {
		return conv, nil
	}
	return r, nil
}

// addressText writes an address list as "Name <local@host>, ...".
func addressText(value []byte) string {
	var b strings.Builder
	first := true
	message.EachEnvAddress(value, func(a message.EnvAddress) bool {
		if a.Host == nil { // the start of a group, or its end
			b.Write(a.Mailbox)
			b.WriteString(map[bool]string{true: ": ", false: ";"}[a.Mailbox != nil])
			first = true
			return true
		}
		if !first {
			b.WriteString(", ")
		}
		first = false
		if len(a.Name) > 0 {
			b.Write(quoteName(a.Name))
			b.WriteByte(' ')
		}
		b.WriteByte('<')
		b.Write(a.Mailbox)
		b.WriteByte('@')
		b.Write(a.Host)
		b.WriteByte('>')
		return true
	})
	return b.String()
}

// quoteName puts a display name between quotes where it is no phrase.
func quoteName(name []byte) []byte {
	if !bytes.ContainsAny(name, `()<>[]:;@\,."`) {
		return name
	}
	return syntax.AppendNString(nil, name)
}

// eachField calls fn with the value of every field of that name, line ends
// included, until fn returns false.
func (sr *searcher) eachField(name string, fn func(value []byte) bool) {
	eachHeaderField(sr.loadHeader(), func(n, value []byte) bool {
		if len(n) != len(name) || !strings.EqualFold(string(n), name) {
			return true
		}
		return fn(value)
	})
}

// loadHeader reads the message's header, once for all keys.
func (sr *searcher) loadHeader() []byte {
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
func (sr *searcher) readPart(dst []byte, pos, n int64) []byte {
	r, err := sr.box.Read(sr.m.UID, pos, n)
	if err != nil {
		return dst
	}
	defer r.Close()
	w := bytes.NewBuffer(dst)
	io.Copy(w, io.LimitReader(r, n)) // what cannot be read does not match
	return w.Bytes()
}

// eachHeaderField walks over a header: name and value with its line ends.
func eachHeaderField(header []byte, fn func(name, value []byte) bool) {
	for len(header) > 0 && header[0] != '\r' && header[0] != '\n' {
		end := fieldEnd(header)
		field := header[:end]
		header = header[end:]
		name, value, ok := bytes.Cut(field, []byte(":"))
		if !ok {
			name, value = nil, field // no field: TEXT looks at it all the same
		}
		value = bytes.TrimRight(bytes.TrimLeft(value, " \t"), "\r\n")
		if !fn(bytes.TrimRight(name, " \t"), value) {
			return
		}
	}
}

// fieldEnd returns the length of the field that b begins with.
func fieldEnd(b []byte) int {
	i := 0
	for {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return len(b)
		}
		i += n + 1
		if i == len(b) || b[i] != ' ' && b[i] != '\t' {
			return i
		}
	}
}

// inMessage looks for text in the bodies of the text parts, and with headers
// set in all headers, as Dovecot does.
func (sr *searcher) inMessage(text string, headers bool) bool {
	if headers && headerHolds(sr.loadHeader(), text) {
		return true
	}
	root, err := sr.load(sr.m)
	if err != nil {
		return false
	}
	return sr.inPart(root, text, headers)
}

// headerHolds looks for text in "Name: value" of every field.
func headerHolds(header []byte, text string) (found bool) {
	eachHeaderField(header, func(name, value []byte) bool {
		line := string(name) + ": " + decodeWords(string(unfold(value)))
		found = strings.Contains(fold(line), text)
		return !found
	})
	return found
}

func (sr *searcher) inPart(p *message.Part, text string, headers bool) bool {
	for _, child := range p.Children {
		if headers {
			h := sr.readPart(nil, child.Pos, min(child.HeaderSize, maxSearchHeader))
			if headerHolds(h, text) {
				return true
			}
		}
		if sr.inPart(child, text, headers) {
			return true
		}
	}
	if len(p.Children) > 0 || !p.IsText() && !bytes.EqualFold(p.Type, []byte("message")) || !decodable(p) {
		return false
	}
	r, err := sr.box.Read(sr.m.UID, p.BodyPos(), p.BodySize)
	if err != nil {
		return false
	}
	defer r.Close()
	return sr.window.holds(decodeBody(io.LimitReader(r, p.BodySize), p), text)
}

// decodable tells whether the part's transfer encoding is known: what cannot be
// decoded is not searched.
func decodable(p *message.Part) bool {
	switch strings.ToLower(string(p.Encoding)) {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable":
		return true
	}
	return false
}

// decodeBody undoes the part's transfer encoding and charset. An unknown
// charset is read as UTF-8.
func decodeBody(r io.Reader, p *message.Part) io.Reader {
	switch strings.ToLower(string(p.Encoding)) {
	case "base64":
		r = &base64Reader{r: r}
	case "quoted-printable":
		r = &quotedReader{r: r}
	}
	for _, q := range p.Params {
		if !strings.EqualFold(string(q.Key), "charset") {
			continue
		}
		switch strings.ToLower(string(q.Value)) {
		case "utf-8", "us-ascii", "utf8", "ascii":
		default:
			if conv, err := charset.Reader(string(q.Value), r); err == nil {
				return conv
			}
		}
	}
	return r
}

// textWindow is the piece of a text that SEARCH looks at, kept for the next
// message.
type textWindow struct{ raw, hay []byte }

// foldInto appends fold(b) to dst; ASCII, which most text is, is not copied twice.
func foldInto(dst, b []byte) []byte {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return append(dst, fold(string(b))...)
		}
	}
	start := len(dst)
	dst = append(dst, b...)
	for i := start; i < len(dst); i++ {
		if c := dst[i]; c >= 'A' && c <= 'Z' {
			dst[i] = c + 'a' - 'A'
		}
	}
	return dst
}

// holds looks for folded text in a stream of UTF-8. It holds one chunk.
func (w *textWindow) holds(r io.Reader, text string) bool {
	needle := []byte(text)
	if w.raw == nil {
		w.raw = make([]byte, 0, 16<<10)
	}
	buf, hay := w.raw[:0], w.hay[:0]
	defer func() { w.hay = hay[:0] }()
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		whole := len(buf)
		if err == nil {
			whole = wholeRunes(buf)
		}
		hay = foldInto(hay, buf[:whole])
		if bytes.Contains(hay, needle) {
			return true
		}
		if err != nil {
			return false
		}
		buf = buf[:copy(buf, buf[whole:])]
		keep := min(len(hay), len(needle)-1)
		hay = append(hay[:0], hay[len(hay)-keep:]...)
	}
}

// wholeRunes returns the length of b without a rune that is cut at its end.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				return len(b)
			}
			return i
		}
	}
	return len(b)
}
