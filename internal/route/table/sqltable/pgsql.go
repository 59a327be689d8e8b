package sqltable

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"packetboat/internal/route/table/pool"
	"packetboat/internal/route/table/query"
)

// pgSetup is what is needed to connect.
type pgSetup struct{ env query.Env }

// PgSQL opens a pgsql_table(5); no connection is made yet.
func PgSQL(env query.Env) (*Table, error) {
	t := open(env, true)
	hosts := env.Params.List("hosts", "")
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	s := &pgSetup{env}
	for _, h := range hosts {
		if _, err := s.config(h); err != nil {
			env.Params.Fail(fmt.Errorf("hosts: %s is not understood", hidden(h)))
		}
	}
	t.pool = pool.New(hosts, poolOptions(env), s.connect)
	return t, env.Params.Err()
}

// hidden is the name of a server without what a URI may hold of secrets.
func hidden(server string) string {
	if scheme, _, ok := strings.Cut(server, "://"); ok {
		return scheme + "://..."
	}
	return server
}

// config makes the settings of one server: unix:/dir, unix:/dir/.s.PGSQL.port,
// [inet:]host[:port], or a URI of libpq.
func (s *pgSetup) config(server string) (*pgconn.Config, error) {
	p := s.env.Params
	var set []string
	add := func(name, value string) {
		if value != "" {
			set = append(set, name+"='"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)+"'")
		}
	}
	text := server
	if !strings.HasPrefix(server, "postgresql://") && !strings.HasPrefix(server, "postgres://") {
		if socket, ok := strings.CutPrefix(server, "unix:"); ok {
			if port, ok := strings.CutPrefix(path.Base(socket), ".s.PGSQL."); ok {
				add("port", port)
				socket = path.Dir(socket)
			}
			add("host", socket)
		} else {
			host, port := cutPort(strings.TrimPrefix(server, "inet:"))
			add("host", host)
			add("port", port)
		}
		add("user", p.Str("user", "postgres"))
		add("password", p.Str("password", "postgres"))
		add("dbname", p.Str("dbname", ""))
		text = strings.Join(set, " ")
	}
	c, err := pgconn.ParseConfig(text)
	if err != nil {
		return nil, err
	}
	if name := p.Str("dbname", ""); name != "" {
		c.Database = name
	}
	c.ConnectTimeout = connectTime
	c.MaxProtocolMessageBodyLen = 16 << 20
	// All of our keys are UTF-8. (Postfix before 3.9 asked for LATIN1; for ASCII
	// that is the same.)
	c.RuntimeParams["client_encoding"] = p.Str("encoding", "UTF8")
	return c, nil
}

func (s *pgSetup) connect(ctx context.Context, server string) (conn, error) {
	c, err := s.config(server)
	if err != nil {
		return nil, fmt.Errorf("pgsql server %s is not understood", hidden(server))
	}
	pc, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect to pgsql server %s: %w", hidden(server), told(err))
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
func (c *pgConn) escape(dst []byte, s string) []byte {
	plain := c.ParameterStatus("standard_conforming_strings") == "on"
	for i := 0; i < len(s); i++ {
		if s[i] == '\'' || s[i] == '\\' && !plain {
			dst = append(dst, s[i])
		}
		dst = append(dst, s[i])
	}
	return dst
}

// query runs statements; the last one's rows count, as for PQexec().
func (c *pgConn) query(ctx context.Context, sql string, value func(string) error) error {
	var values []string
	rows := false
	results := c.Exec(ctx, sql)
	for results.NextResult() {
		r := results.ResultReader()
		rows, values = len(r.FieldDescriptions()) > 0, values[:0]
		for r.NextRow() {
			for _, v := range r.Values() {
				values = append(values, string(v)) // NULL is empty
			}
			if len(values) > maxRows {
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
	if !rows {
		return stop(errors.New("the pgsql query returned no rows at all: it is no SELECT"))
	}
	for _, v := range values {
		if err := value(v); err != nil {
			return stop(err)
		}
	}
	return nil
}
