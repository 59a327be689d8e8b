// Package pieces is a view of a text that is being changed: a list of pieces of
// several sources. A change costs a piece or two, however long the text is; nothing
// is moved before the whole is read. receive/intake keeps so what milters make of a
// message, which stands in its queue file, until the last one has had its say.
package pieces

import (
	"io"
	"slices"
)

// piece is n octets of src from off on.
type piece struct {
	src    io.ReaderAt
	off, n int64
}

// Table is a text made of pieces. It is used by one goroutine; readers see the
// text as it was when they were made.
type Table struct {
	list    []piece
	size    int64
	changed bool
}

// New returns the text that src holds, size octets long.
func New(src io.ReaderAt, size int64) *Table {
	t := &Table{size: size}
	if size > 0 {
		t.list = []piece{{src, 0, size}}
	}
	return t
}

// Size returns the length of the text in octets.
func (t *Table) Size() int64 { return t.size }

// Changed tells whether Splice changed anything.
func (t *Table) Changed() bool { return t.changed }

// Pieces returns of how many pieces the text consists.
func (t *Table) Pieces() int { return len(t.list) }

// Splice puts the first n octets of src in place of the cut octets from off on.
// What stands outside of the text is not cut. n may be 0.
func (t *Table) Splice(off, cut int64, src io.ReaderAt, n int64) {
	off = min(max(off, 0), t.size)
	cut = min(max(cut, 0), t.size-off)
	if cut == 0 && n <= 0 {
		return
	}
	first := t.split(off)
	last := t.split(off + cut)
	var in []piece
	if n > 0 {
		in = []piece{{src, 0, n}}
	}
	// A new list: readers hold the old one.
	t.list = slices.Concat(t.list[:first], in, t.list[last:])
	t.size += n - cut
	t.changed = true
}

// split sees to it that a piece begins at off and returns its index.
func (t *Table) split(off int64) int {
	for i, p := range t.list {
		if off == 0 {
			return i
		}
		if off < p.n {
			t.list = slices.Concat(t.list[:i], []piece{{p.src, p.off, off}, {p.src, p.off + off, p.n - off}}, t.list[i+1:])
			return i + 1
		}
		off -= p.n
	}
	return len(t.list)
}

// Reader returns a reader over the text from off on.
func (t *Table) Reader(off int64) io.Reader {
	r := &reader{list: t.list}
	for len(r.list) > 0 && off >= r.list[0].n {
		off -= r.list[0].n
		r.list = r.list[1:]
	}
	r.off = off
	return r
}

// reader reads pieces one after the other.
type reader struct {
	list []piece
	off  int64 // within list[0]
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.list) > 0 {
		at := r.list[0]
		left := at.n - r.off
		if left <= 0 {
			r.list, r.off = r.list[1:], 0
			continue
		}
		n, err := at.src.ReadAt(p[:min(int64(len(p)), left)], at.off+r.off)
		r.off += int64(n)
		if n > 0 {
			return n, nil
		}
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	return 0, io.EOF
}
