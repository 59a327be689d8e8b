package auth

import (
	"context"
	"errors"
	"fmt"

	"packetboat/internal/auth/scheme"
	"packetboat/internal/auth/sqlauth"
	"packetboat/internal/sys/sqldb"
)

// sqlDB is the sql driver, for passdb and userdb.
type sqlDB struct{ db *sqlauth.DB }

// newSQL opens a settings file; a passdb and a userdb with the same file share
// their connections.
func (a *Auth) newSQL(path string) (*sqlDB, error) {
	if path == "" {
		return nil, errNoFile
	}
	if db := a.sql[path]; db != nil {
		return &sqlDB{db}, nil
	}
	db, err := sqlauth.Open(path)
	if err != nil {
		return nil, err
	}
	for name, query := range map[string]string{"password_query": db.Password, "user_query": db.User} {
		if err := checkPattern(query, "password"); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
	}
	if a.sql == nil {
		a.sql = make(map[string]*sqlauth.DB)
	}
	a.sql[path] = db
	return &sqlDB{db}, nil
}

func (s *sqlDB) name() string { return "sql" }

// errRows says that a query, which should find one user, found several.
var errRows = errors.New("the query returned more than one row")

// row runs a query and returns its row as fields. A column of NULL is none at all.
func (s *sqlDB) row(ctx context.Context, query string, q *Query, password string) (Fields, error) {
	var f Fields
	err := s.db.Query(ctx, func(quote func(string) string) string {
		f = nil // a former try at another server
		return expandQuoted(query, q, password, quote)
	}, func(r sqldb.Row) error {
		if f != nil {
			return errRows
		}
		f = fieldsOf(r)
		return nil
	})
	if err == nil && f == nil {
		err = errUnknown
	}
	return f, err
}

func fieldsOf(r sqldb.Row) Fields {
	f := make(Fields)
	for i, v := range r.Values {
		if !v.Null && r.Columns[i] != "" {
			f[r.Columns[i]] = v.Text
		}
	}
	return f
}

// errNullPassword is Dovecot's answer to a NULL or empty password without nopassword.
var errNullPassword = &refusal{text: "Empty password returned without nopassword"}

func (s *sqlDB) lookup(ctx context.Context, q *Query) (*account, error) {
	f, err := s.row(ctx, s.db.Password, q, q.password)
	if err != nil {
		return nil, err
	}
	if name := joinedName(f); name != "" {
		f["user"] = name
	}
	return accountOf(f, s.db.Scheme)
}

// accountOf makes an account of the fields that a database gave.
func accountOf(f Fields, def string) (*account, error) {
	acc := &account{fields: f}
	_, acc.any = f["nopassword"]
	password := f["password"]
	delete(f, "password")
	delete(f, "nopassword")
	switch {
	case acc.any && password != "":
		return nil, errors.New("nopassword set but password is non-empty")
	case !acc.any && password == "":
		return nil, errNullPassword
	}
	acc.stored = scheme.Parse(password, def)
	return acc, nil
}

// joinedName makes one name of the columns username and domain, and takes them out.
func joinedName(f Fields) string {
	name, domain := f["username"], f["domain"]
	if name == "" {
		return ""
	}
	delete(f, "username")
	delete(f, "domain")
	if domain != "" {
		name += "@" + domain
	}
	return name
}

func (s *sqlDB) user(ctx context.Context, q *Query, _ Fields) (Fields, error) {
	return s.row(ctx, s.db.User, q, "")
}

// users implements lister with iterate_query.
func (s *sqlDB) users(*Auth) (names []string, err error) {
	err = s.db.Query(context.Background(), func(func(string) string) string {
		names = nil
		return s.db.Iterate
	}, func(r sqldb.Row) error {
		f := fieldsOf(r)
		name := f["user"]
		if name == "" {
			name = joinedName(f)
		}
		if name == "" {
			return errors.New("iterate_query gives neither user nor username")
		}
		names = append(names, name)
		return nil
	})
	return names, err
}
