package uidlist

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/store"
	"packetboat/internal/sys/disk"
)

func load(t *testing.T, content string) *List {
	t.Helper()
	l := &List{Path: filepath.Join(t.TempDir(), FileName)}
	if err := os.WriteFile(l.Path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	return l
}

const golden = "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n" +
	"25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n" +
	"25017 W2481 :1276533073.M242911P3632.kurkku:2,F\n"

func TestLoad(t *testing.T) {
	l := load(t, golden)
	if l.Validity != 1275660208 || l.Next != 25022 || l.Broken || len(l.UIDs) != 2 {
		t.Errorf("%+v", l)
	}
	if l.UIDs["1276533073.M242911P3632.kurkku"] != 25017 || l.Size(25017) != 2481 || l.Size(25006) != -1 {
		t.Errorf("%+v", l)
	}
	old := load(t, "1 77 9\n3 a.b.c\n8 d.e.f\n")
	if old.Validity != 77 || old.Next != 9 || old.UIDs["d.e.f"] != 8 || !old.Broken {
		t.Errorf("version 1: %+v", old)
	}
}

// TestBroken: what stands before the fault counts, and the list is written anew.
func TestBroken(t *testing.T) {
	for fault, uids := range map[string]int{
		"":                           0,
		"4 V1 N1\n":                  0,
		"3 V0 N1\n":                  0,
		"3 N1\n1 :a\n":               0,
		"3 V1 N9\n1 :a\nx :b\n":      1,
		"3 V1 N9\n1 :a\n2 :x/y\n":    1,
		"3 V1 N9\n1 :a\n2 b\n":       1,
		"3 V1 N9\n1 :a\n2 :cut":      1,
		"3 V1 N9\n4294967295 :a\n":   0,
		"3 V1 N9\n1 :a\n2 :\n3 :c\n": 1,
		"3 V1 N9\n1 :" + strings.Repeat("x", 100<<10) + "\n": 0,
	} {
		if l := load(t, fault); !l.Broken || len(l.UIDs) != uids {
			t.Errorf("%.40q: broken %v, %d UIDs, want %d", fault, l.Broken, len(l.UIDs), uids)
		}
	}
}

// TestRewritten: what was written is what is read, by us and after lines were added.
func TestRewritten(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.StringMatching(`[a-zA-Z0-9.,=_-]{1,40}`), rapid.ID).Draw(t, "names")
		l := &List{Path: filepath.Join(dir, FileName)}
		os.Remove(l.Path)
		if err := l.Load(); err != nil {
			t.Fatal(err)
		}
		l.Begin(42)
		half := len(names) / 2
		if err := l.Add(names[:half], half); err != ErrRewrite {
			t.Fatalf("a list that is not there: %v", err)
		}
		err := l.Rewrite(func(yield func(uint32, string) bool) {
			for i, n := range names[:half] {
				if !yield(uint32(i+1), n+":2,S") {
					return
				}
			}
		})
		if err == nil {
			err = l.Add(names[half:], len(names))
		}
		if err != nil {
			t.Fatal(err)
		}
		again := &List{Path: l.Path}
		if err := again.Load(); err != nil || again.Broken || again.Validity != 42 || again.Next != l.Next || !maps.Equal(again.UIDs, l.UIDs) {
			t.Fatalf("%v\n%+v\n%+v", err, again, l)
		}
	})
}

// TestNames: flags and sizes in a name survive a change of the flags.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.StringMatching(`[a-zA-Z0-9.,=_-]{1,40}`).Draw(t, "base")
		f := store.Flag(rapid.IntRange(0, 31).Draw(t, "flags"))
		keys := rapid.Uint32Range(0, 1<<26-1).Draw(t, "keys")
		name := WithFlags(b, f, keys, "P")
		gf, gk, other := FlagsOf(name)
		if Base(name) != b || gf != f || gk != keys || other != "P" {
			t.Fatalf("%q: %v %x %q", name, gf, gk, other)
		}
	})
	if s, v := Sizes("1.M2P3.h,S=10,W=12"); s != 10 || v != 12 {
		t.Errorf("sizes %d %d", s, v)
	}
	if s, v := Sizes("1.M2P3.h,S=-1,W=x"); s != -1 || v != -1 {
		t.Errorf("sizes %d %d", s, v)
	}
}

// TestKeywords: letters stay what they are, for others too, and words beyond 26
// have none.
func TestKeywords(t *testing.T) {
	path := filepath.Join(t.TempDir(), KeywordsName)
	os.WriteFile(path, []byte("0 Work\n3 $Label1\n99 no\nx y\n"), 0o600)
	k := &Keywords{Path: path}
	k.Clear()
	if err := k.Load(); err != nil {
		t.Fatal(err)
	}
	if got := k.Letters(k.Bits(1<<0 | 1<<3 | 1<<9)); got != 1<<0|1<<3 || k.Unknown(1<<3|1<<9) != 1<<9 {
		t.Errorf("letters %b", got)
	}
	var words []string
	for c := range 40 {
		words = append(words, "w"+string(rune('A'+c)))
	}
	bits, err := k.Claim(words, disk.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again := &Keywords{Path: path, Words: slices.Clone(k.Words)}
	again.Clear()
	if err := again.Load(); err != nil || again.Letters(bits) != k.Letters(bits) || again.Letters(again.Bits(1)) != 1 {
		t.Errorf("%v: %b and %b", err, again.Letters(bits), k.Letters(bits))
	}
	if n := len(k.Words); n > MaxKeywords {
		t.Errorf("%d words", n)
	}
}

// FuzzLoad: a list may hold anything. What is taken out of it rises, fits into
// names, and can be written again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte("1 77 9\n3 a.b.c\n8 d.e.f\n"))
	f.Add([]byte("3 V1 N1\n1 W :\n"))
	f.Add([]byte("3 V V\x00\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := load(t, string(b))
		for name, uid := range l.UIDs {
			if name == "" || strings.ContainsAny(name, "/\x00\n") || uid == 0 || uid >= l.Next {
				t.Fatalf("%q has UID %d of %d", name, uid, l.Next)
			}
			l.Size(uid)
		}
		Sizes(string(b))
		FlagsOf(string(b))
		Earlier(string(b), "1.2.3")
	})
}

// FuzzKeywords: the same for the list of keywords.
func FuzzKeywords(f *testing.F) {
	f.Add([]byte("0 Work\n25 $Label1\n"))
	f.Add([]byte("0 a\n0 A\n1 a\n-1 b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), KeywordsName)
		os.WriteFile(path, b, 0o600)
		k := &Keywords{Path: path}
		k.Clear()
		if err := k.Load(); err != nil {
			return // a line that is too long for bufio
		}
		if len(k.Words) > MaxKeywords || k.Letters(k.Bits(1<<26-1))&k.Unknown(1<<26-1) != 0 {
			t.Fatalf("%+v", k)
		}
	})
}
