package index

import (
	"iter"
	"os"

	"packetboat/internal/sys/disk"
)

// minWaste is how many octets of values that nobody can ask for are left alone.
const minWaste = 256 << 10

// wasteful tells whether more than half of the file is of no use.
func (x *File) wasteful(uids iter.Seq[uint32]) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.f == nil || x.readOnly || x.end < minWaste {
		return false
	}
	var live int64
	for k := range x.tables {
		for _, e := range alive(x.tables[k], uids) {
			live += int64(aligned(valueHead+int(e.n))) + dirEntry
		}
	}
	return x.end-headSize-live > max(minWaste, live)
}

// alive returns those entries of a table whose messages are there.
func alive(t []entry, uids iter.Seq[uint32]) []entry {
	var out []entry
	i := 0
	for uid := range uids {
		for i < len(t) && t[i].uid < uid {
			i++
		}
		if i < len(t) && t[i].uid == uid {
			out = append(out, t[i])
		}
	}
	return out
}

// rewrite writes the file anew with what is of use, unless another process
// writes. Whoever has the old one open goes on reading it, and finds the new one
// under its lock or at the next Refresh. writing is held.
func (x *File) rewrite(uids iter.Seq[uint32]) {
	f, ok, err := x.locked()
	if err != nil || !ok {
		return
	}
	defer disk.Unlock(f)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.load()
	to, err := newFile(x.path+".new", x.validity)
	if err != nil {
		return
	}
	defer to.Close()
	if err = x.copyTo(to, uids); err == nil {
		err = os.Rename(x.path+".new", x.path)
	}
	if err != nil {
		os.Remove(x.path + ".new")
	}
}

// copyTo writes the values of messages that are there, kind by kind.
func (x *File) copyTo(to *os.File, uids iter.Seq[uint32]) error {
	off := int64(headSize)
	var items []item
	size := 0
	flush := func() error {
		b := encodeBatch(items, func(int, int) {})
		_, err := to.WriteAt(b, off)
		off, items, size = off+int64(len(b)), nil, 0
		return err
	}
	for k := range x.tables {
		items = append(items, item{uint32(k), nameKind, 0, []byte(x.names[k])})
		for _, e := range alive(x.tables[k], uids) {
			tag, value, ok := x.read(nil, Kind(k), &e)
			if !ok {
				continue
			}
			items = append(items, item{e.uid, uint8(k), tag, value})
			if size += len(value); size >= batchFull || len(items) >= maxEntries-maxKinds {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}
