package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/mail"
)

func checkClientAccess(ctx context.Context, e *eval, st *step) result {
	return e.access(ctx, st, "Client host", e.s.Client(), hostKeys(e.p, e.s.Name, e.s.Addr))
}

func checkReverseAccess(ctx context.Context, e *eval, st *step) result {
	return e.access(ctx, st, "Unverified Client host", e.s.Client(), domainKeys(e.p, e.s.Reverse))
}

func checkHeloAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.Helo == "" {
		return dunno
	}
	return e.access(ctx, st, "Helo command", e.s.Helo, domainKeys(e.p, e.s.Helo))
}

func checkSenderAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.Sender == nil {
		return dunno
	}
	return e.access(ctx, st, "Sender address", string(*e.s.Sender), addressKeys(e.p, *e.s.Sender))
}

func checkRcptAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.Rcpt == nil {
		return dunno
	}
	return e.access(ctx, st, "Recipient address", string(*e.s.Rcpt), addressKeys(e.p, *e.s.Rcpt))
}

func checkEtrnAccess(ctx context.Context, e *eval, st *step) result {
	return e.access(ctx, st, "Etrn command", e.s.Site, domainKeys(e.p, e.s.Site))
}

func checkSASLAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.User == "" {
		return dunno
	}
	return e.access(ctx, st, "SASL login name", e.s.User, []string{e.s.User})
}

// access asks a table for each key in turn (access(5)); the first that is
// there decides.
func (e *eval) access(ctx context.Context, st *step, class, value string, keys []string) result {
	for _, k := range keys {
		action, found, err := st.table.Lookup(ctx, strings.ToLower(k))
		if err != nil {
			e.p.deps.Log.SMTPDConfig(st.arg+" lookup error", err)
			return e.refuse(451, "4.3.5", "<%s>: %s rejected: Server configuration error", value, class)
		}
		if found {
			e.found(st.arg, strings.ToLower(k), action)
			return e.act(ctx, st, class, value, action)
		}
	}
	return dunno
}

// act does what an access table's right-hand side says.
func (e *eval) act(ctx context.Context, st *step, class, value, action string) result {
	verb, text, _ := strings.Cut(strings.TrimSpace(action), " ")
	text = strings.TrimSpace(text)
	verb = strings.ToUpper(verb)
	reason := func(def string) string {
		if text == "" {
			return def
		}
		return text
	}
	denied := func(code int, dsn, def string) result {
		dsn, why := enhanced(dsn, reason(def))
		return e.refuse(code, dsn, "<%s>: %s rejected: %s", value, class, why)
	}
	o := &e.p.opts
	switch {
	case verb == "DUNNO":
		return dunno
	case verb == "OK" || allDigits(verb) && len(verb) != 3:
		return permit
	case verb == "REJECT":
		return denied(o.AccessReject, "5.7.1", "Access denied")
	case verb == "DEFER":
		return denied(o.AccessDefer, "4.7.1", "Try again later")
	case verb == "DEFER_IF_PERMIT":
		dsn, why := enhanced("4.7.1", reason("Service unavailable"))
		return e.deferIfPermit(o.AccessDefer, dsn, "<%s>: %s rejected: %s", value, class, why)
	case verb == "DEFER_IF_REJECT":
		dsn, why := enhanced("4.7.1", reason("Service unavailable"))
		if e.ifBad == nil && !e.warn {
			e.ifBad = verdict(o.AccessDefer, dsn, "<%s>: %s rejected: %s", value, class, why)
			e.said = e.ifBad
		}
		return dunno
	case verb == "WARN" || verb == "INFO":
		e.p.log(e.s, strings.ToLower(verb), &Verdict{Text: fmt.Sprintf("<%s>: %s triggers %s %s", value, class, verb, text)})
		return dunno
	case len(verb) == 3 && allDigits(verb) && (verb[0] == '4' || verb[0] == '5'):
		code, _ := strconv.Atoi(verb)
		return denied(code, string(verb[0])+".7.1", "Access denied")
	}
	return e.restrictions(ctx, st, class, value, action)
}

// restrictions runs a right-hand side that is itself a list of restrictions.
func (e *eval) restrictions(ctx context.Context, st *step, class, value, action string) result {
	l, err := e.p.compile(strings.FieldsFunc(action, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }), e.stage)
	if err == nil {
		for _, inner := range l {
			if inner.table != nil {
				err = errors.New("a table's action cannot name a table")
			}
		}
	}
	if err != nil {
		e.p.deps.Log.SMTPDConfig("access table "+st.arg, err)
		return e.refuse(451, "4.3.5", "<%s>: %s rejected: Server configuration error", value, class)
	}
	warn := e.warn
	r := e.run(ctx, l, e.stage)
	e.warn = warn
	return r
}

// enhanced takes an enhanced status code off the front of a text
// (access(5): "REJECT 5.7.9 go away").
func enhanced(def, text string) (dsn, rest string) {
	first, rest, _ := strings.Cut(text, " ")
	part := strings.Split(first, ".")
	if len(part) != 3 || len(part[0]) != 1 || !allDigits(part[0]) || !allDigits(part[1]) || !allDigits(part[2]) {
		return def, text
	}
	return first, strings.TrimSpace(rest)
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parents tells whether a domain's entry in an access table counts for its
// subdomains too (parent_domain_matches_subdomains); otherwise only ".domain"
// does.
func (p *Policy) parents() bool {
	return len(p.opts.ParentMatches) == 0 || slices.Contains(p.opts.ParentMatches, "smtpd_access_maps")
}

// domainKeys are the keys under which a domain is looked up: itself, then its
// parents. At most maxKeys are asked.
func domainKeys(p *Policy, domain string) []string {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" {
		return nil
	}
	keys := []string{domain}
	if isLiteral(domain) {
		return keys
	}
	for rest := domain; len(keys) < maxKeys; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		if p.parents() {
			keys = append(keys, rest[i+1:])
		} else {
			keys = append(keys, rest[i:])
		}
		rest = rest[i+1:]
	}
	return keys
}

// maxKeys bounds the look-ups that one hostile name can cause.
const maxKeys = 64

// hostKeys are the keys of a client: its name and parents, its address and the
// networks above it, cut at octets.
func hostKeys(p *Policy, name string, addr netip.Addr) []string {
	keys := domainKeys(p, name)
	a := addr.Unmap().String()
	sep := "."
	if addr.Unmap().Is6() {
		sep = ":"
	}
	for {
		keys = append(keys, a)
		i := strings.LastIndex(a, sep)
		if i < 0 {
			return keys
		}
		a = strings.TrimRight(a[:i], sep)
	}
}

// addressKeys are the keys of an address in access(5)'s order: whole, without
// its extension, domain and parents, "local@". The null sender is "<>"
// (smtpd_null_access_lookup_key).
func addressKeys(p *Policy, a mail.Address) []string {
	if a == "" {
		return []string{"<>"}
	}
	local, domain := a.Split()
	base := local
	if i := strings.IndexAny(local, p.opts.Delimiter); i > 0 && p.opts.Delimiter != "" {
		base = local[:i]
	}
	if domain == "" {
		domain = p.opts.MyOrigin
	}
	keys := []string{local + "@" + domain}
	if base != local {
		keys = append(keys, base+"@"+domain)
	}
	keys = append(keys, domainKeys(p, domain)...)
	keys = append(keys, local+"@")
	if base != local {
		keys = append(keys, base+"@")
	}
	return keys
}
