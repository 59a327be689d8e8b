package table

import (
	"context"
	"strings"

	"packetboat/internal/mail"
)

// Key is one question to a table. Partial keys are parts of an address: they
// are asked of tables with plain keys only, never of patterns.
type Key struct {
	Text    string
	Partial bool
	// Bare says that the address extension was cut off to make this key: what
	// is found under it gets the extension back (propagate_unmatched_extensions).
	Bare bool
	// AtDomain marks the key "@domain".
	AtDomain bool
}

// FindKeys asks m for each key in turn and returns the first answer with the
// key that found it.
func (m Maps) FindKeys(ctx context.Context, keys []Key) (string, Key, bool, error) {
	for _, k := range keys {
		v, ok, err := m.find(ctx, k.Text, k.Partial)
		if err != nil || ok {
			return v, k, ok, err
		}
	}
	return "", Key{}, false, nil
}

// maxKeys is the capacity that the key functions begin with.
const maxKeys = 8

// MailKeys returns the keys of an address in the order of virtual(5),
// canonical(5) and most other address tables:
//
//	user+ext@domain, user@domain, user+ext, user (both if local), @domain
//
// local says that the domain is ours ($myorigin, $mydestination,
// $inet_interfaces); delims is recipient_delimiter. An address that needs
// quotes is asked for with them first, then without (mail_addr_find(3)).
func MailKeys(a mail.Address, delims string, local bool) []Key {
	keys := make([]Key, 0, maxKeys)
	user, domain := a.Split()
	bare, _ := SplitExt(user, delims)
	keys = forms(keys, a, Key{})
	if bare != user {
		keys = forms(keys, mail.Address(bare+at(domain)), Key{Partial: true, Bare: true})
	}
	if domain == "" {
		return keys
	}
	if local {
		keys = forms(keys, mail.Address(user), Key{Partial: true})
		if bare != user {
			keys = forms(keys, mail.Address(bare), Key{Partial: true, Bare: true})
		}
	}
	return append(keys, Key{Text: "@" + domain, Partial: true, AtDomain: true})
}

// forms appends the key k of an address, quoted and as it is.
func forms(keys []Key, a mail.Address, k Key) []Key {
	k.Text = a.Quoted()
	keys = append(keys, k)
	if k.Text != string(a) {
		k.Text = string(a)
		keys = append(keys, k)
	}
	return keys
}

func at(domain string) string {
	if domain == "" {
		return ""
	}
	return "@" + domain
}

// AccessMailKeys returns the keys of an address in the order of access(5),
// "email address patterns": user+ext@domain, user@domain, domain and its
// parents, user+ext@, user@. With parents the parent domains are asked as they
// stand (parent_domain_matches_subdomains), else with a dot before them.
func AccessMailKeys(a mail.Address, delims string, parents bool) []Key {
	if a == "" {
		return nil // smtpd_null_access_lookup_key is the caller's
	}
	user, domain := a.Split()
	bare, _ := SplitExt(user, delims)
	keys := forms(make([]Key, 0, maxKeys), a, Key{})
	if bare != user {
		keys = forms(keys, mail.Address(bare+at(domain)), Key{Partial: true, Bare: true})
	}
	keys = append(keys, DomainKeys(domain, parents)...)
	keys = append(keys, Key{Text: mail.Address(user).Quoted() + "@", Partial: true})
	if bare != user {
		keys = append(keys, Key{Text: mail.Address(bare).Quoted() + "@", Partial: true, Bare: true})
	}
	return keys
}

// DomainKeys returns the keys of a host or domain name in the order of
// access(5), "host name/address patterns": the name, then its parents.
func DomainKeys(domain string, parents bool) []Key {
	if domain == "" {
		return nil
	}
	keys := []Key{{Text: domain}}
	if strings.HasPrefix(domain, "[") {
		return keys
	}
	for rest := domain; ; {
		i := strings.IndexByte(rest[min(1, len(rest)):], '.')
		if i < 0 || len(rest) < 2 {
			return keys
		}
		rest = rest[1+i:]
		if parents {
			keys = append(keys, Key{Text: rest[1:], Partial: true})
		} else {
			keys = append(keys, Key{Text: rest, Partial: true})
		}
	}
}

// AddrKeys returns the keys of a network address in the order of access(5):
// the whole address, then its shorter forms cut at "." (IPv4) or ":" (IPv6).
func AddrKeys(addr string) []Key {
	keys := []Key{{Text: addr}}
	sep := byte('.')
	if strings.IndexByte(addr, ':') >= 0 {
		sep = ':'
	}
	for {
		i := strings.LastIndexByte(addr, sep)
		if i <= 0 {
			return keys
		}
		addr = addr[:i]
		keys = append(keys, Key{Text: addr, Partial: true})
	}
}

// TransportKeys returns the keys of transport(5): user+ext@domain,
// user@domain, domain, .parent (parents as they stand when transport_maps is
// in parent_domain_matches_subdomains), and "*".
func TransportKeys(a mail.Address, delims string, parents bool) []Key {
	user, domain := a.Split()
	bare, _ := SplitExt(user, delims)
	keys := forms(make([]Key, 0, maxKeys), a, Key{})
	if bare != user {
		keys = forms(keys, mail.Address(bare+at(domain)), Key{Partial: true, Bare: true})
	}
	for _, k := range DomainKeys(domain, parents) {
		k.Partial = true
		keys = append(keys, k)
	}
	return append(keys, Key{Text: "*", Partial: true})
}

// SplitExt divides a local part into user and extension at the first of the
// characters of recipient_delimiter. Names that begin with "owner-" or end
// with "-request" are not divided at "-", and mailer-daemon, postmaster and
// double-bounce never are (split_addr(3)). "user+" has an empty extension:
// whether there was a delimiter shows in user differing from local.
func SplitExt(local, delims string) (user, ext string) {
	if delims == "" || reserved(local) {
		return local, ""
	}
	i := strings.IndexAny(local, delims)
	if i <= 0 {
		return local, ""
	}
	if local[i] == '-' && listName(local) {
		return local, ""
	}
	return local[:i], local[i+1:]
}

// Extension returns what SplitExt cuts off with its delimiter, "+ext": in this form
// it is put behind another local part (propagate_unmatched_extensions).
func Extension(local, delims string) string {
	user, _ := SplitExt(local, delims)
	return local[len(user):]
}

func reserved(local string) bool {
	return strings.EqualFold(local, "mailer-daemon") || strings.EqualFold(local, "postmaster") ||
		strings.EqualFold(local, "double-bounce")
}

// listName tells the special names of mailing lists (owner_request_special).
func listName(local string) bool {
	l := strings.ToLower(local)
	return strings.HasPrefix(l, "owner-") || strings.HasSuffix(l, "-request")
}
