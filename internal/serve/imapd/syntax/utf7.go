package syntax

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// errUTF7 is a name that is no modified UTF-7.
var errUTF7 = Error("Mailbox name is not valid mUTF-7")

// utf7 is the base64 of RFC 3501 section 5.1.3.
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// DecodeUTF7 turns a mailbox name of the wire into UTF-8 (RFC 3501 section
// 5.1.3). Only the one right encoding of a name is accepted, for otherwise one
// mailbox would have two names.
func DecodeUTF7(name string) (string, error) {
	if !strings.Contains(name, "&") && isPrintable(name) {
		return name, nil
	}
	var b strings.Builder
	for rest := name; rest != ""; {
		i := strings.IndexByte(rest, '&')
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		code, after, ok := strings.Cut(rest[i+1:], "-")
		if !ok {
			return "", errUTF7
		}
		if err := decodeRun(&b, code); err != nil {
			return "", err
		}
		rest = after
	}
	if EncodeUTF7(b.String()) != name {
		return "", errUTF7
	}
	return b.String(), nil
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func decodeRun(b *strings.Builder, code string) error {
	if code == "" {
		b.WriteByte('&')
		return nil
	}
	raw, err := utf7.DecodeString(code)
	if err != nil || len(raw)%2 != 0 {
		return errUTF7
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	for _, r := range utf16.Decode(units) {
		if r == utf8.RuneError {
			return errUTF7
		}
		b.WriteRune(r)
	}
	return nil
}

// EncodeUTF7 turns a mailbox name in UTF-8 into the form of the wire. Bytes
// that are no UTF-8 become U+FFFD.
func EncodeUTF7(name string) string {
	if isPrintable(name) && !strings.Contains(name, "&") {
		return name
	}
	var b strings.Builder
	var run []byte
	flush := func() {
		if len(run) > 0 {
			b.WriteString("&" + utf7.EncodeToString(run) + "-")
			run = run[:0]
		}
	}
	for _, r := range name {
		switch {
		case r == '&':
			flush()
			b.WriteString("&-")
		case r >= ' ' && r < 0x7f:
			flush()
			b.WriteRune(r)
		default:
			for _, u := range utf16.AppendRune(nil, r) {
				run = append(run, byte(u>>8), byte(u))
			}
		}
	}
	flush()
	return b.String()
}
