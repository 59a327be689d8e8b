package sqltable

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"

	"modernc.org/sqlite"

	"packetboat/internal/route/table/pool"
	"packetboat/internal/route/table/query"
)

// SQLite opens a sqlite_table(5). The database is opened to see that it is one,
// and only ever for reading.
func SQLite(env query.Env) (*Table, error) {
	t := open(env, false)
	path := env.Params.Need("dbpath")
	if err := env.Params.Err(); err != nil {
		return nil, err
	}
	// A file of this machine that failed may be right again at once.
	o := poolOptions(env)
	o.Retry = 1
	t.pool = pool.New([]string{path}, o, connectSQLite)
	c, err := connectSQLite(context.Background(), path)
	if err != nil {
		return nil, err
	}
	return t, c.Close()
}

// connectSQLite opens a database. Whoever is writing has two seconds to finish.
func connectSQLite(_ context.Context, path string) (conn, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: "mode=ro&_pragma=busy_timeout(2000)"}).String()
	c, err := (&sqlite.Driver{}).Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("can't open database %s: %w", path, err)
	}
	s := &sqliteConn{c}
	// Opening looks at nothing yet: this reads the file's header.
	if err := s.query(context.Background(), "PRAGMA schema_version", func(string) error { return nil }); err != nil {
		c.Close()
		return nil, fmt.Errorf("can't open database %s: %w", path, err)
	}
	return s, nil
}

// sqliteConn is an open database.
type sqliteConn struct{ driver.Conn }

// escape doubles quotes, as the format %q of sqlite3_mprintf().
func (c *sqliteConn) escape(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '\'' {
			dst = append(dst, '\'')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// query gives the first column of each row, as sqlite_table(5) does.
func (c *sqliteConn) query(ctx context.Context, sql string, value func(string) error) error {
	rows, err := ask(ctx, c.Conn, sql)
	if err != nil {
		return sqliteError(err)
	}
	defer rows.Close()
	return sqliteError(rowsOf(rows, true, false, value))
}

// sqliteError names an error by its code: the texts quote the query.
func sqliteError(err error) error {
	var se *sqlite.Error
	if errors.As(err, &se) {
		return &pool.Answered{Err: fmt.Errorf("sqlite error %d (%s)", se.Code(), sqlite.ErrorCodeString[se.Code()&0xff])}
	}
	return err
}
