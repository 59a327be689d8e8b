package sqldb

import (
	"context"
	"database/sql/driver"
	"os"
	"path/filepath"
	"testing"

	"modernc.org/sqlite"
)

// makeDatabase fills a database with one table.
func makeDatabase(t *testing.T, mode string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data base.sqlite")
	w := writer(t, path)
	for _, q := range []string{"PRAGMA journal_mode=" + mode, "CREATE TABLE a (k TEXT, v TEXT)", "INSERT INTO a VALUES ('x','1')"} {
		w(q)
	}
	return path
}

// writer returns what runs statements on a database.
func writer(t *testing.T, path string) func(sql string) {
	t.Helper()
	c, err := (&sqlite.Driver{}).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func(sql string) {
		t.Helper()
		if _, err := c.(driver.ExecerContext).ExecContext(context.Background(), sql, nil); err != nil {
			t.Fatal(sql, err)
		}
	}
}

func one(t *testing.T, c Conn) (string, error) {
	t.Helper()
	var got string
	err := c.Query(t.Context(), "SELECT v FROM a WHERE k='x'", func(r Row) error {
		got = r.Values[0].Text
		return nil
	})
	return got, err
}

// TestSQLiteByFile: a database that this process may not open is read through an
// open file, sees what others write, and never believes half of a change.
func TestSQLiteByFile(t *testing.T) {
	path := makeDatabase(t, "DELETE")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := connectFile(f, path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := one(t, c); v != "1" || err != nil {
		t.Fatal(v, err)
	}
	exec := writer(t, path)
	exec("UPDATE a SET v='2'")
	if v, err := one(t, c); v != "2" || err != nil {
		t.Fatal(v, err)
	}
	exec("BEGIN EXCLUSIVE")
	exec("UPDATE a SET v='3'")
	if v, err := one(t, c); err == nil {
		t.Errorf("read %q beside an exclusive lock", v)
	}
	exec("COMMIT")
	if v, err := one(t, c); v != "3" || err != nil {
		t.Fatal(v, err)
	}
	// The journal of a writer that died.
	if err := os.WriteFile(path+"-journal", []byte("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := one(t, c); err == nil {
		t.Errorf("read %q beside a journal", v)
	}
}

func TestSQLiteByFileWAL(t *testing.T) {
	path := makeDatabase(t, "WAL")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := connectFile(f, path); err == nil {
		v, err := one(t, c)
		t.Errorf("a database in WAL mode answers %q, %v", v, err)
	}
	f.Close()
}
