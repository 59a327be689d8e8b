package table

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"packetboat/test/oracle"
)

// server starts a program that runs until the end of the test and waits until
// ready says so. as is the account it runs as when the test is root.
func server(t *testing.T, as string, ready func() error, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential(t, as)}
	if err := cmd.Start(); err != nil {
		t.Skipf("%s does not start here: %v", path, err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		syscall.Kill(cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	for end := time.Now().Add(oracle.Patience); ; time.Sleep(20 * time.Millisecond) {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-ended:
			t.Skipf("%s ended: %s", path, out.String())
		default:
		}
		if time.Now().After(end) {
			t.Skipf("%s does not answer: %v", path, err)
		}
	}
}

// credential is the account that a server runs as; nil for our own.
func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 || name == "" {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("no account %s here", name)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// find returns the path of a server's program, or skips.
func find(t *testing.T, names ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a database server")
	}
	for _, n := range names {
		if list, _ := filepath.Glob(n); len(list) > 0 {
			return list[len(list)-1]
		}
	}
	t.Skipf("%s is not installed", filepath.Base(names[0]))
	return ""
}

// run runs a program to its end.
func run(t *testing.T, as, stdin, path string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), oracle.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Dir = strings.NewReader(stdin), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(t, as)}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", path, err, out)
	}
}

// scratch is a short folder that the account owns: socket paths are short.
func scratch(t *testing.T, as string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pbt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	if c := credential(t, as); c != nil {
		os.Chown(dir, int(c.Uid), int(c.Gid))
	}
	return dir
}

// answersUnix tells whether somebody listens on a socket.
func answersUnix(path string) func() error {
	return func() error {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err
	}
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// hasPostmap tells whether Postfix's own postmap is here and knows the type.
func hasPostmap(kind string) bool {
	real, err := filepath.EvalSymlinks(postmapBin)
	if err != nil || filepath.Base(real) != "postmap" {
		return false
	}
	kinds, err := exec.Command("/usr/sbin/postconf", "-m").Output()
	return err == nil && strings.Contains("\n"+string(kinds), "\n"+kind+"\n")
}

const postmapBin = "/usr/sbin/postmap"

// postmap asks Postfix's own postmap for all keys at once: what it prints, and
// whether it ended with an error.
func postmap(t *testing.T, spec string, keys []string) (out string, failed bool) {
	t.Helper()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\nmyhostname = mail.example.org\nmydomain = example.org\ninet_interfaces = 127.0.0.1\n"), 0o644)
	ctx, cancel := context.WithTimeout(context.Background(), oracle.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, postmapBin, "-c", dir, "-q", "-", spec)
	var errs bytes.Buffer
	cmd.Stderr, cmd.Stdin = &errs, strings.NewReader(strings.Join(keys, "\n")+"\n")
	b, _ := cmd.Output() // exit 1 is "nothing found", too: the text tells
	failed = strings.Contains(errs.String(), "fatal") || strings.Contains(errs.String(), "error")
	return string(b), failed
}

// ourAnswer asks our table in the same form.
func ourAnswer(t *testing.T, tab Table, key string) string {
	t.Helper()
	v, found, err := tab.Lookup(context.Background(), key)
	switch {
	case err != nil:
		return "?"
	case !found:
		return "!"
	}
	return v
}

// trickyKeys are keys that a stranger could send to see what a database does.
var trickyKeys = []string{"alice@example.org", "ALICE@Example.Org", "bob@example.org", "carol@other.example", "nobody@example.org", "example.org",
	"@example.org", "alice", "multi@example.org", "null@example.org", "empty@example.org", "o'brien@example.org", `back\slash@example.org`,
	`x' OR '1'='1`, `x" OR "1"="1`, `\' OR 1=1 -- `, `x\`, `'; DROP TABLE a; --`, "a%b@example.org", "a_b@example.org", "%s", "%", "*", "*)(mail=*", "ali*",
	"per%cent@example.org", "tab\tkey", "gr\xc3\xbcn@example.org", "bad\xff\xfe@example.org", "a@b@example.org", "two words@example.org", "x@sub.deep.example.org", "plus+ext@example.org"}

// tableRows are the rows (key, value) of the databases of these tests; "NULL" is one.
var tableRows = [][2]string{{"alice@example.org", "alice"}, {"bob@example.org", "bob@inner.example"}, {"carol@other.example", "carol@other.example"},
	{"multi@example.org", "one@a.example"}, {"multi@example.org", "two@b.example"}, {"null@example.org", "NULL"}, {"empty@example.org", ""},
	{"o'brien@example.org", "irish@x.example"}, {`back\slash@example.org`, "slash"}, {"example.org", "OK"}, {"alice", "short"},
	{"gr\xc3\xbcn@example.org", "green@x.example"}, {"x@sub.deep.example.org", "deep"}, {"a%b@example.org", "percent"}, {"plus+ext@example.org", "plus"},
	{"a@b@example.org", "twoat"}, {"two words@example.org", "words"}}

// rowsSQL is the statements that make the table a(k, v) with tableRows, each
// value between single quotes that quote makes safe.
func rowsSQL(quote func(string) string) string {
	var b strings.Builder
	b.WriteString("CREATE TABLE a (k VARCHAR(200), v VARCHAR(200));\n")
	for _, r := range tableRows {
		v := "'" + quote(r[1]) + "'"
		if r[1] == "NULL" {
			v = "NULL"
		}
		fmt.Fprintf(&b, "INSERT INTO a VALUES ('%s', %s);\n", quote(r[0]), v)
	}
	return b.String()
}

// sqlSettings are the lines that vary in the tests of the SQL types.
var sqlSettings = []string{
	"query = SELECT v FROM a WHERE k = '%s'",
	"query = SELECT v FROM a WHERE k = '%u@%d'\nresult_format = <%s>",
	"query = SELECT v FROM a WHERE k = '%s'\nresult_format = %u=%d",
	"query = SELECT v FROM a WHERE k = '%S'\nresult_format = %S/%U/%D/%1/%2/%%",
	"query = SELECT v FROM a WHERE k = '%u@%3.%2.%1'",
	"query = SELECT v FROM a WHERE k = '%s'\nexpansion_limit = 1",
	"query = SELECT v FROM a WHERE k = '%s'\nexpansion_limit = 2",
	"query = SELECT v FROM a WHERE k = '%s'\ndomain = example.org, !other.example",
	"query = SELECT v FROM a WHERE k = '%D' OR k = '%U'",
	"query = SELECT 'all%%'",
	"table = a\nselect_field = v\nwhere_field = k",
	"table = a\nselect_field = v\nwhere_field = k\nadditional_conditions = AND v <> 'alice' ORDER BY v DESC",
}

// likePostfix holds the answers to good keys against Postfix's; of the keys that
// are errors with ours one must be an error there, too.
func likePostfix(t *testing.T, spec, setting string, good, bad []string, ours string) {
	if len(good) > 0 {
		if theirs, failed := postmap(t, spec, good); failed || theirs != ours {
			t.Errorf("%s: %s\n--- ours\n%s--- Postfix (failed %v)\n%s", spec, setting, ours, failed, theirs)
		}
	}
	if len(bad) > 0 {
		if _, failed := postmap(t, spec, bad[:1]); !failed {
			t.Errorf("%s: %s: %q is an error with ours only", spec, setting, bad[0])
		}
	}
}

// compare asks ours and Postfix's table of each setting all keys. Without
// Postfix it still holds what must be true of every database.
func compare(t *testing.T, kind, common string, settings, keys []string) {
	t.Helper()
	dir, have := scratch(t, ""), hasPostmap(kind)
	var wg sync.WaitGroup // Postfix's program takes a second or two each time
	compared := 0
	for i, s := range settings {
		path := filepath.Join(dir, fmt.Sprintf("%d.cf", i))
		if err := os.WriteFile(path, []byte(common+s+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		tab, err := Open(kind+":"+path, Options{})
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		var good, bad []string
		var ours strings.Builder
		for _, k := range keys {
			switch v := ourAnswer(t, tab, k); v {
			case "?":
				bad = append(bad, k)
			case "!":
				good = append(good, k)
			default:
				good = append(good, k)
				ours.WriteString(k + "\t" + v + "\n")
			}
		}
		if !have {
			continue
		}
		compared += len(good)
		wg.Go(func() { likePostfix(t, kind+":"+path, s, good, bad, ours.String()) })
	}
	wg.Wait()
	t.Logf("%s: %d answers compared with Postfix", kind, compared)
	path := filepath.Join(dir, "0.cf")
	tab, err := Open(kind+":"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"alice@example.org", "alice"}, {"ALICE@example.org", "alice"}, {"x' OR '1'='1", "!"}, {"nobody@example.org", "!"}} {
		if got := ourAnswer(t, tab, c[0]); got != c[1] {
			t.Errorf("%s %s: %q, want %q", kind, c[0], got, c[1])
		}
	}
}

// runQuiet runs a program and returns its exit as an error.
func runQuiet(path string, args ...string) error { return exec.Command(path, args...).Run() }
