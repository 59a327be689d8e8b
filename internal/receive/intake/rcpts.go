package intake

import (
	"slices"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
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

// expand completes and maps every recipient, replaces it by what
// virtual_alias_maps says, adds the copies that tables ask for, and removes
// duplicates. The order is cleanup(8)'s.
func (m *Message) expand() {
	list := m.newList()
	if !m.src.NoMapping {
		m.copyFor(list, &m.in.addresses.senderBCC, m.env.Sender)
	}
	from := len(list.rcpts)
	for _, r := range m.env.Rcpts {
		m.addRcpt(list, r)
	}
	if len(list.rcpts) == from {
		from = -1 // nobody but copies: "no recipients"
	}
	for _, a := range m.env.Actions.BCC {
		m.addRcpt(list, mail.Rcpt{Addr: a, Notify: mail.NotifyNever})
	}
	if a := m.in.o.Maps.AlwaysBCC; a != "" && !m.src.NoMapping {
		m.addCopy(list, mail.Address(a), mail.NotifyNever)
	}
	for _, a := range m.wishes.bcc {
		m.addCopy(list, a, mail.NotifyNever)
	}
	if from < 0 {
		list.rcpts = nil
	}
	m.env.Rcpts = list.rcpts
	m.list = list
}

// addRcpt adds a recipient, with the copy that recipient_bcc_maps asks for.
func (m *Message) addRcpt(list *rcptList, r mail.Rcpt) {
	if r.Addr == "" {
		r.Addr = mail.Address(m.in.o.EmptyRecipient)
	}
	if r.Orig == "" {
		r.Orig = r.Addr
	}
	r.Addr = m.mapAddress(m.in.complete(r.Addr), envelopeRecipient)
	named := r.Addr
	if m.hasMilters() {
		m.asked = append(m.asked, named)
	}
	m.out1(list, r, true)
	if !m.src.NoMapping {
		m.copyFor(list, &m.in.addresses.rcptBCC, named)
	}
}

// copyFor adds the copy that a table asks for.
func (m *Message) copyFor(list *rcptList, am *addressMap, a mail.Address) {
	if len(am.maps) == 0 || a == "" {
		return
	}
	to, _, found, err := m.find(a, am)
	switch {
	case err != nil:
		m.in.log.MapProblem(m.id, am.param, "")
		m.errs |= statWrite
	case found:
		for _, b := range message.Addresses(to) {
			m.addCopy(list, b, mail.NotifyNever)
			break // one address: the rest of the value is no address list
		}
	}
}

// addCopy adds a recipient that nobody named: a copy, or what a milter adds.
func (m *Message) addCopy(list *rcptList, a mail.Address, n mail.Notify) {
	a = m.mapAddress(m.in.complete(a), envelopeRecipient)
	m.out1(list, mail.Rcpt{Addr: a, Orig: a, Notify: n}, false)
}

// out1 adds one mapped recipient with all that its alias leads to. named tells
// that somebody named it, which the key of duplicates knows.
func (m *Message) out1(list *rcptList, r mail.Rcpt, named bool) {
	orcpt, ours := r.ORCPT, false
	if orcpt == "" && named {
		orcpt, ours = string(r.Addr), true
	}
	for _, a := range m.members(r.Addr) {
		if len(a) > 0 {
			r.Addr = m.in.complete(a)
			list.add(r, orcpt, ours)
		}
	}
}

// members asks the expander for one address. Where it cannot tell the message
// has to wait.
func (m *Message) members(addr mail.Address) []mail.Address {
	if m.in.o.Expander == nil || m.src.NoMapping {
		return []mail.Address{addr}
	}
	members, err := m.in.o.Expander.Expand(addr)
	switch {
	case err != nil:
		m.in.log.AliasLookup(m.id, string(addr), err)
		m.errs |= statWrite
		if mail.AsStatus(err).Code == "4.6.0" {
			m.refuse("4.6.0 Alias expansion error")
		}
	case len(members) > m.in.o.ExpansionLimit:
		m.in.log.AliasTooLarge(m.id, string(addr))
		m.refuse("4.6.0 Alias expansion error")
	case len(members) > 0:
		return members
	}
	return []mail.Address{addr}
}

// rcptKey is what makes two recipients the same.
type rcptKey struct {
	addr, orig, orcpt string
	ours              bool // orcpt is the recipient as it was named, for want of one
	notify            mail.Notify
}

// rcptList gathers recipients without duplicates (duplicate_filter_limit and
// enable_original_recipient of postconf(5)).
type rcptList struct {
	limit    int
	original bool
	first    rcptKey          // most messages have one recipient: no map for them
	seen     map[rcptKey]bool // of all, from the second on
	rcpts    []mail.Rcpt
}

func (m *Message) newList() *rcptList {
	return &rcptList{limit: m.in.o.DuplicateLimit, original: m.in.o.OriginalRecipient,
		rcpts: make([]mail.Rcpt, 0, len(m.env.Rcpts))}
}

func (l *rcptList) add(r mail.Rcpt, orcpt string, ours bool) {
	key := l.key(r, orcpt, ours)
	switch {
	case len(l.rcpts) == 0 && l.seen == nil:
		l.first = key
	case l.seen == nil:
		l.seen = map[rcptKey]bool{l.first: true}
		fallthrough
	default:
		if l.seen[key] {
			return
		}
		if l.limit <= 0 || len(l.seen) < l.limit {
			l.seen[key] = true
		}
	}
	l.rcpts = append(l.rcpts, r)
}

func (l *rcptList) key(r mail.Rcpt, orcpt string, ours bool) rcptKey {
	key := rcptKey{addr: string(r.Addr.Fold())}
	if l.original {
		key.orig, key.orcpt = string(r.Orig.Fold()), strings.ToLower(orcpt)
		key.ours, key.notify = ours, r.Notify
	}
	return key
}

// drop removes what a recipient was expanded to, by the address as it was named.
// The address may come again later.
func (l *rcptList) drop(named mail.Address) {
	l.rcpts = slices.DeleteFunc(l.rcpts, func(r mail.Rcpt) bool { return r.Orig == named })
	if l.seen == nil {
		l.seen = map[rcptKey]bool{}
		if len(l.rcpts) > 0 {
			l.seen[l.first] = true
		}
	}
	for key := range l.seen {
		if l.original && key.orig == string(named.Fold()) || key.addr == string(named.Fold()) {
			delete(l.seen, key)
		}
	}
}
