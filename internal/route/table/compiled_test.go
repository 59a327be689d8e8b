package table

import (
	"os"
	"testing"
	"time"
)

// TestCompiled: a compiled table answers as its source, and is never believed
// over it.
func TestCompiled(t *testing.T) {
	path := big(t, 60000)
	os.Chmod(path, 0o640)
	if problems, err := Compile(path, Options{}); err != nil || problems != nil {
		t.Fatal(problems, err)
	}
	file := path + compiledSuffix
	fi, err := os.Stat(file)
	if err != nil || fi.Mode().Perm() != 0o640 {
		t.Fatal(fi, err)
	}
	uses := func(o Options, isAlias bool) bool {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return loadCompiled(f, path, isAlias, !o.NoFold, o) != nil
	}
	keys := []string{"User59999@example.org", "user0@example.org", "user60000@example.org", ""}
	const want = "User59999@example.org=mailbox59999 user0@example.org=mailbox0 user60000@example.org! !"
	if got := ask(t, "hash:"+path, Options{}, keys...); got != want || !uses(Options{}, false) {
		t.Error(got, uses(Options{}, false))
	}
	if uses(Options{NoFold: true}, false) || uses(Options{}, true) {
		t.Error("a table of another form was taken")
	}
	// Damage anywhere, and a file that ends early.
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 8, 20, 60, 85, 200, len(good) / 2, len(good) - 2, -1, -1000} {
		bad := append([]byte{}, good...)
		if at >= 0 {
			bad[at] ^= 0x41
		} else {
			bad = bad[:len(bad)+at]
		}
		os.WriteFile(file, bad, 0o640)
		if uses(Options{}, false) {
			t.Errorf("damage at %d was not seen", at)
		}
		if got := ask(t, "hash:"+path, Options{}, keys...); got != want {
			t.Errorf("damage at %d: %s", at, got)
		}
	}
	// A source that changed, even to the same size and time.
	os.WriteFile(file, good, 0o640)
	src, _ := os.Stat(path)
	text, _ := os.ReadFile(path)
	copy(text[len("user0@example.org "):], "MAILBOX")
	time.Sleep(20 * time.Millisecond)
	os.WriteFile(path, text, 0o640)
	os.Chtimes(path, src.ModTime(), src.ModTime())
	if got := ask(t, "hash:"+path, Options{}, "user0@example.org"); got != "user0@example.org=MAILBOX0" {
		t.Error(got)
	}
	// A small source has no compiled form; one that was large loses it.
	os.WriteFile(path, []byte("a b\n"), 0o640)
	if _, err := Compile(path, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the old compiled form is still there")
	}
}

// TestStampLeavesDatabases: a database of Postfix stays what it is.
func TestStampLeavesDatabases(t *testing.T) {
	path := write(t, "m", "a b\n")
	for i, text := range []string{"", stampText, "\x00\x06\x15\x61 Berkeley", stampText + "more"} {
		os.WriteFile(path+".db", []byte(text), 0o644)
		if err := Stamp(path); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(path + ".db")
		if kept := i >= 2; kept != (string(got) == text && text != stampText) {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzCompiled(f *testing.F) {
	f.Add([]byte(compiledMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := parseCompiled(data, compiledHead{}); err == nil {
			x.get("a")
		}
		x := &index{text: string(data), start: []uint32{0}, slots: []uint32{1, 0}, fixed: 1}
		if x.check() == nil {
			x.get("a")
		}
	})
}
