package syntax

import (
	"net/netip"
	"strings"
)

// Unavailable is the value of an attribute of XCLIENT or XFORWARD that is not known.
const Unavailable = "[UNAVAILABLE]"

// JoinColons puts words back together that were parted behind a colon.
func JoinColons(args []Token) string {
	var b strings.Builder
	for _, a := range args {
		b.WriteString(a.Text)
		if !strings.HasSuffix(a.Text, ":") {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// ParseAddr reads an address, an IPv6 one with or without "IPV6:".
func ParseAddr(s string) (netip.Addr, bool) {
	if len(s) > 5 && strings.EqualFold(s[:5], "IPV6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil && a.Zone() == ""
}

// Neuter replaces what could break headers and logs.
func Neuter(s string) string {
	return strings.Map(func(r rune) rune {
		if IsControl(r) || strings.ContainsRune(` <>()\";@`, r) {
			return '?'
		}
		return r
	}, s)
}
