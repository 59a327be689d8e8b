// Package mail holds the words that every wing of the house shares: address,
// envelope, recipient, peer, job and status. It knows no file and no socket.
//
// An address is kept in its internal form, as Postfix keeps it: the local part
// unquoted, one "@", the domain ("a b@example.org", never "\"a b\"@example.org").
// The null sender is the empty Address.
package mail

import "strings"

// Address is a mail address in internal (unquoted) form. The empty Address is
// the null sender <> of RFC 5321 section 4.5.5. An Address without "@" names a
// local user whose domain has not been added yet.
type Address string

// Split returns the local part and the domain: what stands before and after the
// last "@". The domain is empty when there is none.
func (a Address) Split() (local, domain string) {
	i := strings.LastIndexByte(string(a), '@')
	if i < 0 {
		return string(a), ""
	}
	return string(a[:i]), string(a[i+1:])
}

// Local returns the part before the last "@".
func (a Address) Local() string { l, _ := a.Split(); return l }

// Domain returns the part after the last "@", as it was written.
func (a Address) Domain() string { _, d := a.Split(); return d }

// Fold returns the address in lower case: the form in which tables are asked
// and duplicates are found.
func (a Address) Fold() Address { return Address(strings.ToLower(string(a))) }

// Quoted returns the external form of RFC 5321 section 4.1.2: the local part
// goes between double quotes where it is no dot-string.
func (a Address) Quoted() string {
	local, domain := a.Split()
	if !isDotString(local) && a != "" {
		local = quote(local)
	}
	if domain == "" {
		return local
	}
	return local + "@" + domain
}

// quote writes s as a quoted-string; backslash and double quote are escaped.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isDotString tells whether s is a Dot-string of RFC 5321 section 4.1.2,
// where bytes of UTF-8 count as atext (RFC 6531 section 3.3).
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '.' && !isAtext(s[i]) {
			return false
		}
	}
	return true
}

func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
