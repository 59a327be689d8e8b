package index

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
)

// The file is a head and batches, little endian, each part a multiple of 8 octets:
//
//	head    magic 8, UIDVALIDITY 4, 0 4, generation 8, CRC-32C of these 4, 0 4
//	batch   magic 4, entries 4, octets of the whole batch 4, CRC-32C of these and of the directory 4
//	        directory: for each entry its UID 4, kind << 24 | octets 4
//	        for each entry: tag 4, CRC-32C of the tag and the value 4, the value, zeros
//
// An entry of kind nameKind gives the kind whose number stands for its UID a
// name. Of two entries for one message and kind the later one counts.
const (
	fileMagic  = "pbindex1"
	headSize   = 32
	batchMagic = 0x31427062
	batchHead  = 16
	dirEntry   = 8
	valueHead  = 8
	nameKind   = 255

	// Limits of what is written, and of what is believed when it is read.
	maxBatch   = 2 << 20
	maxEntries = 16 << 10
	maxValue   = 64 << 10
	maxKinds   = 24
	maxName    = 1 << 10
	maxFile    = 1 << 30
)

// errTorn is the end of what can be read: somebody writes there at this moment,
// or died while doing so.
var errTorn = errors.New("index: torn")

// castagnoli is made when it is wanted, and kept by crc32.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func aligned(n int) int { return (n + 7) &^ 7 }

// encodeHead writes the head of a file.
func encodeHead(validity uint32, generation uint64) []byte {
	b := make([]byte, headSize)
	copy(b, fileMagic)
	binary.LittleEndian.PutUint32(b[8:], validity)
	binary.LittleEndian.PutUint64(b[16:], generation)
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli()))
	return b
}

// decodeHead reads it; ok is false for what is none.
func decodeHead(b []byte) (validity uint32, generation uint64, ok bool) {
	if len(b) < headSize || string(b[:8]) != fileMagic ||
		binary.LittleEndian.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli()) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[16:]), true
}

// item is one entry on its way to disk.
type item struct {
	uid   uint32
	kind  uint8
	tag   uint32
	value []byte
}

// encodeBatch writes a batch, and hands out where each value head stands in it.
func encodeBatch(items []item, at func(i, off int)) []byte {
	le := binary.LittleEndian
	total := batchHead + len(items)*dirEntry
	for i := range items {
		total += aligned(valueHead + len(items[i].value))
	}
	b := make([]byte, batchHead, total)
	for i := range items {
		b = le.AppendUint32(b, items[i].uid)
		b = le.AppendUint32(b, uint32(items[i].kind)<<24|uint32(len(items[i].value)))
	}
	le.PutUint32(b, batchMagic)
	le.PutUint32(b[4:], uint32(len(items)))
	le.PutUint32(b[8:], uint32(total))
	le.PutUint32(b[12:], batchSum(b))
	for i := range items {
		at(i, len(b))
		b = appendValue(b, &items[i])
	}
	return b
}

// batchSum is the checksum of a batch's head and directory, which are b.
func batchSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli(), b[:12])
	return crc32.Update(sum, castagnoli(), b[batchHead:])
}

func appendValue(b []byte, it *item) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = le.AppendUint32(b, it.tag)
	b = le.AppendUint32(b, 0)
	b = append(b, it.value...)
	le.PutUint32(b[start+4:], valueSum(b[start:]))
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// valueSum is the checksum of a value with its head.
func valueSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli(), b[:4])
	return crc32.Update(sum, castagnoli(), b[valueHead:])
}

// readBatch reads the directory of the batch at off in a file of size octets,
// calls fn for each entry, and returns where the next batch stands.
func readBatch(f io.ReaderAt, off, size int64, buf []byte, fn func(uid uint32, kind uint8, at int64, n int)) (int64, error) {
	le := binary.LittleEndian
	if size-off < batchHead {
		return 0, errTorn
	}
	n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
	if n < batchHead {
		return 0, errors.Join(errTorn, err)
	}
	b := buf[:n]
	count, total := int64(le.Uint32(b[4:])), int64(le.Uint32(b[8:]))
	dir := batchHead + count*dirEntry
	if le.Uint32(b) != batchMagic || count > maxEntries || total > maxBatch || total%8 != 0 || dir > total || off+total > size {
		return 0, errTorn
	}
	if dir > int64(len(b)) {
		b = make([]byte, dir)
		if _, err := f.ReadAt(b, off); err != nil {
			return 0, errors.Join(errTorn, err)
		}
	}
	if b = b[:dir]; le.Uint32(b[12:]) != batchSum(b) || bodySize(b[batchHead:])+dir != total {
		return 0, errTorn
	}
	at := off + dir
	for d := b[batchHead:]; len(d) > 0; d = d[dirEntry:] {
		size := int(le.Uint32(d[4:]) & (1<<24 - 1))
		fn(le.Uint32(d), d[7], at, size)
		at += int64(aligned(valueHead + size))
	}
	return off + total, nil
}

// bodySize sums up what a directory says of its values.
func bodySize(dir []byte) (n int64) {
	for ; len(dir) > 0; dir = dir[dirEntry:] {
		n += int64(aligned(valueHead + int(binary.LittleEndian.Uint32(dir[4:])&(1<<24-1))))
	}
	return n
}

// readValue reads the value whose head stands at off onto dst.
func readValue(f *os.File, dst []byte, off int64, n int) (tag uint32, value []byte, ok bool) {
	b := make([]byte, valueHead+n)
	if _, err := f.ReadAt(b, off); err != nil {
		return 0, dst, false
	}
	return checkValue(dst, b)
}

// checkValue appends the value behind its head onto dst, if its sum is right.
func checkValue(dst, b []byte) (tag uint32, value []byte, ok bool) {
	if binary.LittleEndian.Uint32(b[4:]) != valueSum(b) {
		return 0, dst, false
	}
	return binary.LittleEndian.Uint32(b), append(dst, b[valueHead:]...), true
}
