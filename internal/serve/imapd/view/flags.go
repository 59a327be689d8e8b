package view

import (
	"slices"
	"strings"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
)

// ParseFlags reads flags: the system's by name, all others are keywords.
func ParseFlags(list []syntax.Arg) (f store.Flag, keywords []string, err error) {
	for _, a := range list {
		if !a.IsString() {
			return 0, nil, syntax.Error("Flags list contains non-atoms")
		}
		name := string(a.Text)
		if strings.HasPrefix(name, `\`) {
			bit := SystemFlag(name)
			if bit == 0 {
				return 0, nil, syntax.Error("Invalid system flag " + strings.ToUpper(name))
			}
			f |= bit
			continue
		}
		if !validKeyword(a.Text) {
			return 0, nil, syntax.Error("Invalid keyword name")
		}
		if !slices.Contains(keywords, name) {
			keywords = append(keywords, name)
		}
	}
	return f, keywords, nil
}

// SystemFlag returns the bit of a system flag by its name, in any case; 0 = it is none.
func SystemFlag(name string) store.Flag {
	for _, x := range FlagOrder {
		if strings.EqualFold(name, string(x.Name)) {
			return x.Bit
		}
	}
	return 0
}

// validKeyword: RFC 3501 section 9, flag-keyword; at most 100 octets, because
// it goes into the mailbox.
func validKeyword(text []byte) bool {
	if len(text) == 0 || len(text) > 100 {
		return false
	}
	for _, c := range text {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// KeywordBits returns the bits of the keywords in a mailbox, in any case.
func KeywordBits(snap *store.Snapshot, keywords []string) (bits uint64) {
	for i, k := range snap.Keywords {
		for _, w := range keywords {
			if strings.EqualFold(k, w) {
				bits |= 1 << i
			}
		}
	}
	return bits
}
