package sqltable

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"packetboat/internal/route/table/pool"
	"packetboat/internal/route/table/query"
)

// mysqlSocket is where Debian's servers listen, which "localhost" means.
const mysqlSocket = "/run/mysqld/mysqld.sock"

// mysqlSetup is what is needed to connect.
type mysqlSetup struct {
	env     query.Env
	options clientOptions
	tls     query.TLS
	secure  bool // TLS is configured
	need    bool // require_result_set
}

// MySQL opens a mysql_table(5); no connection is made yet.
func MySQL(env query.Env) (*Table, error) {
	p := env.Params
	t := open(env, false)
	m := &mysqlSetup{env: env, need: p.Bool("require_result_set", true)}
	m.options = m.readOptions()
	m.tls = query.TLS{CAFile: p.Str("tls_CAfile", m.options["ssl-ca"]), CADir: p.Str("tls_CApath", m.options["ssl-capath"]),
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
		return "unix", firstOf(m.options["socket"], mysqlSocket), ""
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

// connect makes a connection and finds out how this server wants quotes escaped.
func (m *mysqlSetup) connect(ctx context.Context, server string) (conn, error) {
	p := m.env.Params
	c := mysql.NewConfig()
	var name string
	c.Net, c.Addr, name = m.address(server)
	c.User, c.Passwd = p.Str("user", m.options["user"]), p.Str("password", m.options["password"])
	c.DBName = p.Str("dbname", m.options["database"])
	c.Timeout, c.ReadTimeout, c.WriteTimeout = connectTime, lookupTime, lookupTime
	c.Logger = log.New(io.Discard, "", 0)
	if m.secure {
		var err error
		if c.TLS, err = m.tls.Config(m.env, name); err != nil {
			return nil, err
		}
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, errors.New("the connection's settings are not understood") // the text holds the password
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	dc, err := connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to mysql server %s: %w", server, err)
	}
	mc := &mysqlConn{Conn: dc, need: true}
	err = mc.query(ctx, "SELECT @@SESSION.sql_mode", func(v string) error {
		mc.noBackslash = strings.Contains(v, "NO_BACKSLASH_ESCAPES")
		return nil
	})
	if err != nil {
		dc.Close()
		return nil, fmt.Errorf("mysql server %s: %w", server, err)
	}
	mc.need = m.need
	return mc, nil
}

// mysqlConn is a connection to MySQL or MariaDB.
type mysqlConn struct {
	driver.Conn
	noBackslash bool // sql_mode NO_BACKSLASH_ESCAPES
	need        bool
}

// escape is mysql_real_escape_string(): in the mode NO_BACKSLASH_ESCAPES a
// backslash means nothing and quotes are doubled (both kinds: the template may
// stand its values between either).
func (c *mysqlConn) escape(dst []byte, s string) []byte {
	const special, letters = "\x00\n\r\\'\"\x1a", "0nr\\'\"Z"
	for i := 0; i < len(s); i++ {
		n := strings.IndexByte(special, s[i])
		switch {
		case n < 0:
			dst = append(dst, s[i])
		case !c.noBackslash:
			dst = append(dst, '\\', letters[n])
		case s[i] == '\'' || s[i] == '"':
			dst = append(dst, s[i], s[i])
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}

func (c *mysqlConn) query(ctx context.Context, sql string, value func(string) error) error {
	rows, err := ask(ctx, c.Conn, sql)
	if err == nil {
		err = rowsOf(rows, false, c.need, value)
		if e := rows.Close(); err == nil {
			err = e
		}
	}
	var told *mysql.MySQLError
	if errors.As(err, &told) {
		// The server's text quotes a part of the query: its number must do.
		return &pool.Answered{Err: fmt.Errorf("mysql query failed: error %d (%s)", told.Number, told.SQLState)}
	}
	return err
}
