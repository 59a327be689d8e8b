package syntax

import (
	"slices"
	"strings"

	"packetboat/internal/mail"
)

// Notify is RFC 3461 section 4.1: NEVER stands alone.
func Notify(value string) (mail.Notify, bool) {
	var n mail.Notify
	for w := range strings.SplitSeq(strings.TrimRight(value, ","), ",") {
		switch strings.ToUpper(w) {
		case "NEVER":
			n |= mail.NotifyNever
		case "SUCCESS":
			n |= mail.NotifySuccess
		case "FAILURE":
			n |= mail.NotifyFailure
		case "DELAY":
			n |= mail.NotifyDelay
		default:
			return 0, false
		}
	}
	return n, n&mail.NotifyNever == 0 || n == mail.NotifyNever
}

// ORCPT is RFC 3461 section 4.2: type;xtext. Postfix lets encoded control
// bytes through; they would break the lines of a report, so we do not.
func ORCPT(value string) (string, bool) {
	kind, addr, found := strings.Cut(value, ";")
	if !found || kind == "" || strings.ContainsFunc(kind, func(r rune) bool { return !isAtomRune(r) }) {
		return "", false
	}
	addr, ok := Unxtext(addr)
	return kind + ";" + addr, ok
}

// isAtomRune tells whether r may stand in an address type (RFC 5322 atext).
func isAtomRune(r rune) bool {
	return r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>@,;:\".[]`, r)
}

// BDATArgs reads the words of BDAT (RFC 3030 section 2).
func BDATArgs(cmd *Command) (size int64, last, ok bool) {
	if len(cmd.Args) < 2 || len(cmd.Args) > 3 {
		return 0, false, false
	}
	size, digits, fits := Decimal(cmd.Args[1].Text)
	last = len(cmd.Args) == 3
	if last && !strings.EqualFold(cmd.Args[2].Text, "LAST") {
		return 0, false, false
	}
	return size, last, digits && fits
}

// InDomains tells whether a site or a parent of it stands in a list, as
// parent_domain_matches_subdomains has it for fast_flush_domains.
func InDomains(site string, list []string) bool {
	for d, more := site, true; more; _, d, more = strings.Cut(d, ".") {
		if slices.ContainsFunc(list, func(w string) bool { return strings.EqualFold(w, d) }) {
			return true
		}
	}
	return false
}
