package order

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBaseSubject(t *testing.T) {
	for in, want := range map[string]string{
		"boat": "boat", "Re: boat": "boat", "RE: re:  boat": "boat", "[list] Re: boat": "boat", "Re[2]: boat": "boat", "fw: boat (fwd)": "boat",
		"[fwd: boat]": "boat", "[only]": "[only]", "Re:": "", "[a] [b] x": "x", "rest": "rest", "Re [x] : y": "y", "[a[b] x": "[a[b] x", "": "",
	} {
		if got, _ := BaseSubject(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// count walks over threads.
func count(roots []*Node, seen map[uint32]int) {
	for _, n := range roots {
		if n.Msg != nil {
			seen[n.Msg.Num]++
		}
		count(n.Children, seen)
	}
}

// TestAllThere: whatever messages refer to, each stands in the threads once.
func TestAllThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "n")
		id := func(name string) string { return strconv.Itoa(rapid.IntRange(0, 12).Draw(t, name)) }
		msgs := make([]Message, n)
		for i := range msgs {
			msgs[i] = Message{Num: uint32(i + 1), Date: int64(rapid.IntRange(0, 5).Draw(t, "d")), Subject: id("s"), Reply: rapid.Bool().Draw(t, "r"), ID: id("id")}
			for range rapid.IntRange(0, 4).Draw(t, "refs") {
				msgs[i].Refs = append(msgs[i].Refs, id("ref"))
			}
		}
		for name, roots := range map[string][]*Node{"REFS": References(msgs, false), "REFERENCES": References(msgs, true), "ORDERED": OrderedSubject(msgs)} {
			seen := map[uint32]int{}
			count(roots, seen)
			for i := range msgs {
				if seen[uint32(i+1)] != 1 {
					t.Fatalf("%s: message %d is there %d times", name, i+1, seen[uint32(i+1)])
				}
			}
			if len(seen) != n {
				t.Fatalf("%s: %d messages of %d", name, len(seen), n)
			}
		}
	})
}

// TestHostile: long chains, loops and stars of references take no long time.
func TestHostile(t *testing.T) {
	begun := time.Now()
	const n = 50000
	chain, star := make([]Message, n), make([]Message, n)
	for i := range n {
		chain[i] = Message{Num: uint32(i + 1), ID: fmt.Sprint(i), Refs: []string{fmt.Sprint((i + 1) % n)}}
		star[i] = Message{Num: uint32(i + 1), ID: fmt.Sprint(i), Refs: []string{"x", fmt.Sprint(n - i)}}
	}
	for _, msgs := range [][]Message{chain, star} {
		seen := map[uint32]int{}
		roots := References(msgs, true)
		count(roots, seen)
		if len(seen) != n {
			t.Errorf("%d of %d", len(seen), n)
		}
		Append(nil, roots, func(b []byte, n uint32) []byte { return strconv.AppendUint(b, uint64(n), 10) })
	}
	if d := time.Since(begun); d > 15*time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzBaseSubject(f *testing.F) {
	f.Add("Re: [x] [fwd: y (fwd)]")
	f.Add("re[a]re[[b]:")
	f.Fuzz(func(t *testing.T, s string) {
		base, _ := BaseSubject(s)
		if again, _ := BaseSubject(base); again != base {
			t.Errorf("%q -> %q -> %q", s, base, again)
		}
	})
}
