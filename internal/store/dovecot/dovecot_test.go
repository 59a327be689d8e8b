package dovecot

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"packetboat/internal/store"
)

// copyTo makes a folder with some of the files of a folder in testdata, which
// Dovecot 2.3.19 has written.
func copyTo(t testing.TB, from string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join("testdata", from, n))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, n), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// words are "Word1" to "Word<n>".
func words(n int) (w []string) {
	for i := range n {
		w = append(w, fmt.Sprintf("Word%d", i+1))
	}
	return w
}

// TestLoad compares with what doveadm fetch 'uid flags modseq' has said of the
// same mailboxes.
func TestLoad(t *testing.T) {
	mbox := &Index{Validity: 1795480267, Next: 4, FirstRecent: 1, ModSeq: 7, Keywords: []string{"$Label1", "Other"}, Msgs: []Msg{
		{UID: 2, Flags: store.Seen, Keywords: 1, ModSeq: 4, Offset: 0},
		{UID: 3, Flags: store.Flagged, Keywords: 2, ModSeq: 6, Offset: 150},
	}, MboxSize: 274, MboxTime: 1795480267}
	maildir := &Index{Validity: 1795480267, Next: 7, FirstRecent: 1, ModSeq: 87, Keywords: words(31), Msgs: []Msg{
		{UID: 2, Flags: store.Answered, Keywords: 1<<31 - 1 - 1<<27, ModSeq: 85, Offset: -1},
		{UID: 3, Flags: store.Flagged, Keywords: 1 << 30, ModSeq: 83, Offset: -1},
		{UID: 5, ModSeq: 42, Offset: -1},
		{UID: 6, ModSeq: 86, Offset: -1},
	}}
	for _, c := range []struct {
		dir  string
		want *Index
	}{
		{copyTo(t, "mbox", logName), mbox},
		{copyTo(t, "maildir", logName, indexName), maildir},
		{copyTo(t, "maildir", logName), maildir}, // the log alone says the same
		{copyTo(t, "maildir", indexName), nil},
		{t.TempDir(), nil},
		{"", nil},
	} {
		if got := Load(c.dir); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.dir, got, c.want)
		}
	}
}

// TestRotated: a log that was begun after another one needs the older one, or
// the index.
func TestRotated(t *testing.T) {
	dir := copyTo(t, "mbox", logName)
	b, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	want := Load(dir)
	// The log becomes the older one; the new one follows it and holds nothing.
	next := append([]byte(nil), b[:40]...)
	le.PutUint32(next[8:], le.Uint32(b[8:])+1)
	le.PutUint32(next[12:], le.Uint32(b[8:]))
	le.PutUint64(next[24:], 7)
	os.WriteFile(filepath.Join(dir, oldLog), b, 0o600)
	os.WriteFile(filepath.Join(dir, logName), next, 0o600)
	if got := Load(dir); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	os.Remove(filepath.Join(dir, oldLog))
	if got := Load(dir); got != nil {
		t.Errorf("half of the logs is believed: %+v", got)
	}
}

// TestTorn: what is cut off at any place gives less, or nothing, and no panic.
func TestTorn(t *testing.T) {
	dir := copyTo(t, "maildir", logName, indexName)
	for _, name := range []string{logName, indexName} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(b); n += 37 {
			os.WriteFile(filepath.Join(dir, name), b[:n], 0o600)
			Load(dir)
		}
		os.WriteFile(filepath.Join(dir, name), b, 0o600)
	}
}

// TestRemove leaves nothing that could be believed.
func TestRemove(t *testing.T) {
	dir := copyTo(t, "maildir", logName, indexName)
	Remove(dir)
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
		t.Error(entries, err)
	}
}

// FuzzLoad: whatever stands in the files, UIDs rise and are below Next, and
// keywords have names.
func FuzzLoad(f *testing.F) {
	for _, from := range []string{"mbox", "maildir"} {
		log, _ := os.ReadFile(filepath.Join("testdata", from, logName))
		index, _ := os.ReadFile(filepath.Join("testdata", from, indexName))
		f.Add(log, index)
		f.Add(log[:len(log)/2], index)
	}
	f.Fuzz(func(t *testing.T, log, index []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, logName), log, 0o600)
		if len(index) > 0 {
			os.WriteFile(filepath.Join(dir, indexName), index, 0o600)
		}
		x := Load(dir)
		if x == nil {
			return
		}
		last := uint32(0)
		for _, m := range x.Msgs {
			if m.UID <= last || m.UID >= x.Next || m.ModSeq > x.ModSeq {
				t.Fatalf("%+v", x)
			}
			last = m.UID
		}
		for _, k := range x.Keywords {
			if strings.ContainsAny(k, "\x00 \r\n") || k == "" {
				t.Fatalf("%q", x.Keywords)
			}
		}
	})
}
