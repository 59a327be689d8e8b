package intake

import (
	"fmt"
	"strconv"
)

// charset is a set of octets: message_reject_characters and
// message_strip_characters of postconf(5).
type charset [256]bool

// newCharset reads a set as it is written in main.cf, with C's escapes; nil
// stands for an empty one.
func newCharset(text string) (*charset, error) {
	if text == "" {
		return nil, nil
	}
	var set charset
	for i := 0; i < len(text); {
		if text[i] != '\\' || i+1 == len(text) {
			set[text[i]] = true
			i++
			continue
		}
		c, n, err := escaped(text[i+1:])
		if err != nil {
			return nil, err
		}
		set[c] = true
		i += 1 + n
	}
	return &set, nil
}

// escaped reads what stands behind a backslash: one of C's letters, or up to
// three octal digits.
func escaped(s string) (c byte, n int, err error) {
	for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if n > 0 {
		v, err := strconv.ParseUint(s[:n], 8, 8)
		if err != nil {
			return 0, 0, fmt.Errorf("\\%s is no octet", s[:n])
		}
		return byte(v), n, nil
	}
	for i, letter := range []byte("abfnrtv") {
		if s[0] == letter {
			return "\a\b\f\n\r\t\v"[i], 1, nil
		}
	}
	return s[0], 1, nil
}

// in tells whether one of the set's octets stands in b.
func (s *charset) in(b []byte) bool {
	if s == nil {
		return false
	}
	for _, c := range b {
		if s[c] {
			return true
		}
	}
	return false
}

// without returns b without the set's octets; b itself is not changed. A line
// end stays: it is no octet of the line.
func (s *charset) without(b, scratch []byte) []byte {
	for _, c := range b {
		if !s[c] || c == '\n' {
			scratch = append(scratch, c)
		}
	}
	return scratch
}
