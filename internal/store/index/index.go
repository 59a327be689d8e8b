// Package index keeps what was worked out about the messages of one mailbox, so
// that it need not be worked out again: envelopes and structures ready to send,
// header fields, text to search in. It knows only UIDs, kinds of values and
// octets; what they mean is the caller's (serve/imapd).
//
// Nothing in the file is worth a repair: it can be deleted at any time, what is
// torn or does not fit is computed again, and a full disk means that it stays as
// it is. Several processes may use one file: they append under a lock that
// nobody waits for, and see what others appended at the next Refresh. Values
// are written behind the caller's back, a quarter of a second after the first one.
//
// Memory: 12 octets a value in the file, one window of 64 KB a kind in use, and
// at most 4 MB that wait to be written; all of it is shared by the sessions that
// have the mailbox open, and given up with the last of them.
package index

import (
	"cmp"
	"os"
	"slices"
	"sync"
	"time"

	"packetboat/internal/sys/disk"
)

// Kind names one sort of values within this process.
type Kind int

// None is the kind that nothing is kept of.
const None Kind = -1

// entry is where a value stands: at off*8 in the file its head, with n octets behind it.
type entry struct {
	uid, off, n uint32
}

// File is the index of one mailbox. It is safe for many goroutines.
type File struct {
	path     string
	validity uint32

	mu       sync.Mutex
	f        *os.File
	opened   bool
	readOnly bool // nothing can be written, now and until it is opened again
	closed   bool
	end      int64 // of the batches that are known

	names  []string // by Kind
	asked  []bool   // somebody in this process wants the kind
	tables [][]entry
	wins   []window
	byFile map[uint8]Kind // what the numbers in the file mean

	writing sync.Mutex // held by whoever writes; taken before mu
	pend    *batch
	sealed  []*batch
	timer   *time.Timer
}

// New returns the index at path for a mailbox of that UIDVALIDITY; an empty path
// keeps nothing. The file is opened when somebody asks for something.
func New(path string, validity uint32) *File {
	return &File{path: path, validity: validity, opened: path == "", readOnly: path == "", pend: newBatch()}
}

// Validity returns the UIDVALIDITY that the values belong to.
func (x *File) Validity() uint32 { return x.validity }

// Kind returns the number of a kind; None when there are too many already, or
// no index (x is nil). Another form of the values must have another name.
func (x *File) Kind(name string) Kind {
	if x == nil {
		return None
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open()
	k := x.kind(name)
	if i := slices.Index(x.asked, false); k == None && i >= 0 && len(name) <= maxName {
		k = Kind(i) // in place of one that older programs have written
		x.forget(k)
		x.names[k] = name
	}
	if k >= 0 {
		x.asked[k] = true
	}
	return k
}

func (x *File) kind(name string) Kind {
	if i := slices.Index(x.names, name); i >= 0 {
		return Kind(i)
	}
	if len(x.names) >= maxKinds || len(name) > maxName {
		return None
	}
	x.names, x.tables, x.wins = append(x.names, name), append(x.tables, nil), append(x.wins, window{})
	x.asked = append(x.asked, false)
	return Kind(len(x.names) - 1)
}

// forget passes over all values of a kind. mu is held.
func (x *File) forget(k Kind) {
	x.tables[k], x.wins[k] = nil, window{}
	for n, known := range x.byFile {
		if known == k {
			x.byFile[n] = None
		}
	}
}

// Append appends a message's value to dst. tag must be the one that the value
// was kept with: it says that the message is still the same one.
func (x *File) Append(dst []byte, k Kind, uid, tag uint32) ([]byte, bool) {
	if k < 0 {
		return dst, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.find(k, uid); e != nil {
		was, out, ok := x.read(dst, k, e)
		if ok && was == tag {
			return out, true
		}
		dst = out[:len(dst)]
	}
	for i := len(x.sealed) - 1; i >= -1; i-- {
		b := x.pend
		if i >= 0 {
			b = x.sealed[i]
		}
		if v, ok := b.get(k, uid, tag); ok {
			return append(dst, v...), true
		}
	}
	return dst, false
}

// find returns the entry of a message, nil when there is none. Whoever asks for
// messages in their order finds the next one at once.
func (x *File) find(k Kind, uid uint32) *entry {
	t, w := x.tables[k], &x.wins[k]
	if w.next < len(t) && t[w.next].uid == uid {
		w.next++
		return &t[w.next-1]
	}
	i, ok := slices.BinarySearchFunc(t, uid, func(e entry, uid uint32) int { return cmp.Compare(e.uid, uid) })
	if !ok {
		return nil
	}
	w.next = i + 1
	return &t[i]
}

// Refresh takes notice of what other processes have written.
func (x *File) Refresh() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.f == nil {
		x.opened = x.path == "" || x.closed
		x.open()
		return
	}
	if _, err := disk.StatPath(x.path); err == nil && !x.named(x.f) {
		x.drop() // another process has written it anew
		x.open()
		return
	}
	x.load()
}

// open opens the file, if there is one of this mailbox, and reads what it holds.
// mu is held.
func (x *File) open() {
	if x.opened {
		return
	}
	x.opened = true
	f, _, err := disk.OpenStat(x.path, os.O_RDWR, -1)
	if disk.Denied(err) {
		x.readOnly = true
		f, _, err = disk.OpenStat(x.path, os.O_RDONLY, -1)
	}
	if err != nil {
		return
	}
	if !x.adopt(f) {
		f.Close()
	}
}

// adopt begins to use an open file; false when it belongs to other UIDs, or is
// no index at all.
func (x *File) adopt(f *os.File) bool {
	if !x.ours(f) {
		return false
	}
	x.f, x.end, x.byFile = f, headSize, map[uint8]Kind{}
	x.load()
	return true
}

// ours tells whether a file begins as an index of this mailbox does.
func (x *File) ours(f *os.File) bool {
	b := make([]byte, headSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return false
	}
	validity, _, ok := decodeHead(b)
	return ok && validity == x.validity
}

// load reads the batches behind those that are known. mu is held.
func (x *File) load() {
	if x.f == nil {
		return
	}
	st, err := disk.StatFile(x.f)
	if err != nil || st.Size <= x.end {
		return
	}
	buf := make([]byte, 16<<10)
	fresh := make([][]entry, maxKinds)
	for size := min(st.Size, maxFile+maxBatch); x.end < size; {
		next, err := readBatch(x.f, x.end, size, buf, func(uid uint32, kind uint8, at int64, n int) {
			x.note(fresh, uid, kind, at, n)
		})
		if err != nil {
			break
		}
		x.end = next
	}
	for k, list := range fresh {
		if len(list) > 0 {
			x.merge(Kind(k), list)
		}
	}
}

// note takes in one entry of the file.
func (x *File) note(fresh [][]entry, uid uint32, kind uint8, at int64, n int) {
	if kind == nameKind {
		if n > maxName {
			return
		}
		if _, name, ok := readValue(x.f, nil, at, n); ok {
			x.byFile[uint8(uid)] = x.kind(string(name))
		}
		return
	}
	if k, ok := x.byFile[kind]; ok && k >= 0 && n <= maxValue {
		fresh[k] = append(fresh[k], entry{uid, uint32(at / 8), uint32(n)})
	}
}

// merge adds entries to a table; of two for one UID the later one counts.
func (x *File) merge(k Kind, list []entry) {
	byUID := func(a, b entry) int { return cmp.Compare(a.uid, b.uid) }
	if !slices.IsSortedFunc(list, byUID) {
		slices.SortStableFunc(list, byUID)
	}
	old := x.tables[k]
	if len(old) == 0 || old[len(old)-1].uid < list[0].uid {
		x.tables[k] = lastOf(append(old, list...), len(old))
		return
	}
	out := make([]entry, 0, len(old)+len(list))
	for len(old) > 0 && len(list) > 0 {
		if old[0].uid <= list[0].uid {
			out, old = append(out, old[0]), old[1:]
		} else {
			out, list = append(out, list[0]), list[1:]
		}
	}
	x.tables[k] = lastOf(append(append(out, old...), list...), 0)
}

// lastOf keeps, from an index on, the last of the entries for each UID.
func lastOf(t []entry, from int) []entry {
	out := t[:from]
	for i := from; i < len(t); i++ {
		if i+1 == len(t) || t[i+1].uid != t[i].uid {
			out = append(out, t[i])
		}
	}
	return out
}

// drop forgets the open file. mu is held.
func (x *File) drop() {
	if x.f != nil {
		x.f.Close()
	}
	x.f, x.opened, x.end = nil, x.path == "" || x.closed, 0
	clear(x.tables)
	clear(x.wins)
}
