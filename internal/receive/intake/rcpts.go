package intake

import (
	"strings"

	"packetboat/internal/mail"
)

// complete brings an envelope address into the form that routing expects:
// with a domain, and without the old ways to write a route.
func (in *Intake) complete(a mail.Address) mail.Address { return in.rewrite(a, in.o.Origin) }

// rewrite does what trivial-rewrite(8) does to one address: swap_bangpath,
// allow_percent_hack, append_at_myorigin, append_dot_mydomain of postconf(5).
// The null sender stays; with an empty domain nothing is appended.
func (in *Intake) rewrite(a mail.Address, domain string) mail.Address {
	if a == "" {
		return a
	}
	local, dom := a.Split()
	if dom == "" && !strings.HasSuffix(string(a), "@") {
		if host, user, ok := strings.Cut(local, "!"); ok && in.o.SwapBangpath && host != "" {
			local, dom = user, host
		} else if i := strings.LastIndexByte(local, '%'); i > 0 && in.o.PercentHack {
			local, dom = local[:i], local[i+1:]
		}
	}
	dom = strings.TrimSuffix(dom, ".")
	switch {
	case domain == "":
	case dom == "":
		dom = domain
	case in.o.AppendDotDomain && in.o.Domain != "" && !strings.ContainsAny(dom, ".[:"):
		dom += "." + in.o.Domain
	}
	if dom == "" {
		return mail.Address(local)
	}
	return mail.Address(local + "@" + dom)
}

// expand completes every recipient, replaces it by what virtual_alias_maps
// says, and removes duplicates.
func (m *Message) expand() error {
	list := rcptList{limit: m.in.o.DuplicateLimit, original: m.in.o.OriginalRecipient, seen: map[rcptKey]bool{}}
	for _, r := range m.env.Rcpts {
		if r.Addr == "" {
			r.Addr = mail.Address(m.in.o.EmptyRecipient)
		}
		if r.Orig == "" {
			r.Orig = r.Addr
		}
		addr := m.in.complete(r.Addr)
		members, err := m.members(addr)
		if err != nil {
			return err
		}
		for _, a := range members {
			r.Addr = m.in.complete(a)
			list.add(r)
		}
	}
	if len(list.rcpts) == 0 {
		return &mail.Status{Outcome: mail.Bounced, Code: "5.5.1", Reply: 554, Text: "Error: no valid recipients"}
	}
	m.env.Rcpts = list.rcpts
	return nil
}

// members asks the expander for one address.
func (m *Message) members(addr mail.Address) ([]mail.Address, error) {
	if m.in.o.Expander == nil {
		return []mail.Address{addr}, nil
	}
	members, err := m.in.o.Expander.Expand(addr)
	switch {
	case err != nil:
		m.in.log.AliasLookup(m.id, string(addr), err)
		return nil, &mail.Status{Outcome: mail.Deferred, Code: "4.3.0", Reply: 451, Text: writeText}
	case len(members) > m.in.o.ExpansionLimit:
		m.in.log.AliasTooLarge(m.id, string(addr))
		return nil, &mail.Status{Outcome: mail.Deferred, Code: "4.6.0", Reply: 451, Text: "Error: alias expansion error"}
	case len(members) == 0:
		return []mail.Address{addr}, nil
	}
	return members, nil
}

// rcptKey is what makes two recipients the same.
type rcptKey struct{ addr, orig, orcpt string }

// rcptList gathers recipients without duplicates (duplicate_filter_limit and
// enable_original_recipient of postconf(5)).
type rcptList struct {
	limit    int
	original bool
	seen     map[rcptKey]bool
	rcpts    []mail.Rcpt
}

func (l *rcptList) add(r mail.Rcpt) {
	key := rcptKey{addr: string(r.Addr.Fold())}
	if l.original {
		key.orig, key.orcpt = string(r.Orig.Fold()), strings.ToLower(r.ORCPT)
	}
	if l.seen[key] {
		return
	}
	if l.limit <= 0 || len(l.seen) < l.limit {
		l.seen[key] = true
	}
	l.rcpts = append(l.rcpts, r)
}
