package sqltable

import (
	"context"

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/pool"
	"packetboat/internal/sys/sqldb"
)

// SQLite opens a sqlite_table(5). The database is opened to see that it is one,
// and only ever for reading.
func SQLite(env query.Env) (*Table, error) {
	t := open(env, false)
	t.first, t.bare = true, true // as sqlite_table(5)
	path := env.Params.Need("dbpath")
	if err := env.Params.Err(); err != nil {
		return nil, err
	}
	// A file of this machine that failed may be right again at once.
	o := poolOptions(env)
	o.Retry = 1
	connect := sqldb.ConnectSQLiteBy(env.Open)
	t.pool = pool.New([]string{path}, o, connect)
	c, err := connect(context.Background(), path)
	if err != nil {
		return nil, err
	}
	return t, c.Close()
}
