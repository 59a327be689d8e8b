package index

// windowSize is how much of the file is read at a time for one kind, because
// clients ask for the messages in their order, and values stand in it, too.
const (
	windowSize = 64 << 10
	smallRead  = 4 << 10
)

// window is the part of the file that was read last for one kind.
type window struct {
	off  int64
	buf  []byte
	next int // index of the entry that will be asked for next
}

// read reads the value of an entry onto dst. mu is held.
func (x *File) read(dst []byte, k Kind, e *entry) (tag uint32, out []byte, ok bool) {
	w := &x.wins[k]
	off, n := int64(e.off)*8, valueHead+int(e.n)
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		if !w.fill(x, off, n) {
			return 0, dst, false
		}
	}
	at := int(off - w.off)
	return checkValue(dst, w.buf[at:at+n])
}

// fill reads the window that holds n octets at off. Where the reader does not
// go forwards little is read in advance.
func (w *window) fill(x *File, off int64, n int) bool {
	want := smallRead
	if end := w.off + int64(len(w.buf)); off >= w.off && off < end+windowSize {
		want = windowSize
	}
	want = int(min(int64(max(want, n)), x.end-off))
	if want < n {
		return false
	}
	if cap(w.buf) < want {
		w.buf = make([]byte, max(want, windowSize))
	}
	w.off, w.buf = off, w.buf[:want]
	if _, err := x.f.ReadAt(w.buf, off); err != nil {
		w.buf = w.buf[:0]
		return false
	}
	return true
}
