package render

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// A digest is the part of a header that clients ask for again and again: the
// fields named below, as HEADER.FIELDS shows them, each with its index in the
// list before it. It is small enough to be kept for every message, and answers
// FETCH and SEARCH without a look into the message.
//
// For each field: index 1 octet, length 2 octets, the field with its line ends.

// DigestKind names the form of digests in an index; it changes with Listed.
const DigestKind = "digest.1"

// Listed are the fields of a digest.
var listed = [...]string{
	"from", "to", "cc", "bcc", "subject", "date", "message-id", "in-reply-to", "references", "reply-to", "sender",
	"content-type", "mime-version", "content-transfer-encoding", "content-disposition", "content-language", "content-description",
	"newsgroups", "followup-to", "priority", "x-priority", "importance", "x-msmail-priority", "precedence", "auto-submitted",
	"return-path", "delivered-to", "x-original-to", "envelope-to", "lines", "x-label", "keywords", "comments", "organization",
	"list-id", "list-post", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "list-archive", "list-help",
	"mailing-list", "x-mailing-list", "x-beenthere", "mail-followup-to", "mail-reply-to", "return-receipt-to", "disposition-notification-to",
	"resent-from", "resent-to", "resent-cc", "resent-date", "resent-message-id", "user-agent", "x-mailer",
	"x-spam-flag", "x-spam-status", "x-spam-level", "x-spam-score", "thread-topic", "thread-index", "x-uniform-type-identifier",
}

const maxDigest = 48 << 10

// ListedField returns the index of a field in digests, -1 for one that they lack.
func ListedField(name string) int {
	for i, n := range listed {
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return i
		}
	}
	return -1
}

// ListedFields returns the set of fields that names stands for; ok is false when
// digests lack one of them.
func ListedFields(names []string) (set uint64, ok bool) {
	for _, n := range names {
		i := ListedField(n)
		if i < 0 {
			return 0, false
		}
		set |= 1 << i
	}
	return set, true
}

// Digest appends the digest of a header to b; ok is false for one that is too
// long for it, or holds NUL.
func Digest(b, header []byte) (digest []byte, ok bool) {
	start := len(b)
	for len(header) > 0 && header[0] != '\n' && !bytes.HasPrefix(header, []byte("\r\n")) {
		n := fieldEnd(header)
		field := header[:n]
		header = header[n:]
		name, _, isField := bytes.Cut(field, []byte(":"))
		if !isField {
			continue
		}
		i := listedBytes(bytes.TrimRight(name, " \t"))
		if i < 0 {
			continue
		}
		if n > 1<<16-1 || len(b)-start+n > maxDigest || bytes.IndexByte(field, 0) >= 0 {
			return b[:start], false
		}
		b = binary.LittleEndian.AppendUint16(append(b, byte(i)), uint16(n))
		b = append(b, field...)
	}
	return b, true
}

// listedBytes is ListedField for a name that is no string yet.
func listedBytes(name []byte) int {
	var low [32]byte
	if len(name) > len(low) {
		return -1
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	for i, n := range listed {
		if n == string(low[:len(name)]) {
			return i
		}
	}
	return -1
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

// EachListed calls fn for the fields of a digest until it returns false. What
// does not fit ends it: a digest comes from a file.
func EachListed(digest []byte, fn func(i int, field []byte) bool) {
	for len(digest) >= 3 {
		n := 3 + int(binary.LittleEndian.Uint16(digest[1:]))
		if n > len(digest) || !fn(int(digest[0]), digest[3:n]) {
			return
		}
		digest = digest[n:]
	}
}

// PickedSize returns the octets of PickListed.
func PickedSize(digest []byte, set uint64) (size int) {
	for len(digest) >= 3 {
		n := 3 + int(binary.LittleEndian.Uint16(digest[1:]))
		if n > len(digest) {
			break
		}
		if set&(1<<digest[0]) != 0 {
			size += n - 3
		}
		digest = digest[n:]
	}
	return size + 2
}

// PickListed appends the fields of a set and an empty line: what HEADER.FIELDS
// answers for a whole message.
func PickListed(b, digest []byte, set uint64) []byte {
	for len(digest) >= 3 {
		n := 3 + int(binary.LittleEndian.Uint16(digest[1:]))
		if n > len(digest) {
			break
		}
		if set&(1<<digest[0]) != 0 {
			b = append(b, digest[3:n]...)
		}
		digest = digest[n:]
	}
	return append(b, "\r\n"...)
}
