package sqlauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"packetboat/internal/sys/dbtls"
	"packetboat/internal/sys/pool"
	"packetboat/internal/sys/sqldb"
)

// words cuts a connect string into name=value pairs. With quotes, values may stand
// in single quotes, with backslashes, as libpq has it; Dovecot's driver mysql knows
// none, and a quote is part of a password there.
func words(connect string, quotes bool) (list [][2]string, err error) {
	for rest := strings.TrimLeft(connect, " \t"); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || strings.ContainsAny(strings.TrimSpace(name), " \t'") {
			return nil, errors.New("connect: a word without \"=\"")
		}
		var value strings.Builder
		quoted, i := quotes && strings.HasPrefix(after, "'"), 0
		if quoted {
			i = 1
		}
		for ; i < len(after) && (quoted && after[i] != '\'' || !quoted && after[i] != ' ' && after[i] != '\t'); i++ {
			if quoted && after[i] == '\\' && i+1 < len(after) {
				i++
			}
			value.WriteByte(after[i])
		}
		if quoted && i == len(after) {
			return nil, errors.New("connect: a quote is not closed")
		}
		list = append(list, [2]string{strings.TrimSpace(name), value.String()})
		if rest = after[i:]; quoted {
			rest = rest[1:]
		}
	}
	return list, nil
}

// mysqlWords are the words of a connect string for mysql. client_flags is read
// and left: it names what the C library could do.
const mysqlWords = " host port user password dbname client_flags ssl_cert ssl_key ssl_ca ssl_ca_path ssl_cipher ssl_verify_server_cert" +
	" maxconns connect_timeout read_timeout write_timeout option_file option_group "

// mysql reads the connect string of driver mysql.
func (d *DB) mysql(connect string) error {
	list, err := words(connect, false)
	if err != nil {
		return err
	}
	var hosts []string
	o := map[string]string{}
	for _, w := range list {
		switch {
		case w[0] == "host" || w[0] == "hostaddr":
			hosts = append(hosts, w[1])
		case !strings.Contains(mysqlWords, " "+w[0]+" "):
			return fmt.Errorf("connect: unknown word %s", w[0])
		case strings.HasPrefix(w[0], "option_"), w[0] == "ssl_cipher":
			return fmt.Errorf("connect: %s is not supported", w[0])
		default:
			o[w[0]] = w[1]
		}
	}
	if len(hosts) == 0 {
		return errors.New("connect: no host")
	}
	t := dbtls.TLS{CAFile: o["ssl_ca"], CADir: o["ssl_ca_path"], Cert: o["ssl_cert"], Key: o["ssl_key"]}
	t.Verify = t.CAFile != "" || t.CADir != ""
	t.Names = t.Verify && o["ssl_verify_server_cert"] != "no"
	maxconns, _ := strconv.Atoi(o["maxconns"])
	d.pool = pool.New(hosts, options(maxconns), func(ctx context.Context, host string) (sqldb.Conn, error) {
		return connectMySQL(ctx, host, o, t)
	})
	return nil
}

func connectMySQL(ctx context.Context, host string, o map[string]string, t dbtls.TLS) (sqldb.Conn, error) {
	c := sqldb.MySQL{User: o["user"], Password: o["password"], Database: o["dbname"],
		Connect: seconds(o["connect_timeout"]), Wait: seconds(o["read_timeout"])}
	// A path is a socket; localhost is the one of this machine, as in
	// libmysqlclient.
	switch {
	case strings.HasPrefix(host, "/"):
		c.Network, c.Addr = "unix", host
	case host == "localhost":
		c.Network, c.Addr = "unix", sqldb.MySQLSocket
	default:
		c.Network, c.Addr = "tcp", net.JoinHostPort(host, cmp.Or(o["port"], "3306"))
	}
	if t.Verify || t.Cert != "" {
		var err error
		if c.TLS, err = t.Config(os.ReadFile, host); err != nil {
			return nil, err
		}
	}
	return sqldb.ConnectMySQL(ctx, host, c)
}

// seconds reads a time of a connect string; 0 = the default.
func seconds(s string) time.Duration {
	n, _ := strconv.Atoi(s)
	return time.Duration(max(n, 0)) * time.Second
}

// pgsql reads the connect string of driver pgsql: libpq's, but for maxconns, and
// host may stand there several times.
func (d *DB) pgsql(connect string) error {
	list, err := words(connect, true)
	if err != nil {
		return err
	}
	var hosts, rest []string
	maxconns := 0
	for _, w := range list {
		switch w[0] {
		case "host", "hostaddr":
			hosts = append(hosts, w[1])
		case "maxconns":
			maxconns, _ = strconv.Atoi(w[1])
		default:
			rest = append(rest, w[0]+"="+quotePg(w[1]))
		}
	}
	if len(hosts) == 0 {
		hosts = []string{"/run/postgresql"}
	}
	text := strings.Join(rest, " ")
	for _, h := range hosts {
		if _, err := pgconn.ParseConfig(text + " host=" + quotePg(h)); err != nil {
			return errors.New("connect: not understood") // the text holds the password
		}
	}
	d.pool = pool.New(hosts, options(maxconns), func(ctx context.Context, host string) (sqldb.Conn, error) {
		c, err := pgconn.ParseConfig(text + " host=" + quotePg(host))
		if err != nil {
			return nil, errors.New("connect: not understood")
		}
		c.RuntimeParams["client_encoding"] = "UTF8"
		return sqldb.ConnectPgSQL(ctx, host, c)
	})
	return nil
}

func quotePg(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
