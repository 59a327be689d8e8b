package sqltable

import (
	"context"
	"net"
	"strings"

	"packetboat/internal/route/table/query"
	"packetboat/internal/sys/dbtls"
	"packetboat/internal/sys/pool"
	"packetboat/internal/sys/sqldb"
)

// mysqlSetup is what is needed to connect.
type mysqlSetup struct {
	env     query.Env
	options clientOptions
	tls     dbtls.TLS
	secure  bool // TLS is configured
}

// MySQL opens a mysql_table(5); no connection is made yet.
func MySQL(env query.Env) (*Table, error) {
	p := env.Params
	t := open(env, false)
	m := &mysqlSetup{env: env}
	t.bare = !p.Bool("require_result_set", true)
	m.options = m.readOptions()
	m.tls = dbtls.TLS{CAFile: p.Str("tls_CAfile", m.options["ssl-ca"]), CADir: p.Str("tls_CApath", m.options["ssl-capath"]),
		Cert: p.Str("tls_cert_file", m.options["ssl-cert"]), Key: p.Str("tls_key_file", m.options["ssl-key"]),
		Names: p.Bool("tls_verify_cert", false)}
	m.tls.Verify = m.tls.Names || m.tls.CAFile != "" || m.tls.CADir != ""
	m.secure = m.tls.Verify || m.tls.Cert != ""
	hosts := p.List("hosts", "")
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	t.pool = pool.New(hosts, poolOptions(env), m.connect)
	return t, p.Err()
}

// address tells how a server of "hosts" is reached: unix:/path, or
// [inet:]host[:port], where localhost means the local socket as in libmysqlclient.
func (m *mysqlSetup) address(server string) (network, addr, name string) {
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		return "unix", path, ""
	}
	name, port := cutPort(strings.TrimPrefix(server, "inet:"))
	if name == "localhost" || name == "" {
		return "unix", firstOf(m.options["socket"], sqldb.MySQLSocket), ""
	}
	return "tcp", net.JoinHostPort(name, firstOf(port, firstOf(m.options["port"], "3306"))), name
}

// cutPort divides host:port, [v6]:port and hosts without a port.
func cutPort(s string) (host, port string) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return strings.Trim(s, "[]"), ""
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// connect makes a connection.
func (m *mysqlSetup) connect(ctx context.Context, server string) (sqldb.Conn, error) {
	p := m.env.Params
	network, addr, name := m.address(server)
	c := sqldb.MySQL{Network: network, Addr: addr, User: p.Str("user", m.options["user"]),
		Password: p.Str("password", m.options["password"]), Database: p.Str("dbname", m.options["database"])}
	if m.secure {
		var err error
		if c.TLS, err = m.tls.Config(m.env.File, name); err != nil {
			return nil, err
		}
	}
	return sqldb.ConnectMySQL(ctx, server, c)
}
