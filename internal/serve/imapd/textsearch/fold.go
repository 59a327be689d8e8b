package textsearch

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold makes text comparable: letters of one case, taken apart from their
// accents (RFC 5051, i;unicode-casemap).
func Fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return strings.ToLower(norm.NFKD.String(strings.ToValidUTF8(s, "\uFFFD")))
		}
	}
	return strings.ToLower(s)
}

// folder folds text without allocating, by a table that is filled with the
// letters that come along: those of Latin, Greek, Cyrillic, Hebrew and Arabic
// scripts, and the punctuation that goes with them. The zero value is ready.
type folder struct{ table []string }

const (
	letters     = 0x800 // runes below this one are in the table,
	punctuation = 0x2000
	punctEnd    = 0x2070 // and these
)

// fold appends Fold(b) to dst. Only what is not ASCII goes a longer way: taking
// letters apart (NFKD) moves nothing over an ASCII letter.
func (f *folder) fold(dst, b []byte) []byte {
	for len(b) > 0 {
		var n int
		dst, n = lower(dst, b)
		b = b[n:]
		for n = 0; n < len(b) && b[n] >= utf8.RuneSelf; {
			n++
		}
		if n > 0 {
			dst = f.run(dst, b[:n])
			b = b[n:]
		}
	}
	return dst
}

// lower appends the ASCII text that b begins with in lower case, and returns its
// length.
func lower(dst, b []byte) ([]byte, int) {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		if x&high != 0 {
			break
		}
		// An octet's high bit is set here where it is 'A' or above, but not above 'Z'.
		upper := ((x + (0x80-'A')*ones) ^ (x + (0x7f-'Z')*ones)) & high
		dst = binary.LittleEndian.AppendUint64(dst, x|upper>>2)
	}
	for ; n < len(b) && b[n] < utf8.RuneSelf; n++ {
		c := b[n]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst, n
}

// run folds text that has no ASCII in it. Runes that begin with a letter of their
// own once they are taken apart do not change each other; where there is another
// one - an accent that stands alone - all of the text is folded at once.
func (f *folder) run(dst, b []byte) []byte {
	start := len(dst)
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		s := f.letter(r)
		if s == "" {
			return append(dst[:start], Fold(string(b))...)
		}
		dst = append(dst, s...)
		i += n
	}
	return dst
}

// letter returns the folded form of a rune, nothing for one that is not in the
// table.
func (f *folder) letter(r rune) string {
	at := int(r)
	switch {
	case r < letters:
	case r >= punctuation && r < punctEnd:
		at += letters - punctuation
	default:
		return ""
	}
	if f.table == nil {
		f.table = make([]string, letters+punctEnd-punctuation)
	}
	if f.table[at] == "" && norm.NFKD.PropertiesString(string(r)).LeadCCC() == 0 {
		f.table[at] = Fold(string(r))
	}
	return f.table[at]
}
