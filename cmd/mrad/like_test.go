package main

import (
	"bufio"
	"database/sql/driver"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"packetboat/internal/sys/proc"
	"packetboat/test/oracle"
)

// likeConf is what mrad and Dovecot run with; DIR is their folder, PORT differs.
const likeConf = `base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_verbose = yes
first_valid_uid = 1
mail_location = mbox:~/mail:INBOX=~/inbox
service imap-login {
  inet_listener imap {
    port = PORT
  }
  inet_listener imaps {
    port = 0
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// likeSystem is mrad or Dovecot with a configuration of its own.
type likeSystem struct{ dir, addr string }

// startLike starts a program with likeConf and more; prepare fills its folder.
func startLike(t *testing.T, real bool, more string, prepare func(dir string)) likeSystem {
	t.Helper()
	dir, err := os.MkdirTemp("", "pbl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	os.Mkdir(dir+"/state", 0o755)
	for i, home := range []string{"a", "b", "c"} {
		os.Mkdir(filepath.Join(dir, home), 0o700)
		msg := "From a@b.c  Mon Nov 23 14:03:58 2026\nFrom: a@b.c\n\nx\n\n"
		os.WriteFile(filepath.Join(dir, home, "inbox"), []byte(strings.Repeat(msg, i+1)), 0o600)
		os.Chown(filepath.Join(dir, home), 8, 8)
		os.Chown(filepath.Join(dir, home, "inbox"), 8, 8)
	}
	prepare(dir)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := likeSystem{dir, l.Addr().String()}
	_, port, _ := net.SplitHostPort(s.addr)
	l.Close()
	conf := strings.NewReplacer("DIR", dir, "PORT", port).Replace(likeConf + more)
	os.WriteFile(dir+"/dovecot.conf", []byte(conf), 0o644)
	path, args := "/usr/sbin/dovecot", []string{"dovecot", "-F", "-c", dir + "/dovecot.conf"}
	if !real {
		path, err = os.Executable()
		args[0] = "mrad"
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := proc.Start(proc.Role{Path: path, Args: args, Env: proc.CleanEnv(), Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Signal(proc.SIGTERM); p.Wait() })
	for end := time.Now().Add(oracle.Patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp4", s.addr)
		if err == nil {
			c.Close()
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not answer:\n%s", args[0], s.log())
		}
	}
}

func (s likeSystem) log() string {
	b, _ := os.ReadFile(s.dir + "/log")
	return string(b)
}

// logs waits until a text is in the log: lines of other processes may come late.
func (s likeSystem) logs(text string) bool {
	for end := time.Now().Add(oracle.Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(s.log(), text) {
			return true
		}
	}
	return false
}

// login says what a login gives: OK and how many mails there are, or NO and its
// code. A name of the form "user/authzid" uses PLAIN with that authzid.
func (s likeSystem) login(t *testing.T, user, password string) string {
	t.Helper()
	c, err := net.Dial("tcp4", s.addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(oracle.Patience))
	k := &talk{c, bufio.NewReader(c)}
	k.do("", "* OK")
	line := fmt.Sprintf("a LOGIN %q %q", user, password)
	if name, authzid, ok := strings.Cut(user, "/"); ok {
		line = "a AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte(authzid+"\x00"+name+"\x00"+password))
	}
	got := strings.Fields(k.do(line, "a "))
	for len(got) > 0 && got[0] != "a" {
		got = got[1:]
	}
	if len(got) < 3 {
		return "gone"
	}
	if got[1] != "OK" {
		return got[1] + " " + got[2]
	}
	for line := range strings.Lines(k.do("b STATUS INBOX (MESSAGES)", "b ")) {
		if strings.HasPrefix(line, "* STATUS") {
			return "OK " + strings.TrimSpace(line)
		}
	}
	return "OK without mail"
}

// alike logs in at both systems and demands that want, and the original, answer
// the same. Without the original want alone counts.
func alike(t *testing.T, more string, prepare func(dir string), tries [][3]string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root starts a system for several users")
	}
	ours := startLike(t, false, more, prepare)
	_, err := os.Stat("/usr/sbin/dovecot")
	var theirs likeSystem
	if err == nil {
		theirs = startLike(t, true, more, prepare)
	}
	var all sync.WaitGroup // Dovecot takes seconds for a refusal
	for _, x := range tries {
		all.Go(func() {
			got := ours.login(t, x[0], x[1])
			if !strings.HasPrefix(got, x[2]) {
				t.Errorf("%s with %s: %s, want %s\n%s", x[0], x[1], got, x[2], ours.log())
			}
			if theirs.dir == "" {
				return
			}
			if real := theirs.login(t, x[0], x[1]); real != got {
				t.Errorf("%s with %s: ours %s, Dovecot %s\n%s\n%s", x[0], x[1], got, real, ours.log(), theirs.log())
			}
		})
	}
	all.Wait()
}

func file(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// makeSQLite runs statements on a new database.
func makeSQLite(t *testing.T, path string, statements ...string) {
	t.Helper()
	c, err := (&sqlite.Driver{}).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, s := range statements {
		if _, err := c.(driver.ExecerContext).ExecContext(t.Context(), s, nil); err != nil {
			t.Fatal(s, err)
		}
	}
	os.Chmod(path, 0o644)
}

const accountsSQL = "CREATE TABLE users (username VARCHAR(99), domain VARCHAR(99), password VARCHAR(99), home VARCHAR(99), uid INT, gid INT, active INT)"

// accountRows fills the table users; home folders are below dir.
func accountRows(dir string) (list []string) {
	for _, r := range [][3]string{{"ann", "'{PLAIN}sa'", "a"}, {"bob", "'{SSHA256}pgW1wHJQcUcJ0ZvxBzO5Pj/WzkHxmiOaOr3FQkSvVrFwW8qK'", "b"}, {"cyd", "'sc'", "c"},
		{"nul", "NULL", "a"}, {"emp", "''", "a"}, {"two", "'{PLAIN}s2'", "a"}, {"two", "'{PLAIN}s2'", "b"}, {"o''brien", "'{PLAIN}so'", "c"}} {
		list = append(list, fmt.Sprintf("INSERT INTO users VALUES ('%s', 'x.test', %s, '%s/%s', 8, 8, 1)", r[0], r[1], dir, r[2]))
	}
	return list
}

// accountTries are logins with what they must give.
var accountTries = [][3]string{
	{"ann@x.test", "sa", "OK * STATUS INBOX (MESSAGES 1)"}, {"ANN@x.test", "sa", "OK"}, {"ann@x.test", "sb", "NO [AUTHENTICATIONFAILED]"},
	{"ann", "sa", "NO [AUTHENTICATIONFAILED]"}, {"ann@y.test", "sa", "NO [AUTH"}, {"cyd@x.test", "sc", "OK * STATUS INBOX (MESSAGES 3)"},
	{"nul@x.test", "x", "NO [AUTH"}, {"emp@x.test", "x", "NO [AUTH"}, {"o'brien@x.test", "so", "OK * STATUS INBOX (MESSAGES 3)"},
	{"' OR '1'='1", "sa", "NO [AUTH"}, {"\\' OR 1=1 -- ", "sa", "NO [AUTH"}, {"ann' --@x.test", "sa", "NO [AUTH"},
}

const sqlBlocks = `auth_username_chars =
auth_username_format = %Lu
passdb {
  driver = sql
  args = DIR/sql.conf
}
userdb {
  driver = sql
  args = DIR/sql.conf
}
`

// TestSQLite: a passdb and a userdb in a file of SQLite, as with Dovecot.
func TestSQLite(t *testing.T) {
	t.Parallel()
	alike(t, sqlBlocks, func(dir string) {
		makeSQLite(t, dir+"/db", append([]string{accountsSQL}, accountRows(dir)...)...)
		file(t, dir+"/sql.conf", "driver = sqlite\nconnect = "+dir+"/db\ndefault_pass_scheme = PLAIN\n"+
			"password_query = SELECT username, domain, password FROM users \\\n  WHERE username = '%n' AND domain = '%d'\n"+
			"user_query = SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d' AND active = 1\n")
	}, append(accountTries, [3]string{"two@x.test", "s2", "NO"}))
}

// TestSQLPrefetch: one query gives password and account; the name may change.
func TestSQLPrefetch(t *testing.T) {
	t.Parallel()
	alike(t, `passdb {
  driver = sql
  args = DIR/sql.conf
}
userdb {
  driver = prefetch
}
userdb {
  driver = sql
  args = DIR/sql.conf
}
`, func(dir string) {
		makeSQLite(t, dir+"/db", append([]string{accountsSQL}, accountRows(dir)...)...)
		file(t, dir+"/sql.conf", "driver = sqlite\nconnect = "+dir+"/db\ndefault_pass_scheme = PLAIN\n"+
			"password_query = SELECT username AS user, password, home AS userdb_home, uid AS userdb_uid, gid AS userdb_gid FROM users WHERE username = '%Ln'\n"+
			"user_query = SELECT home, uid, gid FROM users WHERE username = '%n'\n")
	}, [][3]string{{"ann@x.test", "sa", "OK * STATUS INBOX (MESSAGES 1)"}, {"cyd", "sc", "OK * STATUS INBOX (MESSAGES 3)"}, {"cyd", "sd", "NO [AUTH"}})
}

// TestMaster: master users by separator and by authorization id, with and without
// pass = yes.
func TestMaster(t *testing.T) {
	t.Parallel()
	users := func(dir string) {
		file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a\ncyd:{PLAIN}sc:8:8::"+dir+"/c\n")
		file(t, dir+"/more", "ann:{PLAIN}xx:8:8::"+dir+"/a\ncyd:{PLAIN}xx:8:8::"+dir+"/c\nbob:{PLAIN}x:8:8::"+dir+"/b\n")
		file(t, dir+"/masters", "boss:{PLAIN}sm\n")
	}
	conf := `auth_master_user_separator = *
passdb {
  driver = passwd-file
  args = DIR/masters
  master = yes
  pass = PASS
}
passdb {
  driver = passwd-file
  args = DIR/users
}
userdb {
  driver = passwd-file
  args = DIR/more
}
`
	tries := [][3]string{{"ann*boss", "sm", "OK * STATUS INBOX (MESSAGES 1)"}, {"cyd*boss", "sm", "OK * STATUS INBOX (MESSAGES 3)"}, {"ann*boss", "sa", "NO [AUTH"},
		{"ann*cyd", "sc", "NO [AUTH"}, {"boss", "sm", "NO [AUTH"}, {"ann", "sa", "OK"}, {"boss/ann", "sm", "OK * STATUS INBOX (MESSAGES 1)"},
		{"cyd/ann", "sc", "NO [AUTH"}, {"ann/ann", "sa", "OK"}}
	t.Run("pass", func(t *testing.T) {
		t.Parallel()
		alike(t, strings.ReplaceAll(conf, "PASS", "yes"), users, append(tries, [3]string{"bob*boss", "sm", "NO [AUTH"}))
	})
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		alike(t, strings.ReplaceAll(conf, "PASS", "no"), users, append(tries, [3]string{"bob*boss", "sm", "OK * STATUS INBOX (MESSAGES 2)"}))
	})
}

// TestRules: when passdbs and userdbs are asked, and what becomes of their answers.
func TestRules(t *testing.T) {
	t.Parallel()
	conf := `auth_username_chars =
passdb {
  driver = passwd-file
  args = DIR/one
  result_success = continue-ok
  result_failure = SECOND
  username_filter = *@x.test !no@x.test
}
passdb {
  driver = passwd-file
  args = DIR/two
  skip = SKIP
  mechanisms = plain
}
userdb {
  driver = passwd-file
  args = DIR/homes1
  result_success = continue-ok
}
userdb {
  driver = passwd-file
  args = DIR/homes2
  result_failure = return
}
`
	prepare := func(dir string) {
		file(t, dir+"/one", "ann@x.test:{PLAIN}one\nno@x.test:{PLAIN}one\n")
		file(t, dir+"/two", "ann@x.test:{PLAIN}two\nno@x.test:{PLAIN}two\ncyd:{PLAIN}two\n")
		file(t, dir+"/homes1", "ann@x.test::8:8::"+dir+"/b\nno@x.test::8:8::"+dir+"/a\n")
		file(t, dir+"/homes2", "ann@x.test::8:8::"+dir+"/a\ncyd::8:8::"+dir+"/c\n")
	}
	for name, want := range map[string][]string{
		"continue never":                {"OK * STATUS INBOX (MESSAGES 1)", "OK", "NO", "NO", "OK", "OK"},
		"continue authenticated":        {"OK", "OK", "NO", "NO", "OK", "OK"},
		"continue unauthenticated":      {"OK", "NO", "NO", "NO", "NO", "NO"},
		"return-fail authenticated":     {"OK", "NO", "NO", "NO", "OK", "OK"},
		"return authenticated":          {"OK", "NO", "NO", "NO", "OK", "OK"},
		"continue-ok authenticated":     {"OK", "OK", "OK", "NO", "OK", "OK"},
		"return-ok unauthenticated":     {"OK", "OK", "OK", "NO", "NO", "NO"},
		"continue-fail unauthenticated": {"OK", "NO", "NO", "NO", "NO", "NO"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries [][3]string
			for i, x := range [][2]string{{"ann@x.test", "one"}, {"ann@x.test", "two"}, {"ann@x.test", "bad"}, {"no@x.test", "one"}, {"no@x.test", "two"}, {"cyd", "two"}} {
				tries = append(tries, [3]string{x[0], x[1], want[i]})
			}
			second, skip, _ := strings.Cut(name, " ")
			alike(t, strings.NewReplacer("SECOND", second, "SKIP", skip).Replace(conf), prepare, tries)
		})
	}
}

// TestVerbosePasswords: the log tells of wrong passwords what Dovecot's tells.
func TestVerbosePasswords(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root starts a system for several users")
	}
	conf := "auth_verbose_passwords = VALUE\npassdb {\n  driver = passwd-file\n  args = DIR/users\n}\nuserdb {\n  driver = passwd-file\n  args = DIR/users\n}\n"
	users := func(dir string) { file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a\n") }
	for value, want := range map[string]string{"no": "", "yes": " (given password: geheim)", "plain:3": " (given password: geh)",
		"sha1": " (SHA1 of given password: 906072001efddf3e11e6d2b5782f4777fe038739)", "sha1:6": " (SHA1 of given password: 906072)"} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			systems := []likeSystem{startLike(t, false, strings.ReplaceAll(conf, "VALUE", value), users)}
			if _, err := os.Stat("/usr/sbin/dovecot"); err == nil {
				systems = append(systems, startLike(t, true, strings.ReplaceAll(conf, "VALUE", value), users))
			}
			for _, s := range systems {
				s.login(t, "ann", "geheim")
				s.login(t, "zed", "geheim")
				for _, line := range []string{">): Password mismatch" + want + "\n", ">): unknown user" + want + "\n"} {
					if !s.logs(line) {
						t.Errorf("%q is not in the log\n%s", line, s.log())
					}
				}
			}
		})
	}
}

// TestLogFiles: lines without an error go to info_log_path, all others to log_path,
// with log_timestamp before them.
func TestLogFiles(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root starts a system for several users")
	}
	conf := "info_log_path = DIR/info\nlog_timestamp = \"%Y-%m-%d %H:%M:%S|%%|%e|\"\npassdb {\n  driver = passwd-file\n  args = DIR/users\n}\n" +
		"userdb {\n  driver = passwd-file\n  args = DIR/gone\n}\n"
	users := func(dir string) {
		file(t, dir+"/users", "ann:{PLAIN}sa\n")
		file(t, dir+"/gone", "ann::0:0::/\n")
	}
	systems := []likeSystem{startLike(t, false, conf, users)}
	if _, err := os.Stat("/usr/sbin/dovecot"); err == nil {
		systems = append(systems, startLike(t, true, conf, users))
	}
	for i, s := range systems {
		s.login(t, "ann", "sb")
		s.login(t, "ann", "sa")
		info := likeSystem{dir: s.dir + "/x"}
		os.Mkdir(info.dir, 0o755)
		os.Symlink("../info", info.dir+"/log")
		if !info.logs("Password mismatch") || !s.logs("Error: ") || strings.Contains(s.log(), "mismatch") || strings.Contains(info.log(), "Error: ") {
			t.Errorf("%d: log:\n%s\ninfo:\n%s", i, s.log(), info.log())
		}
		stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\|%\|[ \d]\d\|`)
		for _, text := range []string{s.log(), info.log()} {
			if !stamp.MatchString(text) {
				t.Errorf("%d: %s", i, text)
			}
		}
	}
}

// TestBalancer: a load balancer tells a client's address with the PROXY protocol,
// version 1 or 2; nobody else may.
func TestBalancer(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root starts a system for several users")
	}
	conf := "haproxy_trusted_networks = NETS\nservice imap-login {\n  inet_listener imap {\n    haproxy = yes\n  }\n}\npassdb {\n  driver = passwd-file\n  args = DIR/users\n}\nuserdb {\n  driver = passwd-file\n  args = DIR/users\n}\n"
	users := func(dir string) { file(t, dir+"/users", "ann:{PLAIN}sa:8:8::"+dir+"/a::allow_nets=192.0.2.7\n") }
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x10\x01\x00\x8f"
	for _, nets := range []string{"10.0.0.0/8 127.0.0.0/8", "10.0.0.0/8", ""} {
		t.Run(nets, func(t *testing.T) {
			t.Parallel()
			systems := []likeSystem{startLike(t, false, strings.ReplaceAll(conf, "NETS", nets), users)}
			if _, err := os.Stat("/usr/sbin/dovecot"); err == nil {
				systems = append(systems, startLike(t, true, strings.ReplaceAll(conf, "NETS", nets), users))
			}
			for i, s := range systems {
				for header, want := range map[string]string{"PROXY TCP4 192.0.2.7 192.0.2.1 4097 143\r\n": "a OK", v2: "a OK", "PROXY TCP4 192.0.2.8 192.0.2.1 4097 143\r\n": "a NO"} {
					if !strings.Contains(nets, "127") {
						want = ""
					}
					c, err := net.Dial("tcp4", s.addr)
					if err != nil {
						t.Fatal(err)
					}
					c.SetDeadline(time.Now().Add(oracle.Patience))
					fmt.Fprint(c, header)
					k := &talk{c, bufio.NewReader(c)}
					k.do("", "* ")
					got := k.do("a LOGIN ann sa", "a ")
					c.Close()
					if want == "" && got != "" || !strings.HasPrefix(got[max(strings.LastIndex(got, "a OK"), strings.LastIndex(got, "a NO"), 0):], want) {
						t.Errorf("%d %q: %q, want %q\n%s", i, header, got, want, s.log())
					}
				}
				if nets != "" && strings.Contains(nets, "127") && !s.logs("rip=192.0.2.7") {
					t.Errorf("%d: the client's address is not in the log\n%s", i, s.log())
				}
			}
		})
	}
}

// TestSQLDown: a database that does not answer is a temporary failure, never a wrong
// password; when it is there again so are its users.
func TestSQLDown(t *testing.T) {
	t.Parallel()
	settings := func(dir string) {
		file(t, dir+"/sql.conf", "driver = sqlite\nconnect = "+dir+"/db\ndefault_pass_scheme = PLAIN\n"+
			"password_query = SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'\n"+
			"user_query = SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'\n")
	}
	alike(t, sqlBlocks, func(dir string) {
		settings(dir)
		makeSQLite(t, dir+"/db", "CREATE TABLE other (x INT)")
	}, [][3]string{{"ann@x.test", "sa", "NO [UNAVAILABLE]"}})
	if os.Geteuid() != 0 {
		return
	}
	s := startLike(t, false, sqlBlocks, settings)
	if got := s.login(t, "ann@x.test", "sa"); !strings.HasPrefix(got, "NO [UNAVAILABLE]") {
		t.Error(got)
	}
	makeSQLite(t, s.dir+"/db", append([]string{accountsSQL}, accountRows(s.dir)...)...)
	for end := time.Now().Add(oracle.Patience); !strings.HasPrefix(s.login(t, "ann@x.test", "sa"), "OK"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the database is there again, and its users are not\n", s.log())
		}
	}
	if log := s.log(); strings.Contains(log, "SELECT") {
		t.Error("a query is in the log\n", log)
	}
}
