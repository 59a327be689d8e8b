// Package names turns folder names into file names and back, for every kind of
// store: modified UTF-7 on disk, and nothing that leaves the user's folder.
package names

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"packetboat/internal/store"
)

// Limits of a folder's name, in octets of its form on disk: what common file
// systems allow for one part, and less than PATH_MAX for the whole.
const (
	maxPart = 200
	maxName = 1000
)

// OnDisk returns the path of a folder below the root: every part in modified
// UTF-7 (RFC 3501 section 5.1.3), as Dovecot keeps it. Names that would leave
// the root or stand in Dovecot's own places are invalid.
func OnDisk(name string) (string, error) {
	if !utf8.ValidString(name) || len(name) > maxName {
		return "", store.ErrBadName
	}
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = Encode(p)
		if !ValidPart(p) || !ValidPart(parts[i]) {
			return "", store.ErrBadName
		}
	}
	return strings.Join(parts, "/"), nil
}

// ValidPart refuses "", ".", "..", everything hidden (.imap, .subscriptions and
// the temporary files), control octets, and names that end as lock files do.
func ValidPart(p string) bool {
	if p == "" || len(p) > maxPart || p[0] == '.' || p[0] == '~' || strings.HasSuffix(p, ".lock") {
		return false
	}
	return !strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == 0x7f || c == '*' || c == '%' })
}

// modified is the base64 of modified UTF-7: "," in place of "/", no padding.
var modified = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// Encode writes s in modified UTF-7.
func Encode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f {
			b.WriteByte(c)
			if c == '&' {
				b.WriteByte('-')
			}
			i++
			continue
		}
		j := i
		for j < len(s) && (s[j] < ' ' || s[j] >= 0x7f) {
			j++
		}
		var raw []byte
		for _, u := range utf16.Encode([]rune(s[i:j])) {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteString("&" + modified.EncodeToString(raw) + "-")
		i = j
	}
	return b.String()
}

// Decode reads modified UTF-7. What is none, because a program wrote UTF-8
// names, is false, and so is a form that Encode would not write: two names
// on disk must not be one folder.
func Decode(s string) (string, bool) {
	var b strings.Builder
	for rest := s; rest != ""; {
		i := strings.IndexByte(rest, '&')
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		code, after, ok := strings.Cut(rest[i+1:], "-")
		if !ok {
			return "", false
		}
		rest = after
		if code == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := modified.DecodeString(code)
		if err != nil || len(raw)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(raw)/2)
		for k := range units {
			units[k] = uint16(raw[2*k])<<8 | uint16(raw[2*k+1])
		}
		b.WriteString(string(utf16.Decode(units)))
	}
	return b.String(), Encode(b.String()) == s
}
