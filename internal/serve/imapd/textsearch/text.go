// Package textsearch compares a message with a string as SEARCH does (RFC 3501
// section 6.4.4): transfer encodings, charsets and encoded words are undone, and
// letters compare without case. It holds one chunk of a text at a time.
package textsearch

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
)

// FieldText is what a field's value says to a reader: addresses are written
// anew, so that quoting makes no difference; encoded words are decoded.
func FieldText(name string, address bool, value []byte) string {
	line := string(render.Unfold(value))
	if address {
		if list := addressText(value); list != "" {
			line = list
		}
	}
	line = Words(line)
	if strings.EqualFold(name, "Subject") {
		line = strings.Join(strings.Fields(line), " ")
	}
	return Fold(line)
}

// Words decodes RFC 2047's encoded words; what cannot be decoded stays.
func Words(s string) string {
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

// EachField walks over a header: name and value with its line ends.
func EachField(header []byte, fn func(name, value []byte) bool) {
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

// HeaderHolds looks for text in "Name: value" of every field.
func (w *Window) HeaderHolds(header []byte, text string) (found bool) {
	needle := []byte(text)
	w.EachLine(header, func(line []byte) bool {
		found = bytes.Contains(line, needle)
		return !found
	})
	return found
}

// EachLine calls fn with "name: value" of every field, folded, until it returns
// false. The line is overwritten by the next one.
func (w *Window) EachLine(header []byte, fn func(line []byte) bool) {
	EachField(header, func(name, value []byte) bool {
		line := append(append(w.raw[:0], name...), ": "...)
		line = unfold(line, value)
		w.raw = line[:0]
		if bytes.Contains(line, []byte("=?")) { // an encoded word, it may be
			line = append(line[:len(name)+2], Words(string(line[len(name)+2:]))...)
		}
		w.hay = w.folder.fold(w.hay[:0], line)
		return fn(w.hay)
	})
}

// unfold appends a value without its line ends (render.Unfold).
func unfold(dst, value []byte) []byte {
	if bytes.IndexByte(value, '\n') < 0 {
		return append(dst, value...)
	}
	for _, c := range value {
		if c != '\r' && c != '\n' {
			dst = append(dst, c)
		}
	}
	return dst
}

// Decodable tells whether the part's transfer encoding is known: what cannot be
// decoded is not searched.
func Decodable(p *message.Part) bool {
	switch strings.ToLower(string(p.Encoding)) {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable":
		return true
	}
	return false
}

// Encoded tells whether the part has a transfer encoding that changes its octets,
// or one that is not known.
func Encoded(p *message.Part) bool {
	switch strings.ToLower(string(p.Encoding)) {
	case "", "7bit", "8bit", "binary":
		return false
	}
	return true
}

// DecodeTransfer undoes the part's transfer encoding.
func DecodeTransfer(r io.Reader, p *message.Part) io.Reader {
	return new(decoders).transfer(r, p)
}

// DecodeBody undoes the part's transfer encoding and charset. An unknown
// charset is read as UTF-8.
func DecodeBody(r io.Reader, p *message.Part) io.Reader { return toUTF8(DecodeTransfer(r, p), p) }

// Decode is DecodeBody with what w has for it; one body at a time.
func (w *Window) Decode(r io.Reader, p *message.Part) io.Reader {
	return toUTF8(w.coded.transfer(r, p), p)
}

// toUTF8 undoes the part's charset.
func toUTF8(r io.Reader, p *message.Part) io.Reader {
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

// Window is the piece of a text that SEARCH looks at, kept for the next
// message.
type Window struct {
	raw, hay []byte
	folder   folder
	coded    decoders
}

// lookSize is how much of a text is looked at at a time.
const lookSize = 16 << 10

// Holds looks for folded text in a stream of UTF-8. It holds one chunk.
func (w *Window) Holds(r io.Reader, text string) (found bool) {
	needle := []byte(text)
	w.Each(r, len(needle), func(hay []byte) bool {
		found = bytes.Contains(hay, needle)
		return !found
	})
	return found
}

// Each calls fn with a stream of UTF-8, folded, in pieces that overlap so that
// every text of n octets is whole in one of them, until it returns false. An
// error says that the end was not reached.
func (w *Window) Each(r io.Reader, n int, fn func(piece []byte) bool) error {
	if cap(w.raw) < lookSize {
		w.raw = make([]byte, 0, lookSize)
	}
	buf, hay := w.raw[:0], w.hay[:0]
	defer func() { w.hay = hay[:0] }()
	for {
		got, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+got]
		whole := len(buf)
		if err == nil {
			whole = wholeRunes(buf)
		}
		hay = w.folder.fold(hay, buf[:whole])
		switch more := fn(hay); {
		case err == io.EOF || !more:
			return nil
		case err != nil:
			return err
		}
		buf = buf[:copy(buf, buf[whole:])]
		keep := max(min(len(hay), n-1), 0)
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

// ParseDate reads a Date field; without a zone that can be read it is UTC.
func ParseDate(text string) (time.Time, bool) {
	if t, err := mail.ParseDate(text); err == nil {
		return t, true
	}
	if _, rest, ok := strings.Cut(text, ","); ok {
		text = rest
	}
	words := strings.Fields(text)
	if len(words) < 4 {
		return time.Time{}, false
	}
	t, err := time.Parse("2 Jan 2006 15:04:05", strings.Join(words[:4], " "))
	return t, err == nil
}
