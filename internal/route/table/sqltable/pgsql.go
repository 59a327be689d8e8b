package sqltable

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/pool"
	"packetboat/internal/sys/sqldb"
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
	c.ConnectTimeout = sqldb.ConnectTime
	// All of our keys are UTF-8. (Postfix before 3.9 asked for LATIN1; for ASCII
	// that is the same.)
	c.RuntimeParams["client_encoding"] = p.Str("encoding", "UTF8")
	return c, nil
}

func (s *pgSetup) connect(ctx context.Context, server string) (sqldb.Conn, error) {
	c, err := s.config(server)
	if err != nil {
		return nil, fmt.Errorf("pgsql server %s is not understood", hidden(server))
	}
	return sqldb.ConnectPgSQL(ctx, hidden(server), c)
}
