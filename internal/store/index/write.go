package index

import (
	"errors"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"packetboat/internal/sys/disk"
)

// Values wait for a while, so that many are written at once.
const (
	lazy      = 250 * time.Millisecond
	batchFull = 256 << 10 // octets of values after which a batch is written at once
	maxSealed = 16        // batches that wait; what comes while so many do is not kept
	tries     = 40        // of taking the lock, lazy apart
)

// batch is values that are not written yet.
type batch struct {
	items []item // kind is still the Kind of this process
	where map[uint64]int
	size  int
}

func newBatch() *batch { return &batch{where: map[uint64]int{}} }

func key(k Kind, uid uint32) uint64 { return uint64(k)<<32 | uint64(uid) }

func (b *batch) get(k Kind, uid, tag uint32) ([]byte, bool) {
	i, ok := b.where[key(k, uid)]
	if !ok || b.items[i].tag != tag {
		return nil, false
	}
	return b.items[i].value, true
}

// add takes over the values of a later batch.
func (b *batch) add(later *batch) {
	for i := range later.items {
		it := &later.items[i]
		b.where[key(Kind(it.kind), it.uid)] = len(b.items)
		b.items = append(b.items, *it)
	}
	b.size += later.size
}

// Put keeps a value of a message. It never waits; what is too large, or comes
// faster than it can be written, is not kept.
func (x *File) Put(k Kind, uid, tag uint32, value []byte) {
	if k < 0 || len(value) > maxValue {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.readOnly || x.closed || len(x.sealed) >= maxSealed || x.end > maxFile {
		return
	}
	b := x.pend
	if _, twice := b.where[key(k, uid)]; twice {
		return
	}
	b.where[key(k, uid)] = len(b.items)
	b.items = append(b.items, item{uid, uint8(k), tag, slices.Clone(value)})
	b.size += len(value)
	if b.size >= batchFull || len(b.items) >= maxEntries-maxKinds {
		x.seal()
		go x.writeAll(1)
		return
	}
	if x.timer == nil {
		x.timer = time.AfterFunc(lazy, func() { x.writeLater(tries) })
	}
}

// seal makes the batch one that can be written. What several calls give while
// another process writes becomes one batch, so that it is octets that are
// limited, not calls; the first batch is left alone, since it may be on its way
// to disk. mu is held.
func (x *File) seal() {
	n := len(x.pend.items)
	if n == 0 {
		return
	}
	if len(x.sealed) > 1 {
		last := x.sealed[len(x.sealed)-1]
		if last.size+x.pend.size <= batchFull && len(last.items)+n <= maxEntries-maxKinds {
			last.add(x.pend)
			x.pend = newBatch()
			return
		}
	}
	x.sealed = append(x.sealed, x.pend)
	x.pend = newBatch()
}

// writeLater writes what waits; while another process writes it tries again.
func (x *File) writeLater(left int) {
	x.mu.Lock()
	x.timer = nil
	x.seal()
	closed := x.closed
	x.mu.Unlock()
	if !closed && !x.writeAll(1) && left > 0 {
		x.mu.Lock()
		if x.timer == nil && !x.closed {
			x.timer = time.AfterFunc(lazy, func() { x.writeLater(left - 1) })
		}
		x.mu.Unlock()
	}
}

// writeAll writes the sealed batches, and tells whether all are written. The
// waits between its attempts grow by a millisecond.
func (x *File) writeAll(attempts int) bool {
	x.writing.Lock()
	defer x.writing.Unlock()
	for waited := time.Duration(0); ; {
		x.mu.Lock()
		empty := len(x.sealed) == 0
		x.mu.Unlock()
		if empty {
			return true
		}
		ok, err := x.writeOne()
		if passing(err) {
			ok, err = false, nil
		}
		if err != nil {
			x.giveUp()
			return true
		}
		if ok {
			continue
		}
		if attempts--; attempts <= 0 {
			return false
		}
		waited += time.Millisecond
		time.Sleep(waited)
	}
}

// errBusy: another process makes the file, or removes it, at this moment.
var errBusy = errors.New("index: busy")

// passing tells whether an error is of others who work on the same names or the
// same handle, and says nothing against the next attempt.
func passing(err error) bool {
	return errors.Is(err, errBusy) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrClosed)
}

// giveUp keeps nothing more: the disk is full, or the folder not ours.
func (x *File) giveUp() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.readOnly, x.sealed, x.pend = true, nil, newBatch()
}

// writeOne appends the oldest batch; ok is false while another process writes.
// writing is held.
func (x *File) writeOne() (ok bool, err error) {
	f, ok, err := x.locked()
	if err != nil || !ok {
		return ok, err
	}
	defer disk.Unlock(f)
	x.mu.Lock()
	if len(x.sealed) == 0 {
		x.mu.Unlock()
		return true, nil
	}
	x.load() // what others wrote comes before ours
	b, end := x.sealed[0], x.end
	items, kinds := x.forFile(b)
	x.mu.Unlock()
	if items == nil {
		return false, errKinds
	}
	fresh := make([][]entry, maxKinds)
	names := len(items) - len(b.items)
	data := encodeBatch(items, func(i, off int) {
		if i >= names {
			it := &b.items[i-names]
			fresh[it.kind] = append(fresh[it.kind], entry{it.uid, uint32((end + int64(off)) / 8), uint32(len(it.value))})
		}
	})
	// A dead writer may have left a torn batch behind the end.
	if err = f.Truncate(end); err == nil {
		_, err = f.WriteAt(data, end)
	}
	if err != nil {
		return false, errors.Join(err, f.Truncate(end))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.f != f { // closed meanwhile
		return true, nil
	}
	for n, k := range kinds {
		x.byFile[n] = k
	}
	x.end = end + int64(len(data))
	for k, list := range fresh {
		if len(list) > 0 {
			x.merge(Kind(k), list)
		}
	}
	x.sealed = x.sealed[1:]
	return true, nil
}

// locked returns the file, made if need be, with its lock taken.
func (x *File) locked() (f *os.File, ok bool, err error) {
	for range 3 {
		x.mu.Lock()
		if x.f == nil && x.closed {
			x.mu.Unlock()
			return nil, false, fs.ErrClosed
		}
		if x.f == nil {
			x.opened = false
			if x.open(); x.f == nil {
				err = x.create()
			}
		}
		f = x.f
		x.mu.Unlock()
		if err != nil || f == nil {
			return nil, false, err
		}
		if ok, err = disk.TryLock(f); err != nil || !ok {
			return nil, false, err
		}
		if x.named(f) {
			return f, true, nil
		}
		disk.Unlock(f)
		x.mu.Lock()
		x.drop() // deleted, or written anew by another process
		x.mu.Unlock()
	}
	return nil, false, nil
}

// errKinds: the file names more kinds than any program of ours wants.
var errKinds = errors.New("index: too many kinds")

// named tells whether an open file is the one that has the path now.
func (x *File) named(f *os.File) bool {
	named, err1 := disk.StatPath(x.path)
	st, err2 := disk.StatFile(f)
	return err1 == nil && err2 == nil && named.Ino == st.Ino && named.Dev == st.Dev
}

// create makes a new file in place of what there is, which is none of ours. The
// lock of the old one, made for the purpose where there is none, says who may:
// of several who find no index one writes it, and nobody replaces a file that
// another has begun to fill. mu is held.
func (x *File) create() error {
	if x.readOnly {
		return fs.ErrPermission
	}
	if err := os.MkdirAll(filepath.Dir(x.path), 0o700); err != nil {
		return err
	}
	old, err := disk.OpenFile(x.path, os.O_RDWR|os.O_CREATE|disk.NoFollow, 0o600)
	if err != nil {
		return err
	}
	defer old.Close() // and with it the lock
	if ok, err := disk.TryLock(old); err != nil {
		return err
	} else if !ok || !x.named(old) || x.ours(old) {
		return errBusy
	}
	f, err := newFile(x.path+".new", x.validity)
	if err != nil {
		return err
	}
	if err = os.Rename(x.path+".new", x.path); err == nil && !x.adopt(f) {
		err = errBusy // there is no head where one was written: somebody else's file
	}
	if err != nil {
		f.Close()
	}
	return err
}

func newFile(path string, validity uint32) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := disk.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|disk.NoFollow, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(encodeHead(validity, rand.Uint64()), 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// forFile gives the values of a batch the numbers that their kinds have in the
// file, with entries in front that name those which have none. mu is held.
func (x *File) forFile(b *batch) (items []item, fresh map[uint8]Kind) {
	number := map[Kind]uint8{}
	for n, k := range x.byFile {
		number[k] = n
	}
	if len(x.byFile) > nameKind-maxKinds {
		return nil, nil
	}
	fresh = map[uint8]Kind{}
	next := uint8(len(x.byFile))
	for i := range b.items {
		k := Kind(b.items[i].kind)
		if _, ok := number[k]; !ok {
			number[k], fresh[next] = next, k
			items = append(items, item{uint32(next), nameKind, 0, []byte(x.names[k])})
			next++
		}
	}
	items = slices.Grow(items, len(b.items))
	for i := range b.items {
		it := b.items[i]
		it.kind = number[Kind(it.kind)]
		items = append(items, it)
	}
	return items, fresh
}

// Flush writes what waits, unless another process writes all the time.
func (x *File) Flush() {
	x.mu.Lock()
	x.seal()
	x.mu.Unlock()
	x.writeAll(tries)
}

// Close writes what waits and gives up file and memory. uids are the messages
// that there are, rising: where most of the file belongs to others it is
// written anew.
func (x *File) Close(uids iter.Seq[uint32]) {
	x.Flush()
	x.writing.Lock()
	defer x.writing.Unlock()
	if uids != nil && x.wasteful(uids) {
		x.rewrite(uids)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	x.drop()
	if x.timer != nil {
		x.timer.Stop()
	}
}
