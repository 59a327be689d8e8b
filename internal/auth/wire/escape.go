package wire

import "strings"

// escapes pairs the bytes that may not stand in a field with the letter that
// stands for them behind \001 (Dovecot's str_tabescape).
const escapes = "\x000\x011\tt\rr\nn"

// escape appends s with tabs, line ends, NUL and \001 made harmless: whatever
// a stranger calls himself stays inside its field.
func escape(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case 0, 1, '\t', '\r', '\n':
			b = append(b, 1, escapes[strings.IndexByte(escapes, s[i])+1])
		default:
			b = append(b, s[i])
		}
	}
	return b
}

// unescape undoes escape. An unknown letter behind \001 stands for itself, as
// Dovecot reads it.
func unescape(s string) string {
	if strings.IndexByte(s, 1) < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != 1 || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		b = append(b, plain(s[i]))
	}
	return string(b)
}

func plain(letter byte) byte {
	switch letter {
	case '0':
		return 0
	case '1':
		return 1
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case 'n':
		return '\n'
	}
	return letter
}
