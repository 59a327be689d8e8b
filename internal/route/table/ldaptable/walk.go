package ldaptable

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"packetboat/internal/route/table/query"
)

const (
	// maxEntries bounds the entries of one search where size_limit does not.
	maxEntries = 100000
	// maxSearches bounds the searches of one look-up: groups may name each other
	// in circles, which recursion_limit alone makes long.
	maxSearches = 10000
	// maxHops bounds referrals that lead to referrals.
	maxHops = 5
)

// walk gathers the values of one look-up: special attributes lead to further
// searches.
type walk struct {
	t        *Table
	c        *conn
	ctx      context.Context
	result   *query.Result
	searches int
	hops     int
}

// search is one question to the directory.
type search struct {
	base       string
	scope      int
	filter     string
	attributes []string
}

// search asks, and takes what the entries hold. depth counts from 1.
func (x *walk) search(s search, depth int) error {
	if x.searches++; x.searches > maxSearches {
		return fmt.Errorf("%w: more than %d searches for one key", errWalk, maxSearches)
	}
	if err := x.ctx.Err(); err != nil {
		return err
	}
	limit := x.t.size
	if limit == 0 {
		limit = maxEntries
	}
	seconds := int(x.t.timeout.Seconds())
	r, err := x.c.Search(&ldap.SearchRequest{BaseDN: s.base, Scope: s.scope, DerefAliases: x.t.deref, SizeLimit: x.t.size,
		TimeLimit: seconds, Filter: s.filter, Attributes: s.attributes})
	if err != nil {
		return err
	}
	if len(r.Entries) > limit {
		return fmt.Errorf("%w: more than %d entries", errWalk, limit)
	}
	for _, e := range r.Entries {
		if err := x.entry(e, depth); err != nil {
			return err
		}
	}
	return x.refer(r.Referrals, s, depth)
}

// entry takes the values of one entry. With a terminal attribute only those
// count; with a special one the leaf attributes do not.
func (x *walk) entry(e *ldap.Entry, depth int) error {
	t := x.t
	terminal := holds(e, t.attributes[:t.terminal])
	leaf := terminal || !holds(e, t.attributes[t.ordinary:])
	for _, a := range e.Attributes {
		var err error
		switch i := t.index(a.Name); {
		case i < 0, terminal && i >= t.terminal, !leaf && i >= t.terminal && i < t.leaf:
		case !leaf && i < t.terminal:
			// As the original: terminal attributes without a value count for nothing.
		case i < t.ordinary:
			err = x.values(a.Values)
		case depth >= t.recursion:
			err = fmt.Errorf("%w: recursion limit of %d exceeded for attribute %s", errWalk, t.recursion, a.Name)
		default:
			err = x.special(a.Values, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// holds tells whether e has a value of one of the attributes.
func holds(e *ldap.Entry, attributes []string) bool {
	for _, name := range attributes {
		for _, a := range e.Attributes {
			if isAttribute(name, a.Name) && len(a.Values) > 0 {
				return true
			}
		}
	}
	return false
}

// isAttribute tells whether got is the attribute that was asked for, or a
// subtype of it ("mail;lang-en").
func isAttribute(asked, got string) bool {
	return len(got) >= len(asked) && strings.EqualFold(asked, got[:len(asked)]) && (len(got) == len(asked) || got[len(asked)] == ';')
}

// index returns the place of an attribute in the table's list; -1 = not there.
func (t *Table) index(name string) int {
	for i, a := range t.attributes {
		if isAttribute(a, name) {
			return i
		}
	}
	return -1
}

func (x *walk) values(list []string) error {
	for _, v := range list {
		if err := x.result.Add(v); err != nil {
			return fmt.Errorf("%w: %w", errWalk, err)
		}
	}
	return nil
}

// special follows names and URLs of entries. One that leads nowhere is left out.
func (x *walk) special(list []string, depth int) error {
	for _, v := range list {
		s := search{v, ldap.ScopeBaseObject, "(objectclass=*)", x.t.attributes}
		if u, ok := parseURL(v); ok {
			if s = u; len(s.attributes) == 0 {
				s.attributes = x.t.attributes
			} else if s.attributes = x.t.selected(s.attributes); len(s.attributes) == 0 {
				continue // the URL asks for nothing that the table takes
			}
		}
		err := x.search(s, depth+1)
		if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			return err
		}
	}
	return nil
}

// selected returns the table's attributes that a URL names, too.
func (t *Table) selected(named []string) (out []string) {
	for _, n := range named {
		for _, a := range t.attributes {
			if isAttribute(a, n) {
				out = append(out, n)
				break
			}
			if isAttribute(n, a) {
				out = append(out, a)
				break
			}
		}
	}
	return out
}

// parseURL reads ldap://host/dn?attributes?scope?filter (RFC 4516). The host is
// passed over: the table's own server is asked, as in Postfix.
func parseURL(s string) (q search, ok bool) {
	scheme, _, ok := strings.Cut(s, "://")
	if !ok || !strings.EqualFold(scheme, "ldap") && !strings.EqualFold(scheme, "ldaps") && !strings.EqualFold(scheme, "ldapi") {
		return q, false
	}
	u, err := url.Parse(s)
	if err != nil {
		return q, false
	}
	part := append(strings.Split(u.RawQuery, "?"), "", "", "")
	q = search{base: strings.TrimPrefix(u.Path, "/"), filter: "(objectclass=*)"}
	for _, a := range strings.Split(part[0], ",") {
		if a, err = url.PathUnescape(a); err == nil && a != "" && a != "*" {
			q.attributes = append(q.attributes, a)
		}
	}
	switch strings.ToLower(part[1]) {
	case "one":
		q.scope = ldap.ScopeSingleLevel
	case "sub":
		q.scope = ldap.ScopeWholeSubtree
	}
	if f, err := url.PathUnescape(part[2]); err == nil && f != "" {
		if q.filter = f; f[0] != '(' {
			q.filter = "(" + f + ")"
		}
	}
	return q, true
}

// refer follows continuation references to other servers, where the settings
// allow it (chase_referrals). They are asked without a name: the password is for
// our own server.
func (x *walk) refer(urls []string, s search, depth int) error {
	if !x.t.chase {
		return nil
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" {
			return fmt.Errorf("%w: a referral that is not understood", errWalk)
		}
		if x.hops++; x.hops > maxHops {
			return fmt.Errorf("%w: more than %d referrals", errWalk, maxHops)
		}
		next := s
		if q, ok := parseURL(text); ok && q.base != "" {
			next.base = q.base
		}
		c, err := x.t.dial(x.ctx, u.Scheme+"://"+u.Host)
		if err != nil {
			return fmt.Errorf("%w: referral to %s: %w", errWalk, u.Host, err)
		}
		there := *x
		there.c = &conn{c}
		err = there.search(next, depth)
		c.Close()
		x.searches, x.hops = there.searches, there.hops
		if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			return fmt.Errorf("%w: referral to %s: %w", errWalk, u.Host, err)
		}
	}
	return nil
}
