package sqldb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"packetboat/internal/sys/pool"
)

// maxAnswer bounds one message of a PostgreSQL server, in bytes.
const maxAnswer = 16 << 20

// ConnectPgSQL makes a connection. name is the server's, for errors: what c was
// made of may hold secrets.
func ConnectPgSQL(ctx context.Context, name string, c *pgconn.Config) (Conn, error) {
	c.MaxProtocolMessageBodyLen = maxAnswer
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = ConnectTime
	}
	pc, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect to pgsql server %s: %w", name, told(err))
	}
	return &pgConn{pc}, nil
}

// told makes an error of the server that names no part of the query or the
// connection's settings.
func told(err error) error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return fmt.Errorf("pgsql error %s (%s)", pe.Code, pe.Severity)
	}
	var inner interface{ Unwrap() error }
	if errors.As(err, &inner) && inner.Unwrap() != nil {
		return inner.Unwrap()
	}
	return err
}

// pgConn is a connection to PostgreSQL.
type pgConn struct{ *pgconn.PgConn }

// Close ends the connection politely, but does not wait long.
func (c *pgConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.PgConn.Close(ctx)
}

// escape is PQescapeStringConn(): quotes are doubled, and backslashes too where
// the server reads them (standard_conforming_strings = off).
func (c *pgConn) Escape(dst []byte, s string) []byte {
	plain := c.ParameterStatus("standard_conforming_strings") == "on"
	for i := 0; i < len(s); i++ {
		if s[i] == '\'' || s[i] == '\\' && !plain {
			dst = append(dst, s[i])
		}
		dst = append(dst, s[i])
	}
	return dst
}

// Query runs statements; the last one's rows count, as for PQexec().
func (c *pgConn) Query(ctx context.Context, sql string, each func(Row) error) error {
	var rows []Row
	var columns []string
	results := c.Exec(ctx, sql)
	for results.NextResult() {
		r := results.ResultReader()
		columns, rows = columns[:0], rows[:0]
		for _, f := range r.FieldDescriptions() {
			columns = append(columns, f.Name)
		}
		for r.NextRow() {
			row := Row{Values: make([]Value, 0, len(columns))}
			for _, v := range r.Values() {
				row.Values = append(row.Values, Value{string(v), v == nil})
			}
			if rows = append(rows, row); len(rows) > MaxRows {
				break
			}
		}
		r.Close() // results.Close tells its error
	}
	if err := results.Close(); err != nil {
		var pe *pgconn.PgError
		if errors.As(err, &pe) && !c.IsClosed() {
			return &pool.Answered{Err: told(err)}
		}
		return fmt.Errorf("pgsql query failed: %w", told(err))
	}
	if len(columns) == 0 {
		return stop(errors.New("the pgsql query returned no rows at all: it is no SELECT"))
	}
	for _, r := range rows {
		r.Columns = columns
		if err := each(r); err != nil {
			return stop(err)
		}
	}
	return nil
}
