package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"

	"modernc.org/sqlite"

	"packetboat/internal/sys/pool"
)

// ConnectSQLite opens a database, only ever for reading. Whoever is writing has two seconds to finish.
func ConnectSQLite(_ context.Context, path string) (Conn, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: "mode=ro&_pragma=busy_timeout(2000)"}).String()
	c, err := (&sqlite.Driver{}).Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("can't open database %s: %w", path, err)
	}
	s := &sqliteConn{c}
	// Opening looks at nothing yet: this reads the file's header.
	if err := s.Query(context.Background(), "PRAGMA schema_version", func(Row) error { return nil }); err != nil {
		c.Close()
		return nil, fmt.Errorf("can't open database %s: %w", path, err)
	}
	return s, nil
}

// sqliteConn is an open database.
type sqliteConn struct{ driver.Conn }

// escape doubles quotes, as the format %q of sqlite3_mprintf().
func (c *sqliteConn) Escape(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '\'' {
			dst = append(dst, '\'')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// Query implements Conn.
func (c *sqliteConn) Query(ctx context.Context, sql string, each func(Row) error) error {
	rows, err := ask(ctx, c.Conn, sql)
	if err != nil {
		return sqliteError(err)
	}
	defer rows.Close()
	return sqliteError(rowsOf(rows, each))
}

// sqliteError names an error by its code: the texts quote the query.
func sqliteError(err error) error {
	var se *sqlite.Error
	if errors.As(err, &se) {
		return &pool.Answered{Err: fmt.Errorf("sqlite error %d (%s)", se.Code(), sqlite.ErrorCodeString[se.Code()&0xff])}
	}
	return err
}
