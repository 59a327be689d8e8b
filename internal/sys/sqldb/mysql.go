package sqldb

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"packetboat/internal/sys/pool"
)

// MySQLSocket is where Debian's servers listen, which "localhost" means to
// libmysqlclient.
const MySQLSocket = "/run/mysqld/mysqld.sock"

// MySQL is how a server of MySQL or MariaDB is reached.
type MySQL struct {
	Network, Addr            string // tcp or unix, as net.Dial
	User, Password, Database string
	TLS                      *tls.Config   // nil = not encrypted
	Connect, Wait            time.Duration // for a connection, and for an answer; 0 = the package's limits
}

// ConnectMySQL makes a connection and finds out how this server wants quotes
// escaped. name is the server's, for errors.
func ConnectMySQL(ctx context.Context, name string, m MySQL) (Conn, error) {
	if m.Connect == 0 {
		m.Connect = ConnectTime
	}
	if m.Wait == 0 {
		m.Wait = AnswerTime
	}
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName, c.TLS = m.Network, m.Addr, m.User, m.Password, m.Database, m.TLS
	c.Timeout, c.ReadTimeout, c.WriteTimeout = m.Connect, m.Wait, m.Wait
	c.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, errors.New("the connection's settings are not understood") // the text holds the password
	}
	ctx, cancel := context.WithTimeout(ctx, m.Connect)
	defer cancel()
	dc, err := connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to mysql server %s: %w", name, err)
	}
	mc := &mysqlConn{Conn: dc}
	err = mc.Query(ctx, "SELECT @@SESSION.sql_mode", func(r Row) error {
		mc.noBackslash = strings.Contains(r.Values[0].Text, "NO_BACKSLASH_ESCAPES")
		return nil
	})
	if err != nil {
		dc.Close()
		return nil, fmt.Errorf("mysql server %s: %w", name, err)
	}
	return mc, nil
}

// mysqlConn is a connection to MySQL or MariaDB.
type mysqlConn struct {
	driver.Conn
	noBackslash bool // sql_mode NO_BACKSLASH_ESCAPES
}

// escape is mysql_real_escape_string(): in the mode NO_BACKSLASH_ESCAPES a
// backslash means nothing and quotes are doubled (both kinds: the template may
// stand its values between either).
func (c *mysqlConn) Escape(dst []byte, s string) []byte {
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

// Query implements Conn.
func (c *mysqlConn) Query(ctx context.Context, sql string, each func(Row) error) error {
	rows, err := ask(ctx, c.Conn, sql)
	if err == nil {
		err = rowsOf(rows, each)
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
