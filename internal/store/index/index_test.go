package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"packetboat/internal/sys/disk"

	"pgregory.net/rapid"
)

// uidsTo yields 1 to n.
func uidsTo(n uint32) func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for uid := uint32(1); uid <= n && yield(uid); uid++ {
		}
	}
}

// value is what tests keep for a message: it tells where it belongs.
func value(kind string, uid uint32) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "<%s %d>", kind, uid), int(uid%50))
}

func fillFile(x *File, names []string, uids func(func(uint32) bool)) {
	for _, n := range names {
		k := x.Kind(n)
		for uid := range uids {
			x.Put(k, uid, uid*7, value(n, uid))
		}
	}
	x.Flush()
}

// checker is testing.TB or *rapid.T.
type checker interface {
	Helper()
	Fatalf(format string, args ...any)
}

// holds counts the values that are right, and fails on any that is wrong.
func holds(t checker, x *File, names []string, uids func(func(uint32) bool)) (found int) {
	t.Helper()
	for _, n := range names {
		k := x.Kind(n)
		for uid := range uids {
			got, ok := x.Append([]byte("before"), k, uid, uid*7)
			if !ok {
				if string(got) != "before" {
					t.Fatalf("%s of %d: %q without a value", n, uid, got)
				}
				continue
			}
			if found++; string(got) != "before"+string(value(n, uid)) {
				t.Fatalf("%s of %d is %q", n, uid, got)
			}
		}
	}
	return found
}

var twoKinds = []string{"envelope", "digest"}

func TestKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", FileName)
	x := New(path, 7)
	fillFile(x, twoKinds, uidsTo(5000))
	if n := holds(t, x, twoKinds, uidsTo(5000)); n != 10000 {
		t.Errorf("%d of 10000 values", n)
	}
	if _, ok := x.Append(nil, x.Kind("envelope"), 5, 1); ok {
		t.Error("a value with another tag")
	}
	x.Close(uidsTo(5000))
	x = New(path, 7)
	if n := holds(t, x, twoKinds, uidsTo(5000)); n != 10000 {
		t.Errorf("%d of 10000 values when opened again", n)
	}
	x.Close(nil)
	x = New(path, 8)
	defer x.Close(nil)
	if n := holds(t, x, twoKinds, uidsTo(5000)); n != 0 {
		t.Errorf("%d values of another UIDVALIDITY", n)
	}
	fillFile(x, twoKinds, uidsTo(3))
	if n := holds(t, x, twoKinds, uidsTo(3)); n != 6 {
		t.Errorf("%d of 6 values of the new UIDVALIDITY", n)
	}
}

// TestWaiting: a value can be asked for before it is on disk, and a changed
// message's value comes in place of the old one.
func TestWaiting(t *testing.T) {
	x := New(filepath.Join(t.TempDir(), FileName), 1)
	defer x.Close(nil)
	k := x.Kind("k")
	x.Put(k, 3, 1, []byte("old"))
	if got, ok := x.Append(nil, k, 3, 1); !ok || string(got) != "old" {
		t.Errorf("got %q %v", got, ok)
	}
	x.Flush()
	x.Put(k, 3, 2, []byte("new"))
	x.Flush()
	if got, ok := x.Append(nil, k, 3, 2); !ok || string(got) != "new" {
		t.Errorf("got %q %v", got, ok)
	}
}

// TestNothing: no index, or one that cannot be written, is no trouble.
func TestNothing(t *testing.T) {
	var none *File
	if none.Kind("x") != None {
		t.Error("a kind of no index")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", filepath.Join(file, FileName)} {
		x := New(path, 1)
		fillFile(x, twoKinds, uidsTo(10))
		if n := holds(t, x, twoKinds, uidsTo(10)); n != 0 {
			t.Errorf("%q keeps %d values", path, n)
		}
		x.Close(uidsTo(1))
	}
}

// TestOldKinds: kinds that nobody asks for make room for new ones.
func TestOldKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	for round := range 8 {
		x := New(path, 1)
		var names []string
		for i := range maxKinds {
			names = append(names, fmt.Sprintf("round %d kind %d", round, i))
		}
		fillFile(x, names, uidsTo(20))
		if n := holds(t, x, names, uidsTo(20)); n != 20*maxKinds && round < 8 {
			t.Errorf("round %d keeps %d of %d", round, n, 20*maxKinds)
		}
		if x.Kind("one more") != None {
			t.Error("more kinds than there may be")
		}
		x.Close(nil)
	}
}

// TestRewrite: what belongs to messages that are gone is thrown away.
func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	x := New(path, 1)
	fillFile(x, twoKinds, uidsTo(6000))
	before, _ := os.Stat(path)
	x.Close(uidsTo(600))
	after, err := os.Stat(path)
	if err != nil || after.Size() > before.Size()/5 {
		t.Errorf("%d octets became %d, %v", before.Size(), after.Size(), err)
	}
	x = New(path, 1)
	defer x.Close(nil)
	if n := holds(t, x, twoKinds, uidsTo(6000)); n != 1200 {
		t.Errorf("%d of 1200 values are left", n)
	}
}

// TestDamage: whatever happens to the file, no wrong value comes out of it, and
// it is of use again afterwards.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, strconv.FormatUint(rand.Uint64(), 36))
		x := New(path, 1)
		fillFile(x, twoKinds, uidsTo(300))
		fillFile(x, []string{"third"}, uidsTo(300))
		x.Close(nil)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 9).Draw(t, "octets") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
		}
		b = b[:rapid.IntRange(0, len(b)).Draw(t, "cut")]
		os.WriteFile(path, b, 0o600)
		all := append(slices.Clone(twoKinds), "third")
		x = New(path, 1)
		defer x.Close(nil)
		holds(t, x, all, uidsTo(300))
		fillFile(x, all, uidsTo(300))
		if n := holds(t, x, all, uidsTo(300)); n < 3*300-60 {
			t.Errorf("only %d of 900 values after it was filled again", n)
		}
	})
}

// TestShared: several files on one path, as several processes have them, mix up
// nothing, and lose only what one of them could not write for want of the lock.
func TestShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	var wg sync.WaitGroup
	files := make([]*File, 4)
	for i := range files {
		files[i] = New(path, 1)
		wg.Go(func() {
			x := files[i]
			// Kinds are asked for in another order in each, so that their numbers differ.
			names := append(slices.Clone(twoKinds[i%2:]), twoKinds[:i%2]...)
			for _, n := range names {
				k := x.Kind(n)
				for uid := uint32(i) + 1; uid <= 4000; uid += uint32(len(files)) {
					x.Put(k, uid, uid*7, value(n, uid))
					if uid%500 < 4 {
						x.Flush()
					}
				}
			}
			x.Flush()
		})
	}
	wg.Wait()
	for _, x := range files {
		x.Flush()
		x.Close(nil)
	}
	x := New(path, 1)
	defer x.Close(nil)
	if n := holds(t, x, twoKinds, uidsTo(4000)); n < 7900 { // who cannot have the lock for long keeps nothing
		t.Errorf("%d of 8000 values", n)
	}
}

// TestMaking: who finds another process making the file, or its leavings, waits
// and keeps its values.
func TestMaking(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	other, err := disk.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if ok, err := disk.TryLock(other); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := New(path, 1)
	k := x.Kind("k")
	for uid := uint32(1); uid <= 2*maxSealed; uid++ {
		x.Put(k, uid, uid*7, value("k", uid))
		x.mu.Lock()
		x.seal()
		x.mu.Unlock()
		if x.writeAll(1) {
			t.Fatal("written while another makes the file")
		}
	}
	if err := disk.Unlock(other); err != nil {
		t.Fatal(err)
	}
	x.Close(nil)
	x = New(path, 1)
	defer x.Close(nil)
	if n := holds(t, x, []string{"k"}, uidsTo(2*maxSealed)); n != 2*maxSealed {
		t.Errorf("%d of %d values", n, 2*maxSealed)
	}
}

// TestKilled: processes that are killed while they write leave a file that the
// next one can read and go on with.
func TestKilled(t *testing.T) {
	if path := os.Getenv("INDEX_TEST_WRITER"); path != "" {
		for {
			x := New(path, 1)
			fillFile(x, twoKinds, uidsTo(2000))
			x.Close(uidsTo(100))
		}
	}
	path := filepath.Join(t.TempDir(), FileName)
	for range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "INDEX_TEST_WRITER="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(60)) * time.Millisecond)
		cmd.Process.Kill()
		out.Close()
		cmd.Wait()
		x := New(path, 1)
		holds(t, x, twoKinds, uidsTo(2000))
		fillFile(x, twoKinds, uidsTo(50))
		if n := holds(t, x, twoKinds, uidsTo(50)); n != 100 {
			t.Fatalf("%d of 100 values after a writer was killed", n)
		}
		x.Close(nil)
	}
}

// FuzzBatch: what stands in a file is believed only within its limits.
func FuzzBatch(f *testing.F) {
	good := encodeBatch([]item{{0, nameKind, 0, []byte("kind")}, {1, 0, 5, []byte("value")}, {9, 0, 5, nil}}, func(int, int) {})
	f.Add(good)
	f.Add(good[:len(good)-3])
	long := slices.Clone(good)
	binary.LittleEndian.PutUint32(long[4:], 1<<31)
	f.Add(long)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), FileName)
		os.WriteFile(path, append(encodeHead(1, 2), b...), 0o600)
		x := New(path, 1)
		k := x.Kind("kind")
		x.Append(nil, k, 1, 5)
		x.Put(k, 1, 5, []byte("mine"))
		x.Flush()
		if got, ok := x.Append(nil, k, 1, 5); !ok || string(got) != "mine" {
			t.Errorf("%q %v after a write", got, ok)
		}
		x.Close(maps.Keys(map[uint32]bool{1: true}))
	})
}

func BenchmarkAppend(b *testing.B) {
	x := New(filepath.Join(b.TempDir(), FileName), 1)
	defer x.Close(nil)
	fillFile(x, twoKinds, uidsTo(10000))
	k := x.Kind("digest")
	var buf []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		uid := uint32(i%10000) + 1
		buf, _ = x.Append(buf[:0], k, uid, uid*7)
	}
}
