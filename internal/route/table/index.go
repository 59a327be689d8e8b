package table

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
)

// index holds the entries of one source in two pieces of memory: all keys and
// values behind each other, and an open-addressed hash table of where they
// begin. A million entries cost their text and about 12 MB, and no object per
// line. The hash is seeded per process, so nobody can choose colliding keys.
type index struct {
	arena []byte   // per entry: uvarint len(key), key, uvarint len(value), value
	text  string   // the same when it is complete: values are parts of it
	slots []uint32 // 1 + index of the entry's offset in starts; 0 = free
	start []uint32 // where entry n begins in arena
	seed  maphash.Seed
	fixed uint64 // or the seed of fnv, not 0, in a compiled table
}

// maxArena bounds the text of one table: offsets are 32 bits.
const maxArena = math.MaxUint32 - (1 << 20)

func newIndex() *index { return &index{seed: maphash.MakeSeed(), slots: make([]uint32, 16)} }

// add stores an entry. It returns false, and keeps the first, when the key is
// there already.
func (x *index) add(key, value []byte) (bool, error) {
	if len(x.start)*3 >= len(x.slots)*2 {
		x.grow()
	}
	slot, found := x.slot(key)
	if found {
		return false, nil
	}
	if len(x.arena)+len(key)+len(value)+20 > maxArena {
		return false, fmt.Errorf("table holds more than %d bytes", int64(maxArena))
	}
	x.start = append(x.start, uint32(len(x.arena)))
	x.slots[slot] = uint32(len(x.start))
	x.arena = binary.AppendUvarint(x.arena, uint64(len(key)))
	x.arena = append(x.arena, key...)
	x.arena = binary.AppendUvarint(x.arena, uint64(len(value)))
	x.arena = append(x.arena, value...)
	return true, nil
}

// get returns the value of key.
func (x *index) get(key string) (string, bool) {
	mask := len(x.slots) - 1
	for i := int(x.hash(key)) & mask; x.slots[i] != 0; i = (i + 1) & mask {
		if k, v := x.entry(int(x.slots[i]) - 1); k == key {
			return v, true
		}
	}
	return "", false
}

// hash is a key's hash in a complete table.
func (x *index) hash(key string) uint64 {
	if x.fixed != 0 {
		return fnv(x.fixed, key)
	}
	return maphash.String(x.seed, key)
}

// slot finds the place of key in slots: where it is, or the free one it gets.
func (x *index) slot(key []byte) (int, bool) {
	mask := len(x.slots) - 1
	i := int(maphash.Bytes(x.seed, key)) & mask
	for x.slots[i] != 0 {
		if k := x.key(int(x.slots[i]) - 1); string(k) == string(key) {
			return i, true
		}
		i = (i + 1) & mask
	}
	return i, false
}

// key returns key number n while the table is being filled.
func (x *index) key(n int) []byte {
	b := x.arena[x.start[n]:]
	size, w := binary.Uvarint(b)
	return b[w : w+int(size)]
}

// entry returns key and value number n, in the order of the source, once the
// table is complete.
func (x *index) entry(n int) (key, value string) {
	key, rest := chunk(x.text[x.start[n]:])
	value, _ = chunk(rest)
	return key, value
}

// chunk takes a length and as many bytes off s.
func chunk(s string) (part, rest string) {
	n, shift := 0, 0
	for i := 0; ; i++ {
		c := s[i]
		n |= int(c&0x7f) << shift
		if shift += 7; c < 0x80 {
			return s[i+1 : i+1+n], s[i+1+n:]
		}
	}
}

// grow doubles the hash table.
func (x *index) grow() {
	x.slots = make([]uint32, 2*len(x.slots))
	for n := range x.start {
		slot, _ := x.slot(x.key(n))
		x.slots[slot] = uint32(n + 1)
	}
}

// fit ends the filling, and gives back what appending left over.
func (x *index) fit() {
	x.text, x.arena = string(x.arena), nil
	x.start = append(make([]uint32, 0, len(x.start)), x.start...)
}
