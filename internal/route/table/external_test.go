package table

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func double(s string) string { return strings.ReplaceAll(s, "'", "''") }

func doubleBoth(s string) string { return strings.ReplaceAll(double(s), `\`, `\\`) }

func TestSQLite(t *testing.T) {
	t.Parallel()
	bin := find(t, "/usr/bin/sqlite3")
	db := filepath.Join(scratch(t, ""), "d?b #1.sqlite")
	run(t, "", rowsSQL(double), bin, db)
	compare(t, "sqlite", "dbpath = "+db+"\n", sqlSettings, trickyKeys)
	dir := t.TempDir()
	for name, c := range map[string][2]string{
		"no db":    {"dbpath = " + dir + "/none\nquery = SELECT 1\n", "can't open database"},
		"no path":  {"query = SELECT 1\n", "dbpath"},
		"not db":   {"dbpath = " + os.Args[0] + "\nquery = SELECT 1\n", "can't open database"},
		"template": {"dbpath = " + db + "\nquery = SELECT %x\n", "must be followed"},
		"legacy":   {"dbpath = " + db + "\ntable = x\n", "select_field"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "")+".cf")
		os.WriteFile(path, []byte(c[0]), 0o644)
		if _, err := Open("sqlite:"+path, Options{}); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := filepath.Join(dir, "bad.cf")
	os.WriteFile(path, []byte("dbpath = "+db+"\nquery = SELECT secretword FROM nosuch WHERE k='%s'\n"), 0o644)
	tab, err := Open("sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := tab.Lookup(context.Background(), "x"); found || err == nil || strings.Contains(err.Error(), "secretword") {
		t.Errorf("a query that fails: %v %v", found, err)
	}
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	bin := find(t, "/usr/sbin/mariadbd", "/usr/sbin/mysqld")
	install := find(t, "/usr/bin/mariadb-install-db")
	dir := scratch(t, "mysql")
	sock, data := filepath.Join(dir, "s"), filepath.Join(dir, "data")
	run(t, "mysql", "", install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	start := func() {
		port := freePort(t)
		server(t, "mysql", answersUnix(sock), bin, "--no-defaults", "--datadir="+data, "--socket="+sock, "--port="+port, "--bind-address=127.0.0.1",
			"--pid-file="+dir+"/pid", "--innodb-buffer-pool-size=8M", "--character-set-server=utf8mb4", "--lc-messages-dir=/usr/share/mysql")
	}
	start()
	client := find(t, "/usr/bin/mariadb", "/usr/bin/mysql")
	run(t, "", "CREATE DATABASE m; CREATE USER u@localhost IDENTIFIED BY 'p w'; GRANT ALL ON m.* TO u@localhost; USE m;\n"+rowsSQL(doubleBoth)+
		"DELIMITER //\nCREATE PROCEDURE look(IN p VARCHAR(200)) READS SQL DATA BEGIN SELECT v FROM a WHERE k = p; END//\n"+
		"CREATE PROCEDURE none(IN p VARCHAR(200)) BEGIN SET @x = p; END//\n", client, "--no-defaults", "--default-character-set=utf8mb4", "-uroot", "-S", sock)
	common := "hosts = unix:" + sock + "\nuser = u\npassword = p w\ndbname = m\noption_group =\n"
	compare(t, "mysql", common, append([]string{}, append(sqlSettings, "query = CALL look('%s')", "query = SELECT k, v FROM a WHERE k = '%s'",
		"query = CALL none('%s')\nrequire_result_set = no", "query = CALL none('%s')", "query = SELECT 1+1, 2.50, NOW() < 0, 'x%s'")...), trickyKeys)

	// The other way of quoting: nothing a stranger sends may end the text.
	run(t, "", "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'", client, "--no-defaults", "-uroot", "-S", sock)
	path := write(t, "m.cf", common+"query = SELECT v FROM a WHERE k = '%s'\n")
	tab, err := Open("mysql:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{`x\' OR 1=1 -- `, "!"}, {"o'brien@example.org", "irish@x.example"}, {`back\slash@example.org`, "slash"}, {`x' OR '1'='1`, "!"}} {
		if got := ourAnswer(t, tab, c[0]); got != c[1] {
			t.Errorf("NO_BACKSLASH_ESCAPES: %q: %q, want %q", c[0], got, c[1])
		}
	}
	// An option file's group, the password in it.
	cnf := write(t, "my.cnf", "[other]\nuser=x\n[client]\nsocket = "+sock+"\nuser=u # mine\n[pb]\npassword='p w'\ndatabase=m\n")
	got := ask(t, "mysql:"+write(t, "o.cf", "hosts = localhost\noption_file = "+cnf+"\noption_group = pb\nquery = SELECT v FROM a WHERE k='%s'\n"), Options{}, "bob@example.org")
	if got != "bob@example.org=bob@inner.example" {
		t.Error(got)
	}
	// A wrong password is an error without the password in it; the next host answers.
	got = ask(t, "mysql:"+write(t, "w.cf", strings.Replace(common, "p w", "wrongword", 1)+"query = SELECT 1\n"), Options{}, "a")
	if !strings.HasPrefix(got, "a?") || strings.Contains(got, "wrongword") {
		t.Error(got)
	}
	got = ask(t, "mysql:"+write(t, "h.cf", "hosts = unix:/nonexistent/s unix:"+sock+" 127.0.0.1:1\nuser=u\npassword=p w\ndbname=m\nquery = SELECT v FROM a WHERE k='%s'\n"), Options{},
		"alice", "alice", "alice")
	if got != "alice=short alice=short alice=short" {
		t.Error(got)
	}
}

func TestPgSQL(t *testing.T) {
	t.Parallel()
	bin := find(t, "/usr/lib/postgresql/*/bin/postgres")
	tools := filepath.Dir(bin)
	as := "postgres"
	dir := scratch(t, as)
	data := filepath.Join(dir, "data")
	run(t, as, "", filepath.Join(tools, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	port := freePort(t)
	server(t, as, answersUnix(dir+"/.s.PGSQL."+port), bin, "-D", data, "-k", dir, "-p", port, "-h", "127.0.0.1", "-F")
	psql := filepath.Join(tools, "psql")
	// PostgreSQL listens before it is ready.
	for range 50 {
		if err := answersPg(tools, dir, port); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	run(t, as, "CREATE ROLE u LOGIN PASSWORD 'p''w';\nCREATE DATABASE m;\n\\c m\n"+rowsSQL(double)+"GRANT ALL ON a TO u;\n"+
		"CREATE FUNCTION look(p text) RETURNS SETOF text AS 'SELECT v::text FROM a WHERE k = p' LANGUAGE sql;\n", psql, "-q", "-v", "ON_ERROR_STOP=1", "-h", dir, "-p", port, "-U", "postgres")
	common := "hosts = 127.0.0.1:" + port + "\nuser = u\npassword = p'w\ndbname = m\n"
	var ascii []string
	for _, k := range trickyKeys {
		if !strings.Contains(k, "\xc3") { // Postfix 3.7 asks in LATIN1
			ascii = append(ascii, k)
		}
	}
	compare(t, "pgsql", common, append([]string{}, append(sqlSettings, "select_function = look", "query = SELECT k, v FROM a WHERE k = '%s'",
		"query = SELECT * FROM nosuch", "query = SELECT 1+1, 2.50, true, 'x%s'")...), ascii)
	for _, h := range []string{"unix:" + dir + "/.s.PGSQL." + port, "inet:127.0.0.1:" + port, "postgresql://u:p%27w@127.0.0.1:" + port + "/m", "127.0.0.1:1 127.0.0.1:" + port} {
		got := ask(t, "pgsql:"+write(t, "h.cf", "hosts = "+h+"\nuser=u\npassword=p'w\ndbname=m\nquery = SELECT v FROM a WHERE k='%s'\n"), Options{}, "gr\xc3\xbcn@example.org", `back\slash@example.org`)
		if got != "gr\xc3\xbcn@example.org=green@x.example "+`back\slash@example.org=slash` {
			t.Errorf("%s: %s", h, got)
		}
	}
	run(t, as, "ALTER DATABASE m SET standard_conforming_strings = off;", psql, "-q", "-h", dir, "-p", port, "-U", "postgres")
	got := ask(t, "pgsql:"+write(t, "b.cf", common+"query = SELECT v FROM a WHERE k='%s'\n"), Options{}, `x\' OR 1=1 -- `, `back\slash@example.org`)
	if got != `x\' OR 1=1 -- ! back\slash@example.org=slash` {
		t.Error(got)
	}
}

// answersPg tells whether PostgreSQL takes connections.
func answersPg(tools, dir, port string) error {
	c, err := net.Dial("unix", dir+"/.s.PGSQL."+port)
	if err != nil {
		return err
	}
	defer c.Close()
	return runQuiet(filepath.Join(tools, "pg_isready"), "-q", "-h", dir, "-p", port)
}
