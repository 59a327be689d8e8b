// Package sqldb speaks to the SQL databases of route/table and auth: MySQL and
// MariaDB, PostgreSQL, and files of SQLite. Values are escaped as each server's
// own client library does it. No error holds a password or the text of a query.
package sqldb

import (
	"context"
	"time"

	"packetboat/internal/sys/pool"
)

const (
	// ConnectTime is how long a connection may take to be made.
	ConnectTime = 10 * time.Second
	// AnswerTime is how long a query may take.
	AnswerTime = 60 * time.Second
	// MaxRows bounds the rows of one answer.
	MaxRows = 1 << 20
)

// Conn is a connection to a server. One goroutine uses it at a time.
type Conn interface {
	pool.Conn
	// Escape appends s as it stands between quotes in this server's SQL.
	Escape(dst []byte, s string) []byte
	// Query calls each with the rows of the answer; an error of it ends the query
	// and comes back inside a *pool.Answered. A statement that is no SELECT is
	// ErrNoRows, or an error that says so.
	Query(ctx context.Context, sql string, each func(Row) error) error
}

// Row is one row of an answer. It is only good until each returns.
type Row struct {
	Columns []string
	Values  []Value
}

// Value is a field as the database's own client prints it.
type Value struct {
	Text string
	Null bool
}
