// Package sqlauth asks SQL databases for accounts, as dovecot-sql.conf.ext says
// (Dovecot's AuthDatabase/SQL): driver mysql, pgsql or sqlite, connect with one or
// several hosts, and the queries. Package auth fills the queries with what it
// knows of a user, each value quoted by the server's own rules. A server that does
// not answer is an error, never "no such user".
package sqlauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"packetboat/internal/auth/extconf"
	"packetboat/internal/sys/pool"
	"packetboat/internal/sys/sqldb"
)

// maxRows bounds the accounts that iterate_query lists.
const maxRows = sqldb.MaxRows

// DB is the database of one settings file; it is safe for many goroutines.
type DB struct {
	Scheme   string // default_pass_scheme
	Password string // password_query
	User     string // user_query
	Iterate  string // iterate_query
	pool     *pool.Pool[sqldb.Conn]
}

// The settings of the file.
var settings = []string{"driver", "connect", "password_query", "user_query", "update_query", "iterate_query",
	"default_pass_scheme", "userdb_warning_disable"}

// Open reads a settings file; no connection is made yet.
func Open(path string) (*DB, error) {
	s, err := extconf.Read(path, settings)
	if err != nil {
		return nil, err
	}
	db := &DB{
		Scheme:   s.Get("default_pass_scheme", "CRYPT"),
		Password: s.Get("password_query", "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'"),
		User:     s.Get("user_query", "SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'"),
		Iterate:  s.Get("iterate_query", "SELECT username, domain FROM users"),
	}
	if s["connect"] == "" {
		return nil, fmt.Errorf("%s: connect is not set", path)
	}
	switch s["driver"] {
	case "mysql":
		err = db.mysql(s["connect"])
	case "pgsql":
		err = db.pgsql(s["connect"])
	case "sqlite":
		db.pool = pool.New([]string{s["connect"]}, options(0), sqldb.ConnectSQLite)
	default:
		err = fmt.Errorf("driver = %s: the drivers are mysql, pgsql, sqlite", cmp.Or(s["driver"], "(none)"))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}

// retry is how long a server that failed is left alone: short, for who cannot log
// in tries again at once.
const retry = time.Second

// options are those of Dovecot's own pool: maxconns is 5 unless it says otherwise.
func options(maxconns int) pool.Options {
	return pool.Options{Retry: retry, Max: cmp.Or(max(maxconns, 0), 5), Timeout: sqldb.AnswerTime}
}

// Query runs the query that build makes; quote makes a value safe between quotes.
func (d *DB) Query(ctx context.Context, build func(quote func(string) string) string, each func(sqldb.Row) error) error {
	return d.pool.Do(ctx, func(ctx context.Context, c sqldb.Conn) error {
		n := 0
		err := c.Query(ctx, build(func(s string) string { return string(c.Escape(nil, s)) }), func(r sqldb.Row) error {
			if n++; n > maxRows {
				return fmt.Errorf("more than %d rows", maxRows)
			}
			return each(r)
		})
		if errors.Is(err, sqldb.ErrNoRows) {
			return &pool.Answered{Err: errors.New("the query is no SELECT")}
		}
		return err
	})
}
