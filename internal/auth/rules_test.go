package auth

import (
	"database/sql/driver"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"modernc.org/sqlite"

	"packetboat/internal/auth/wire"
)

// brokenSQL is a settings file whose database is not there.
func brokenSQL(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "sql.conf")
	os.WriteFile(path, []byte("driver = sqlite\nconnect = /nonexistent/db\n"), 0o600)
	return path
}

// TestInternalFail: result_internalfail decides what a database that does not answer
// means.
func TestInternalFail(t *testing.T) {
	for rule, want := range map[string]struct{ ok, temp bool }{"": {true, false}, "continue": {true, false}, "return-fail": {false, true}, "return-ok": {true, false}} {
		a, _, _ := fixture(t, users, func(o *Options) {
			o.Passdbs = append([]DB{{Driver: "sql", Args: brokenSQL(t), Rules: Rules{Internal: rule}}}, o.Passdbs...)
		})
		ans := try(a, "PLAIN", "\x00alice\x00secret")
		if (ans.State == wire.OK) != want.ok || ans.Temporary != want.temp {
			t.Errorf("%q: %+v", rule, ans)
		}
	}
}

// TestMechanisms: a passdb is asked for its mechanisms only.
func TestMechanisms(t *testing.T) {
	a, _, _ := fixture(t, users, func(o *Options) { o.Passdbs[0].Mechanisms = []string{"login"} })
	if ans := try(a, "PLAIN", "\x00alice\x00secret"); ans.State == wire.OK {
		t.Error("PLAIN was let in")
	}
	if ans := try(a, "LOGIN", "alice", "secret"); ans.State != wire.OK {
		t.Errorf("LOGIN: %+v", ans)
	}
}

// TestUserdbSkip: a userdb is asked only when a former one found the user, or not.
func TestUserdbSkip(t *testing.T) {
	for skip, want := range map[string]string{"never": "/second", "found": "/home/alice", "notfound": "/second"} {
		a, _, _ := fixture(t, users, func(o *Options) {
			o.Userdbs[0].Success = "continue-ok"
			o.Userdbs = append(o.Userdbs, DB{Driver: "static", Args: "uid=7 gid=7 home=/second allow_all_users=yes", Rules: Rules{Skip: skip}})
		})
		u, err := a.User(t.Context(), "alice", "imap", nil)
		if err != nil || u.Home != want {
			t.Errorf("%s: %+v %v", skip, u, err)
		}
	}
}

// TestSQLUsers: iterate_query names the users, in one column or two.
func TestSQLUsers(t *testing.T) {
	dir := t.TempDir()
	c, err := (&sqlite.Driver{}).Open(dir + "/db")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, s := range []string{"CREATE TABLE users (username TEXT, domain TEXT)", "INSERT INTO users VALUES ('a', 'x.test'), ('b', NULL)"} {
		if _, err := c.(driver.ExecerContext).ExecContext(t.Context(), s, nil); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{"": "a@x.test b", "iterate_query = SELECT username AS user FROM users\n": "a b"} {
		path := filepath.Join(t.TempDir(), "sql.conf")
		os.WriteFile(path, []byte("driver = sqlite\nconnect = "+dir+"/db\n"+query), 0o600)
		a, _, _ := fixture(t, users, func(o *Options) { o.Userdbs = []DB{{Driver: "sql", Args: path}} })
		var got []string
		err := a.Users(t.Context(), "*", func(name string) { got = append(got, name) })
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v %v", query, got, err)
		}
	}
}
