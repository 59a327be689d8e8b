// Package spec reads the small languages that receive/policy meets: lists of words,
// arguments of restrictions, header fields, and routes inside of addresses.
package spec

import (
	"errors"
	"fmt"
	"strings"

	"packetboat/internal/mail"
)

// Words cuts a list at commas and blanks.
func Words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// CertKey is what of a client's certificate a table is asked for.
type CertKey uint8

// The values of CertKey.
const (
	Fingerprint CertKey = iota
	KeyFingerprint
	Issuer
	Subject
)

// CertSearch reads check_ccert_access's argument: a table, or
// { table, { search_order = cert_fingerprint, pubkey_fingerprint } }.
func CertSearch(arg string) (spec string, order []CertKey, err error) {
	inner, ok := strings.CutPrefix(arg, "{")
	if !ok {
		return arg, []CertKey{Fingerprint, KeyFingerprint}, nil
	}
	inner = strings.TrimSpace(strings.TrimSuffix(inner, "}"))
	spec, rest := cutSpec(inner)
	rest = strings.Trim(rest, ", \t")
	if rest == "" {
		return spec, []CertKey{Fingerprint, KeyFingerprint}, nil
	}
	rest = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(rest, "{"), "}"))
	name, value, _ := strings.Cut(rest, "=")
	if strings.TrimSpace(name) != "search_order" {
		return "", nil, fmt.Errorf("unknown map attribute in %q", arg)
	}
	for _, w := range Words(strings.Trim(strings.TrimSpace(value), "{}")) {
		k, ok := map[string]CertKey{"cert_fingerprint": Fingerprint, "pubkey_fingerprint": KeyFingerprint}[w]
		if !ok {
			// Postfix reads issuer_cn and subject_cn too, and then refuses all mail
			// (451 4.3.5): better to say so now.
			return "", nil, fmt.Errorf("unsupported search order %q in %q", w, arg)
		}
		order = append(order, k)
	}
	if len(order) == 0 {
		return "", nil, errors.New("empty search_order")
	}
	return spec, order, nil
}

// cutSpec takes a table off the front; one of its own in braces stays whole.
func cutSpec(s string) (spec, rest string) {
	depth := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case depth == 0 && strings.IndexByte(", \t", c) >= 0:
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// IsField tells whether s is a header field: a name, blanks, a colon (RFC 5322
// section 2.2).
func IsField(s string) bool {
	name, _, ok := strings.Cut(s, ":")
	name = strings.TrimRight(name, " \t")
	return ok && name != "" && strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}

// Routes says which old forms of routing in an address count
// (allow_percent_hack, swap_bangpath).
type Routes struct{ Percent, Bang bool }

// Inner reads a as user%domain or site!user where no "@" stands.
func (r Routes) Inner(a mail.Address) mail.Address { return r.unbang(r.unpercent(a)) }

// HasRoute tells whether a local part holds a route that the host behind us
// might follow: then it would relay, because it trusts us.
func (r Routes) HasRoute(local string) bool {
	return strings.Contains(local, "@") ||
		r.Percent && strings.Contains(local, "%") ||
		r.Bang && strings.Contains(local, "!")
}

// unpercent reads user%domain as user@domain where no "@" stands
// (allow_percent_hack).
func (r Routes) unpercent(a mail.Address) mail.Address {
	i := strings.LastIndexByte(string(a), '%')
	if !r.Percent || i <= 0 || i == len(a)-1 || strings.Contains(string(a), "@") {
		return a
	}
	return a[:i] + "@" + a[i+1:]
}

// unbang reads site!user as user@site where no "@" stands (swap_bangpath).
func (r Routes) unbang(a mail.Address) mail.Address {
	site, user, found := strings.Cut(string(a), "!")
	if !r.Bang || !found || site == "" || user == "" || strings.Contains(string(a), "@") {
		return a
	}
	return mail.Address(user + "@" + site)
}
