package table

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"

	"packetboat/internal/sys/disk"
)

// The compiled form of a large table: NAME.pbcdb beside the source NAME, made by
// postmap and postalias. It is a constant database that is read in one piece: all
// entries, where they begin, and a hash table of them. It counts only while it is
// of exactly the source that is there (size, time, file number, a sum of its bytes), belongs to
// the source's owner and is whole (a sum over everything); else the text is read,
// as if it were not there.
const (
	compiledSuffix = ".pbcdb"
	compiledMagic  = "PBTABLE1"
	// compileAbove is the size in bytes from which a source is compiled: reading
	// a smaller one takes some milliseconds.
	compileAbove = 1 << 20
)

// compiledHead begins the file, after the magic; all numbers are little-endian.
type compiledHead struct {
	Size, Mtime    int64  // of the source
	Sum            uint64 // of the source's bytes
	Dev, Ino       uint64 // of the source
	Form           uint64 // formOf
	Seed           uint64 // of the hash
	Entries, Slots uint64
	Text           uint64 // bytes of all entries
}

// formOf says how the text was read: it must be the way it is wanted now.
func formOf(isAlias, fold bool) (form uint64) {
	if isAlias {
		form |= 1
	}
	if fold {
		form |= 2
	}
	return form
}

// headOf describes the open source. Its bytes are summed up: that takes a
// twentieth of the time that reading them as a table takes, and tells two versions
// apart that a stat does not.
func headOf(f *os.File, isAlias, fold bool) (compiledHead, disk.Stat, error) {
	st, err := disk.StatFile(f)
	if err != nil || st.Size < compileAbove {
		return compiledHead{Size: st.Size}, st, err
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err = io.CopyBuffer(sum, io.NewSectionReader(f, 0, st.Size), make([]byte, 256<<10)); err != nil {
		return compiledHead{}, st, err
	}
	return compiledHead{Size: st.Size, Mtime: st.Mtime, Sum: uint64(sum.Sum32()), Dev: st.Dev, Ino: st.Ino, Form: formOf(isAlias, fold)}, st, nil
}

// Compile does what postmap(1) does with a source: it checks it, and writes the
// compiled form of a large one, with the source's owner and mode. The problems
// are those of Check.
func Compile(name string, o Options) ([]string, error) {
	path := resolve(name, o)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, st, err := headOf(f, o.Alias, !o.NoFold)
	if err != nil {
		return nil, err
	}
	x, problems, err := compileIndex(f, name, o.Alias, !o.NoFold)
	if err != nil {
		return problems, err
	}
	if after, _, err := headOf(f, o.Alias, !o.NoFold); err != nil || after != head || head.Size < compileAbove {
		// It is being changed just now, or is small: the text alone counts.
		os.Remove(path + compiledSuffix) // there may be none
		return problems, err
	}
	return problems, writeCompiled(path+compiledSuffix, x, head, st)
}

// writeCompiled puts the file in place in one step.
func writeCompiled(path string, x *index, head compiledHead, st disk.Stat) error {
	x.fix(rand.Uint64() | 1)
	head.Seed, head.Entries, head.Slots, head.Text = x.fixed, uint64(len(x.start)), uint64(len(x.slots)), uint64(len(x.text))
	var b bytes.Buffer
	b.Grow(len(x.text) + 4*len(x.start) + 4*len(x.slots) + 128)
	b.WriteString(compiledMagic)
	for _, part := range []any{head, x.start, x.slots} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return err
		}
	}
	b.WriteString(x.text)
	sum := crc32.Checksum(b.Bytes(), crc32.MakeTable(crc32.Castagnoli))
	data := binary.LittleEndian.AppendUint32(b.Bytes(), sum)
	if err := disk.WriteFile(path, data, st.Mode); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return os.Lchown(path, st.UID, st.GID)
	}
	return nil
}

// loadCompiled returns the compiled form of the open source, nil where there is
// none that can be believed.
func loadCompiled(f *os.File, path string, isAlias, fold bool, o Options) *index {
	want, st, err := headOf(f, isAlias, fold)
	if err != nil || st.Size < compileAbove {
		return nil
	}
	c, err := o.open(path + compiledSuffix)
	if err != nil {
		return nil
	}
	defer c.Close()
	own, err := disk.StatFile(c)
	if err != nil || !own.Regular || own.UID != st.UID || own.Size > maxArena {
		return nil
	}
	data := make([]byte, own.Size)
	if n, err := c.ReadAt(data, 0); n != len(data) {
		_ = err // shorter than it was said to be: somebody writes it
		return nil
	}
	x, err := parseCompiled(data, want)
	if err != nil {
		return nil
	}
	return x
}

// parseCompiled reads the file's content, if it is of the source that want
// describes and nothing in it leads astray.
func parseCompiled(data []byte, want compiledHead) (*index, error) {
	const headSize = 10 * 8
	begin := len(compiledMagic) + headSize
	if len(data) < begin+4 || string(data[:len(compiledMagic)]) != compiledMagic {
		return nil, fmt.Errorf("no compiled table")
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	var h compiledHead
	if _, err := binary.Decode(body[len(compiledMagic):], binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	same := h
	same.Seed, same.Entries, same.Slots, same.Text = 0, 0, 0, 0
	rest := uint64(len(body) - begin)
	switch {
	case same != want:
		return nil, fmt.Errorf("of another source")
	case h.Entries > rest/4 || h.Slots > rest/4 || h.Text > rest || 4*h.Entries+4*h.Slots+h.Text != rest,
		h.Seed == 0, h.Slots == 0 || h.Slots&(h.Slots-1) != 0 || h.Entries >= h.Slots:
		return nil, fmt.Errorf("its numbers do not fit")
	case crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum:
		return nil, fmt.Errorf("damaged")
	}
	x := &index{fixed: h.Seed, start: make([]uint32, h.Entries), slots: make([]uint32, h.Slots)}
	body = body[begin:]
	for _, list := range [][]uint32{x.start, x.slots} {
		for i := range list {
			list[i] = binary.LittleEndian.Uint32(body[4*i:])
		}
		body = body[4*len(list):]
	}
	x.text = string(body)
	return x, x.check()
}

// check walks over all entries: they must follow each other to the end.
func (x *index) check() error {
	at := uint64(0)
	for _, s := range x.start {
		if uint64(s) != at {
			return fmt.Errorf("an entry begins at %d, not at %d", s, at)
		}
		for range 2 {
			n, w := binary.Uvarint([]byte(x.text[at:min(at+10, uint64(len(x.text)))]))
			if w <= 0 || n > uint64(len(x.text)) || at+uint64(w)+n > uint64(len(x.text)) {
				return fmt.Errorf("the entry at %d goes beyond the end", at)
			}
			at += uint64(w) + n
		}
	}
	if at != uint64(len(x.text)) {
		return fmt.Errorf("text behind the last entry")
	}
	free := false
	for _, s := range x.slots {
		free = free || s == 0
		if uint64(s) > uint64(len(x.start)) {
			return fmt.Errorf("a slot leads to no entry")
		}
	}
	if !free {
		return fmt.Errorf("no free slot")
	}
	return nil
}

// fix places all entries by a hash that is the same in every process.
func (x *index) fix(seed uint64) {
	x.fixed = seed
	clear(x.slots)
	mask := len(x.slots) - 1
	for n := range x.start {
		k, _ := x.entry(n)
		i := int(x.hash(k)) & mask
		for x.slots[i] != 0 {
			i = (i + 1) & mask
		}
		x.slots[i] = uint32(n + 1)
	}
}

// fnv is the hash FNV-1a (64 bit) begun with a seed, its halves mixed.
func fnv(seed uint64, key string) uint64 {
	h := uint64(14695981039346656037) ^ seed
	for i := 0; i < len(key); i++ {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return h ^ h>>32
}
