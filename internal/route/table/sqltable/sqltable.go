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

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/pool"
	"packetboat/internal/sys/sqldb"
)

// lookupTime is how long one look-up may take over all servers.
const lookupTime = 60 * time.Second

// Table is one table of an SQL database.
type Table struct {
	env      query.Env
	rules    *query.Rules
	template string
	pool     *pool.Pool[sqldb.Conn]
	first    bool // only the first column counts
	bare     bool // a statement without a result set is no error
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
	err := t.pool.Do(ctx, func(ctx context.Context, c sqldb.Conn) error {
		sql, _ := t.rules.Query(nil, t.template, key, c.Escape)
		result = t.rules.Result(key)
		n := 0
		err := c.Query(ctx, string(sql), func(r sqldb.Row) error {
			if n += len(r.Values); n > sqldb.MaxRows {
				return fmt.Errorf("more than %d values", sqldb.MaxRows)
			}
			return t.values(result, r)
		})
		if t.bare && errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return "", false, err
	}
	v, found := result.Text()
	return v, found, nil
}

// values takes the values of one row.
func (t *Table) values(result *query.Result, r sqldb.Row) error {
	for i, v := range r.Values {
		if i > 0 && t.first {
			break
		}
		if err := result.Add(v.Text); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connections.
func (t *Table) Close() { t.pool.Close() }
