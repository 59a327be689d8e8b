package auth

import (
	"context"
	"errors"

	"packetboat/internal/auth/ldapauth"
)

// ldapDB is the ldap driver, for passdb and userdb.
type ldapDB struct {
	db                   *ldapauth.DB
	passAttrs, userAttrs []ldapauth.Attr
}

// ldapBind is a passdb whose directory judges passwords itself (auth_bind).
type ldapBind struct{ *ldapDB }

func (a *Auth) newLDAP(path string) (*ldapDB, error) {
	if path == "" {
		return nil, errNoFile
	}
	db := a.ldap[path]
	if db == nil {
		var err error
		if db, err = ldapauth.Open(path); err != nil {
			return nil, err
		}
		if a.ldap == nil {
			a.ldap = make(map[string]*ldapauth.DB)
		}
		a.ldap[path] = db
	}
	for _, pattern := range []string{db.PassFilter, db.UserFilter, db.Base, db.BindDN} {
		if err := CheckPattern(pattern); err != nil {
			return nil, err
		}
	}
	return &ldapDB{db, ldapauth.ParseAttrs(db.PassAttrs), ldapauth.ParseAttrs(db.UserAttrs)}, nil
}

// passdbLDAP chooses between the two kinds of passdb.
func (a *Auth) passdbLDAP(path string) (passdb, error) {
	l, err := a.newLDAP(path)
	if err == nil && l.db.AuthBind {
		return ldapBind{l}, nil
	}
	return l, err
}

func (l *ldapDB) name() string { return "ldap" }

// entry finds the user's entry; several are an error.
func (l *ldapDB) entry(ctx context.Context, filter string, attrs []ldapauth.Attr, q *Query) (Fields, string, error) {
	base := expandQuoted(l.db.Base, q, "", ldapauth.QuoteDN)
	list, err := l.db.Search(ctx, base, expandQuoted(filter, q, "", ldapauth.QuoteFilter), ldapauth.Wanted(attrs))
	switch {
	case err != nil:
		return nil, "", err
	case len(list) == 0:
		return nil, "", errUnknown
	case len(list) > 1:
		return nil, "", errors.New("the search returned multiple objects")
	}
	return ldapauth.Fields(attrs, list[0], func(s string) string { return Expand(s, q) }), list[0].DN, nil
}

func (l *ldapDB) lookup(ctx context.Context, q *Query) (*account, error) {
	f, _, err := l.entry(ctx, l.db.PassFilter, l.passAttrs, q)
	if err != nil {
		return nil, err
	}
	return accountOf(f, l.db.Scheme)
}

// verify implements judge: the user's name in the directory is made of
// auth_bind_userdn, or searched for, and then the directory is asked to let him in.
func (l ldapBind) verify(ctx context.Context, q *Query, password string) (Fields, error) {
	dn, fields := expandQuoted(l.db.BindDN, q, "", ldapauth.QuoteDN), Fields{}
	if l.db.BindDN == "" {
		var err error
		if fields, dn, err = l.entry(ctx, l.db.PassFilter, l.passAttrs, q); err != nil {
			return nil, err
		}
		delete(fields, "password")
	}
	err := l.db.Bind(ctx, dn, password)
	if errors.Is(err, ldapauth.ErrPassword) {
		return nil, said("Password mismatch (for LDAP bind)")
	}
	return fields, err
}

// lookup tells whether the directory lists the user, for static userdbs.
func (l ldapBind) lookup(ctx context.Context, q *Query) (*account, error) {
	if l.db.BindDN != "" {
		return nil, errNoLookup
	}
	f, _, err := l.entry(ctx, l.db.PassFilter, l.passAttrs, q)
	if err != nil {
		return nil, err
	}
	delete(f, "password")
	return &account{fields: f}, nil
}

func (l *ldapDB) user(ctx context.Context, q *Query, _ Fields) (Fields, error) {
	f, _, err := l.entry(ctx, l.db.UserFilter, l.userAttrs, q)
	return f, err
}

// users implements lister with iterate_filter.
func (l *ldapDB) users(*Auth) (names []string, err error) {
	attrs := ldapauth.ParseAttrs(l.db.IterateAttrs)
	list, err := l.db.Search(context.Background(), l.db.Base, l.db.IterateFilter, ldapauth.Wanted(attrs))
	for _, e := range list {
		f := ldapauth.Fields(attrs, e, func(s string) string { return s })
		if name := f["user"]; name != "" {
			names = append(names, name)
		}
	}
	return names, err
}
