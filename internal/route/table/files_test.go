package table

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/sys/pool"
)

// TestFiles: what a table reads is named in full, so that it can be granted.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	cf := filepath.Join(dir, "x.cf")
	os.WriteFile(cf, []byte("dbpath = /db\ntls_CAfile = /ca\ndomain = a.example, !/list, hash:/h\nbackup = proxy:cdb:/c\n"), 0o600)
	got := Files("proxy:unionmap:{hash:/a, pipemap:{regexp:/b, mysql:"+cf+"}, static:{x y}}", Options{})
	want := []string{"/a", "/b", cf, "/db", "/ca", "/list", "/h", "/c"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	for _, s := range []string{"", "hash", "mysql:", "ldap:name", "unionmap:{", strings.Repeat("proxy:", 50) + "hash:/x"} {
		if got := Files(s, Options{}); len(got) != 0 {
			t.Errorf("%s: %q", s, got)
		}
	}
}

// TestOpenFile: a file that only root may read is opened by who may.
func TestOpenFile(t *testing.T) {
	path := write(t, "secret", "a b\n")
	asked := 0
	o := Options{OpenFile: func(p string) (*os.File, error) {
		asked++
		os.Chmod(p, 0o600)
		defer os.Chmod(p, 0)
		return os.Open(p)
	}}
	os.Chmod(path, 0)
	if os.Geteuid() == 0 {
		t.Skip("root may read every file")
	}
	if got := ask(t, "hash:"+path, o, "a"); got != "a=b" || asked == 0 {
		t.Error(got, asked)
	}
	if _, err := Open("hash:"+path, Options{}); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

type fakeConn struct{ closed *int }

func (c fakeConn) Close() error { *c.closed++; return nil }

// TestPool: a server that failed is left alone, the next one is asked, and a
// connection that went stale is made anew before its server counts as failed.
func TestPool(t *testing.T) {
	dials, closed := map[string]int{}, 0
	p := pool.New([]string{"a", "b"}, pool.Options{Ordered: true, Retry: 50 * time.Millisecond, Idle: 30 * time.Millisecond}, func(_ context.Context, s string) (fakeConn, error) {
		dials[s]++
		if s == "a" {
			return fakeConn{}, errors.New("down")
		}
		return fakeConn{&closed}, nil
	})
	good := func(context.Context, fakeConn) error { return nil }
	for range 5 {
		if err := p.Do(context.Background(), good); err != nil {
			t.Fatal(err)
		}
	}
	if dials["a"] != 1 || dials["b"] != 1 {
		t.Errorf("dialled %v", dials)
	}
	stale := true
	err := p.Do(context.Background(), func(context.Context, fakeConn) error {
		if stale {
			stale = false
			return errors.New("closed at the other end")
		}
		return nil
	})
	if err != nil || dials["b"] != 2 || closed != 1 {
		t.Errorf("stale: %v %v %d", err, dials, closed)
	}
	broken := errors.New("broken")
	if err := p.Do(context.Background(), func(context.Context, fakeConn) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	if err := p.Do(context.Background(), good); err == nil {
		t.Error("a failed server was asked again at once")
	}
	time.Sleep(60 * time.Millisecond)
	if err := p.Do(context.Background(), good); err != nil {
		t.Error(err)
	}
	answered := &pool.Answered{Err: errors.New("no such column")}
	if err := p.Do(context.Background(), func(context.Context, fakeConn) error { return answered }); !errors.Is(err, answered) {
		t.Error(err)
	}
	if err := p.Do(context.Background(), good); err != nil {
		t.Error("a server that answers is not left alone:", err)
	}
	before := closed
	time.Sleep(100 * time.Millisecond)
	if p.Close(); closed == before {
		t.Error("an idle connection stayed open")
	}
}
