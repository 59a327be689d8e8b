package config

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
)

// TestNames holds lists of users: the first item that fits decides.
func TestNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("# ann\nbob\n!eve, carl\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		list, login string
		want        int
	}{
		{"", "ann", 0},
		{"ann", "ann", 1},
		{"ANN", "ann", 1},
		{"bob, carl", "ann", 0},
		{"!www-data, static:all", "www-data", -1},
		{"!www-data, static:all", "ann", 1},
		{"!unknown static:all", "unknown", -1},
		{"bob !static:all ann", "ann", -1},
		{file, "ann", 0},
		{file, "bob", 1},
		{file, "eve", -1},
		{"!" + file, "bob", -1},
		{file + " ann", "ann", 1},
		{file + ".not ann", "ann", -1},
		{"hash:/etc/users ann", "ann", -1},
	} {
		if got := names(Fields(c.list), c.login, 0); got != c.want {
			t.Errorf("%q, %s: %d, want %d", c.list, c.login, got, c.want)
		}
	}
	if err := os.WriteFile(file, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names([]string{file}, "ann", 0); got != -1 {
		t.Errorf("a file that names itself: %d", got)
	}
}

// TestMayUser holds the texts of Postfix and whom a list cannot shut out.
func TestMayUser(t *testing.T) {
	root, err := user.LookupId("0")
	if err != nil {
		t.Skip("no account 0: ", err)
	}
	for _, c := range []struct {
		name, list string
		uid        int
		want       string
	}{
		{"authorized_submit_users", "static:anyone", 0, ""},
		{"authorized_submit_users", "static:anyone", 4000000, ""},
		{"authorized_submit_users", "", 0, "User " + root.Username + "(0) is not allowed to submit mail"},
		{"authorized_submit_users", "nobody-else", 4000000, "User unknown(4000000) is not allowed to submit mail"},
		{"authorized_submit_users", "unknown", 4000000, ""},
		{"authorized_mailq_users", "", 0, ""},
		{"authorized_mailq_users", "", 4000000, "User unknown(4000000) is not allowed to view the mail queue"},
		{"authorized_flush_users", "", 0, ""},
		{"authorized_flush_users", "", 4000000, "User unknown(4000000) is not allowed to flush the mail queue"},
		{"authorized_flush_users", "!unknown static:all", 4000000, "User unknown(4000000) is not allowed to flush the mail queue"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(c.name+" = "+c.list+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m, _, err := LoadMain(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = m.MayUser(c.name, c.uid)
		if (err == nil) != (c.want == "") || err != nil && (err.Error() != c.want || !errors.Is(err, ErrUser)) {
			t.Errorf("%s = %s, %s: %v, want %q", c.name, c.list, strconv.Itoa(c.uid), err, c.want)
		}
	}
}
