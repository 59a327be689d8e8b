// Package sqltable asks SQL databases: mysql_table(5), pgsql_table(5) and
// sqlite_table(5). Keys are escaped as each server's own client library does it;
// a database that does not answer is an error, never "not found". No error holds
// a password or the text of a query.
package sqltable

import (
	"context"
	"errors"
	"fmt"
	"time"

	"packetboat/internal/route/table/pool"
	"packetboat/internal/route/table/query"
)

const (
	// connectTime is how long a connection may take to be made.
	connectTime = 10 * time.Second
	// lookupTime is how long one look-up may take over all servers.
	lookupTime = 60 * time.Second
	// maxRows bounds the rows of one answer.
	maxRows = 1 << 20
)

// Table is one table of an SQL database.
type Table struct {
	env      query.Env
	rules    *query.Rules
	template string
	pool     *pool.Pool[conn]
}

// conn is a connection to a server.
type conn interface {
	pool.Conn
	// escape appends s as it stands between quotes in this server's SQL.
	escape(dst []byte, s string) []byte
	// query calls value with each column of each row.
	query(ctx context.Context, sql string, value func(string) error) error
}

// open reads the parameters that all SQL tables have. function is pgsql's
// select_function.
func open(env query.Env, function bool) *Table {
	p := env.Params
	t := &Table{env: env, rules: env.Rules(p.Str("result_format", "%s"))}
	t.template = p.Str("query", "")
	switch {
	case t.template != "":
	case function && p.Str("select_function", "") != "":
		t.template = "SELECT " + p.Str("select_function", "") + "('%s')"
	default:
		// The interface before Postfix 2.2.
		t.template = fmt.Sprintf("SELECT %s FROM %s WHERE %s='%%s' %s", p.Need("select_field"), p.Need("table"),
			p.Need("where_field"), p.Str("additional_conditions", ""))
	}
	if _, err := t.rules.Add(t.template, false); err != nil {
		// The template itself is not told: queries may hold secrets.
		p.Fail(errors.New("query: '%' must be followed by one of s u d S U D 1-9 %"))
	}
	return t
}

// poolOptions reads how long servers rest after a failure and connections live.
func poolOptions(env query.Env) pool.Options {
	p := env.Params
	return pool.Options{Retry: p.Seconds("retry_interval", 60, 1), Idle: p.Seconds("idle_interval", 60, 1), Timeout: lookupTime}
}

// Lookup asks the database for key.
func (t *Table) Lookup(ctx context.Context, key string) (string, bool, error) {
	key, ok := t.env.Key(key)
	if !ok {
		return "", false, nil
	}
	if ok, err := t.rules.Wanted(ctx, key); err != nil || !ok {
		return "", false, err
	}
	if _, ok := t.rules.Query(nil, t.template, key, nil); !ok {
		return "", false, nil
	}
	var result *query.Result
	err := t.pool.Do(ctx, func(ctx context.Context, c conn) error {
		sql, _ := t.rules.Query(nil, t.template, key, c.escape)
		result = t.rules.Result(key)
		rows := 0
		return c.query(ctx, string(sql), func(v string) error {
			if rows++; rows > maxRows {
				return fmt.Errorf("more than %d values", maxRows)
			}
			return result.Add(v)
		})
	})
	if err != nil {
		return "", false, err
	}
	v, found := result.Text()
	return v, found, nil
}

// Close ends the connections.
func (t *Table) Close() { t.pool.Close() }

// stop marks an error of a row's taker: the server is well.
func stop(err error) error {
	if err == nil {
		return nil
	}
	return &pool.Answered{Err: err}
}
