package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// database is a server of the test's own: its folder and account.
type database struct {
	dir  string
	cred *syscall.Credential
}

// newDatabase makes a folder for a server that runs as account name; all programs
// must be there.
func newDatabase(t *testing.T, name string, programs ...string) (database, []string) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("starts a server as another account")
	}
	var found []string
	for _, p := range programs {
		list, _ := filepath.Glob(p)
		if len(list) == 0 {
			t.Skipf("%s is not installed", p)
		}
		found = append(found, list[len(list)-1])
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("no account %s here", name)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	dir, err := os.MkdirTemp("", "pbd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	os.Chown(dir, uid, gid)
	return database{dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, found
}

// run runs a program to its end.
func (d database) run(t *testing.T, stdin, path string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin, cmd.Dir, cmd.SysProcAttr = strings.NewReader(stdin), "/", &syscall.SysProcAttr{Credential: d.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", path, err, out)
	}
}

// start runs a server until the test ends, and waits until ready succeeds.
func (d database) start(t *testing.T, ready func() error, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: d.cred}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	for end := time.Now().Add(oracle.Patience); ready() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			cmd.Process.Signal(syscall.SIGKILL)
			t.Skipf("%s does not answer: %s", path, out.String())
		}
	}
}

func dialable(network, addr string) func() error {
	return func() error {
		c, err := net.Dial(network, addr)
		if err == nil {
			c.Close()
		}
		return err
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// serverAccounts fills a database with the accounts, whose homes are below the
// folder of the system under test: the look-up makes them of its own settings.
func serverAccounts() string {
	return accountsSQL + ";\n" + strings.Join(accountRows("HOME"), ";\n") + ";\n"
}

// sqlFile is a settings file for the accounts of serverAccounts.
func sqlFile(dir, head string, concat string) string {
	return head + "default_pass_scheme = PLAIN\npassword_query = SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'\n" +
		"user_query = SELECT " + fmt.Sprintf(concat, "'"+dir+"'", "SUBSTR(home, 5)") + " AS home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'\n"
}

// TestMariaDB: accounts in MariaDB; the first host is down.
func TestMariaDB(t *testing.T) {
	t.Parallel()
	d, bin := newDatabase(t, "mysql", "/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db", "/usr/bin/mariadb")
	sock := d.dir + "/s"
	d.run(t, "", bin[1], "--no-defaults", "--datadir="+d.dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
	d.start(t, dialable("unix", sock), bin[0], "--no-defaults", "--datadir="+d.dir+"/data", "--socket="+sock, "--skip-networking",
		"--pid-file="+d.dir+"/pid", "--innodb-buffer-pool-size=8M", "--lc-messages-dir=/usr/share/mysql")
	d.run(t, "CREATE DATABASE m; CREATE USER u@localhost IDENTIFIED BY 'p-w'; GRANT ALL ON m.* TO u@localhost; USE m;\n"+serverAccounts(),
		bin[2], "--no-defaults", "-uroot", "-S", sock)
	alike(t, sqlBlocks, func(dir string) {
		file(t, dir+"/sql.conf", sqlFile(dir, "driver = mysql\nconnect = host=/nonexistent/s host="+sock+" dbname=m user=u password=p-w\n", "CONCAT(%s, %s)"))
	}, accountTries)
}

// TestPostgreSQL: accounts in PostgreSQL.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	d, bin := newDatabase(t, "postgres", "/usr/lib/postgresql/*/bin/postgres", "/usr/lib/postgresql/*/bin/initdb", "/usr/lib/postgresql/*/bin/psql")
	port := freePort(t)
	d.run(t, "", bin[1], "-D", d.dir+"/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	d.start(t, func() error {
		return exec.Command(bin[2], "-h", d.dir, "-p", port, "-U", "postgres", "-c", "SELECT 1").Run()
	},
		bin[0], "-D", d.dir+"/data", "-k", d.dir, "-p", port, "-h", "127.0.0.1", "-F")
	d.run(t, "CREATE ROLE u LOGIN PASSWORD 'p-w';\nCREATE DATABASE m;\n\\c m\n"+serverAccounts()+"GRANT ALL ON users TO u;\n",
		bin[2], "-q", "-v", "ON_ERROR_STOP=1", "-h", d.dir, "-p", port, "-U", "postgres")
	alike(t, sqlBlocks, func(dir string) {
		file(t, dir+"/sql.conf", sqlFile(dir, "driver = pgsql\nconnect = host=127.0.0.1 port="+port+" dbname=m user=u password=p-w\n", "%s || %s"))
	}, accountTries)
}

const peopleLDIF = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=admin,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: admin
userPassword: secret

dn: uid=ann,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: posixAccount
uid: ann
cn: Ann
sn: A
uidNumber: 8
gidNumber: 8
homeDirectory: /a
userPassword: sa

dn: uid=cyd,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: posixAccount
uid: cyd
cn: Cyd
sn: C
uidNumber: 8
gidNumber: 8
homeDirectory: /c
userPassword: sc
`

// TestLDAP: accounts in a directory: passwords compared here, and by the directory
// with and without a search for the name.
func TestLDAP(t *testing.T) {
	t.Parallel()
	d, bin := newDatabase(t, "openldap", "/usr/sbin/slapd", "/usr/sbin/slapadd", "/etc/ldap/schema/core.schema")
	port := freePort(t)
	os.Mkdir(d.dir+"/data", 0o700)
	os.Chown(d.dir+"/data", int(d.cred.Uid), int(d.cred.Gid))
	conf := "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
	for _, s := range []string{"core", "cosine", "inetorgperson", "nis"} {
		conf += "include /etc/ldap/schema/" + s + ".schema\n"
	}
	file(t, d.dir+"/conf", conf+"pidfile "+d.dir+"/pid\ndatabase mdb\nmaxsize 10485760\nsuffix dc=example,dc=org\ndirectory "+d.dir+"/data\n"+
		"access to attrs=userPassword by dn.exact=\"cn=admin,dc=example,dc=org\" read by anonymous auth\n"+
		"access to * by dn.exact=\"cn=admin,dc=example,dc=org\" read by anonymous auth\n")
	file(t, d.dir+"/ldif", peopleLDIF)
	d.run(t, "", bin[1], "-f", d.dir+"/conf", "-l", d.dir+"/ldif")
	d.start(t, dialable("tcp", "127.0.0.1:"+port), bin[0], "-f", d.dir+"/conf", "-d", "0", "-h", "ldap://127.0.0.1:"+port)
	tries := [][3]string{{"ann", "sa", "OK * STATUS INBOX (MESSAGES 1)"}, {"cyd", "sc", "OK * STATUS INBOX (MESSAGES 3)"}, {"ann", "sb", "NO [AUTH"}, {"zed", "sa", "NO [AUTH"},
		{"*", "sa", "NO [AUTH"}, {"a*", "sa", "NO [AUTH"}, {"ann)(uid=*", "sa", "NO [AUTH"}, {"ann,dc=x", "sa", "NO [AUTH"}}
	for name, how := range map[string]string{
		"compare": "default_pass_scheme = PLAIN\npass_attrs = uid=user, userPassword=password\npass_filter = (&(objectClass=posixAccount)(uid=%u))\n",
		"search":  "auth_bind = yes\npass_attrs = uid=user\npass_filter = (uid=%u)\n",
		"userdn":  "auth_bind = yes\nauth_bind_userdn = uid=%u,dc=example,dc=org\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alike(t, strings.NewReplacer("driver = sql", "driver = ldap", "sql.conf", "ldap.conf").Replace(sqlBlocks), func(dir string) {
				file(t, dir+"/ldap.conf", "uris = ldap://127.0.0.1:"+port+"\ndn = cn=admin,dc=example,dc=org\ndnpass = secret\nbase = dc=example,dc=org\n"+how+
					"user_attrs = =home="+dir+"%{ldap:homeDirectory}, uidNumber=uid, gidNumber=gid\nuser_filter = (&(objectClass=posixAccount)(uid=%u))\n")
			}, tries)
		})
	}
}
