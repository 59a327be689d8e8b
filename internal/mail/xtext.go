package mail

import (
	"errors"
	"strings"
)

// ErrXtext says that a value is no xtext.
var ErrXtext = errors.New("malformed xtext")

// Xtext encodes s as RFC 3461 section 4 wants parameter values: printable ASCII
// without "+", "=" and space stands for itself, all else is +XX.
func Xtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '+' && c != '=' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('+')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// Unxtext decodes xtext. Bytes that xtext does not allow are an error, never
// passed on: they end up in queue files and headers.
func Unxtext(s string) (string, error) {
	if !strings.Contains(s, "+") && printable(s) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '+' {
			if c <= ' ' || c >= 0x7f || c == '=' {
				return "", ErrXtext
			}
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(s) {
			return "", ErrXtext
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", ErrXtext
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '=' {
			return false
		}
	}
	return true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c - 'A' + 10)
	case c >= 'a' && c <= 'f':
		return int(c - 'a' + 10)
	}
	return -1
}

// String writes the set as NOTIFY's value: "NEVER" or a list of the others,
// empty when nothing was asked.
func (n Notify) String() string {
	if n&NotifyNever != 0 {
		return "NEVER"
	}
	var out []string
	for _, w := range notifyWords {
		if n&w.bit != 0 {
			out = append(out, w.word)
		}
	}
	return strings.Join(out, ",")
}

var notifyWords = [...]struct {
	bit  Notify
	word string
}{{NotifySuccess, "SUCCESS"}, {NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"}}

// ParseNotify reads NOTIFY's value (RFC 3461 section 4.1), in any case of letters.
func ParseNotify(s string) (Notify, error) {
	if strings.EqualFold(s, "NEVER") {
		return NotifyNever, nil
	}
	var n Notify
next:
	for word := range strings.SplitSeq(s, ",") {
		for _, w := range notifyWords {
			if strings.EqualFold(word, w.word) && n&w.bit == 0 {
				n |= w.bit
				continue next
			}
		}
		return 0, errors.New("bad NOTIFY value")
	}
	return n, nil
}
