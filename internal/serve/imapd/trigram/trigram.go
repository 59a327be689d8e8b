// Package trigram makes small filters that say which messages cannot hold a
// text, so that SEARCH BODY and TEXT need not read them again. A filter is a set
// of hashes of all three octets in a row (a Bloom filter with one hash): what a
// text has and the filter lacks is not in the message. It errs in the other
// direction only.
package trigram

import (
	"encoding/binary"
	"math/bits"
)

const (
	maxBits = 1 << 18 // of a filter that is being made: 32 KB
	minBits = 1 << 9
)

// Kind names the form of filters in an index.
const Kind = "trigrams.1"

// Builder collects the trigrams of one message. Reset comes first.
type Builder struct {
	set  [maxBits / 64]uint64
	bits uint32 // of set that are in use, a power of two
}

// Reset begins a new message of about so many octets: of a short one few bits
// are used, which are then quickly cleared and counted.
func (b *Builder) Reset(octets int64) {
	clear(b.set[:b.bits/64])
	b.bits = minBits
	for b.bits < maxBits && int64(b.bits) < 2*octets {
		b.bits *= 2
	}
}

// hash spreads a trigram over 18 bits.
func hash(v uint32) uint32 { return v * 0x9E3779B1 >> 14 }

// Add takes in a piece of text. Pieces that follow each other must overlap by two octets.
func (b *Builder) Add(text []byte) {
	if len(text) < 3 {
		return
	}
	mask := (b.bits - 1) % maxBits
	for ; len(text) >= 8; text = text[6:] { // six at a time
		x := binary.BigEndian.Uint64(text)
		b.put(hash(uint32(x>>40)) & mask)
		b.put(hash(uint32(x>>32)&0xFFFFFF) & mask)
		b.put(hash(uint32(x>>24)&0xFFFFFF) & mask)
		b.put(hash(uint32(x>>16)&0xFFFFFF) & mask)
		b.put(hash(uint32(x>>8)&0xFFFFFF) & mask)
		b.put(hash(uint32(x)&0xFFFFFF) & mask)
	}
	v := uint32(text[0])<<8 | uint32(text[1])
	for _, c := range text[2:] {
		v = v<<8&0xFFFFFF | uint32(c)
		b.put(hash(v) & mask)
	}
}

func (b *Builder) put(h uint32) { b.set[h/64%(maxBits/64)] |= 1 << (h % 64) }

// Append appends the filter to dst. It takes two bits a trigram, rounded up to a
// power of two; a message that has nearly all gets an empty one, which holds everything.
func (b *Builder) Append(dst []byte) []byte {
	n := 0
	set := b.set[:b.bits/64]
	for _, w := range set {
		n += bits.OnesCount64(w)
	}
	if n > maxBits*6/10 { // only where all bits are in use
		return dst
	}
	size := minBits
	for size < int(b.bits) && size < 2*n {
		size *= 2
	}
	for words := size / 64; len(set) > words; set = set[:len(set)/2] {
		half := len(set) / 2
		for i := range half {
			set[i] |= set[half+i]
		}
	}
	for _, w := range set {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// MayHold tells whether a message with that filter may hold text. A filter that
// is none holds everything.
func MayHold(filter []byte, text string) bool {
	size := uint32(len(filter)) * 8
	if len(text) < 3 || size < minBits || size&(size-1) != 0 {
		return true
	}
	v := uint32(text[0])<<8 | uint32(text[1])
	for i := 2; i < len(text); i++ {
		v = v<<8&0xFFFFFF | uint32(text[i])
		h := hash(v) & (size - 1)
		if filter[h/8]&(1<<(h%8)) == 0 {
			return false
		}
	}
	return true
}
