package syntax

import (
	"bytes"
	"strconv"
)

func appendNum(dst []byte, n uint32) []byte {
	if n == 0 {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// AppendNString writes text as a quoted string, or as a literal where it holds
// what a quoted string cannot; nil becomes NIL.
func AppendNString(dst, text []byte) []byte {
	if text == nil {
		return append(dst, "NIL"...)
	}
	for _, c := range text {
		if c == '\r' || c == '\n' || c == 0 || c >= 0x80 {
			return AppendLiteral(dst, text)
		}
	}
	return appendQuoted(dst, text)
}

// AppendLiteral writes text as a literal.
func AppendLiteral(dst, text []byte) []byte {
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	dst = append(dst, "}\r\n"...)
	return append(dst, text...)
}

func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// AppendQuoted writes UTF-8 without line ends and NULs as a quoted string, for those
// who may get it so (RFC 6855 section 3).
func AppendQuoted(dst []byte, text string) []byte { return appendQuoted(dst, []byte(text)) }

// AppendUTF8 is AppendAString for those.
func AppendUTF8(dst []byte, text string) []byte {
	for i := 0; i < len(text); i++ {
		if text[i] >= 0x80 {
			return AppendQuoted(dst, text)
		}
	}
	return AppendAString(dst, text)
}

// AppendAString writes a mailbox name: as an atom where it is one.
func AppendAString(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, `""`...)
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte(`(){%*"\`), c) >= 0 {
			return AppendNString(dst, []byte(text))
		}
	}
	return append(dst, text...)
}
