package mbox

import (
	"errors"
	"io"
	"slices"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/store/mbox/known"
	"packetboat/internal/sys/disk"
)

// rewrite is one change of the file: new own header lines for some messages,
// and messages that go away.
type rewrite struct {
	m      *mailbox
	s      *known.State // as the file is, with the flags as they shall be
	drop   map[uint32]bool
	number bool // every message gets its X-UID
	first  int  // index of the first message that stays; it holds X-IMAPbase
	buf    []byte

	cut     *collapse       // is how messages went
	patches []journal.Patch // lines that fit their room, not yet written
	held    int             // octets of them
}

// write brings the file up to the state, without the messages of drop, and
// returns when that is on disk. mu is held.
//
// Lines that fit are written over the old ones, one write(2) a message; where
// that write is more than one disk sector, which a power cut could tear, all go
// through a journal first. Messages in the middle of a large file are cut out of
// it where that can be done (collapse); else, from the first message on that goes
// or grows, the file is written anew. Both go through a journal. Every step leaves
// a sound mailbox; see package journal.
func (m *mailbox) write(drop map[uint32]bool) error {
	for range 3 {
		if m.f == nil {
			if err := m.refresh(); err != nil || m.f == nil {
				return err
			}
		}
		err := m.writeOnce(drop)
		if !errors.Is(err, errReplaced) {
			return err
		}
		if err := m.refresh(); err != nil {
			return err
		}
	}
	return errReplaced
}

func (m *mailbox) writeOnce(drop map[uint32]bool) error {
	lock, err := m.lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := sameFile(m.path, m.f); err != nil {
		return err
	}
	before, err := disk.StatFile(m.f)
	if err != nil {
		return err
	}
	if err := m.rescan(); err != nil {
		return err
	}
	r := &rewrite{m: m, s: m.state.Load(), drop: drop}
	if !r.prepare() {
		return nil
	}
	m.view.Lock()
	m.read.drop()
	moved, err := r.run()
	m.view.Unlock()
	if err != nil {
		return err
	}
	return r.publish(before, moved)
}

// prepare decides what there is to do; false when nothing.
func (r *rewrite) prepare() bool {
	s := r.s
	r.first = -1
	gone := false
	for i := range s.Recs {
		if r.drop[s.Snap.Msgs[i].UID] {
			gone = true
		} else if r.first < 0 {
			r.first = i
		}
	}
	if !gone && !s.AnyDirty() && s.Derives() {
		return false
	}
	// Once messages go, or the file's first line must be written anyway, the
	// file names every UID: nobody can count them any more.
	r.number = gone || !s.Derives() || !s.Numbered() && s.Dirty(max(r.first, 0))
	return true
}

// keeps tells whether message i stays.
func (r *rewrite) keeps(i int) bool { return !r.drop[r.s.Snap.Msgs[i].UID] }

// want returns what the own lines of message i shall say; false when they do.
func (r *rewrite) want(i int) (format.Wanted, bool) {
	m, rec, n := &r.s.Snap.Msgs[i], &r.s.Recs[i], r.s.Snap
	w := format.Wanted{Names: n.Keywords, Uid: rec.Uid, Flags: m.Flags, Kw: m.Keywords, Old: rec.Old}
	change := r.s.Dirty(i)
	if r.number && rec.Uid != m.UID {
		w.Uid, change = m.UID, true
	}
	if i == r.first && (r.number || r.s.Base.Found) {
		w.Base, w.Validity, w.Last = true, n.UIDValidity, r.s.Base.Last
		if r.number {
			w.Last = n.UIDNext - 1
		}
		change = change || !r.s.Base.Found || i > 0 || r.s.Pseudo > 0 ||
			r.s.Base.Validity != w.Validity || r.s.Base.Last != w.Last || r.s.Base.Names != len(n.Keywords)
	}
	if change {
		w.Old = rec.Old || m.UID < n.FirstRecent
	}
	return w, change
}

// maxHeader is the longest header whose own lines are rewritten, in octets.
const maxHeader = 16 << 20

// header reads the header of message i, From_ line included.
func (r *rewrite) header(i int) ([]byte, error) {
	n := int(r.s.Recs[i].Hdr)
	if n > maxHeader {
		return nil, errors.New("a message's header is too long to be rewritten")
	}
	r.buf = slices.Grow(r.buf[:0], n)[:n]
	_, err := r.m.f.ReadAt(r.buf, r.s.Snap.Msgs[i].Pos)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return r.buf, err
}

// run changes the file and tells whether messages moved.
func (r *rewrite) run() (moved bool, err error) {
	if r.cut, err = r.cutOut(); r.cut != nil || err != nil {
		return false, err
	}
	from, err := r.inPlace()
	if err != nil {
		return false, err
	}
	// UIDNEXT stands in the first message before UIDs go; else this is all.
	if from < 0 || r.nothingAfter(from) {
		if err := r.m.sys.Sync(r.m.f); err != nil || from < 0 {
			return false, err
		}
	}
	base := r.s.Snap.Msgs[from].Pos
	if from == 0 {
		base = 0 // the pseudo message goes, too: X-IMAPbase takes its place
	}
	if !r.nothingAfter(from) {
		return true, r.shift(from, base)
	}
	if err := r.m.sys.Truncate(r.m.f, base); err != nil {
		return false, err
	}
	return false, r.m.sys.Sync(r.m.f)
}

func (r *rewrite) nothingAfter(from int) bool {
	for i := from; i < len(r.s.Recs); i++ {
		if r.keeps(i) {
			return false
		}
	}
	return true
}

// maxHeld is how many octets of patches wait in memory.
const maxHeld = 4 << 20

// inPlace writes the lines that fit their room, up to the first message that
// goes or grows, whose index it returns; -1 when there is none.
func (r *rewrite) inPlace() (int, error) {
	for i := range r.s.Recs {
		if !r.keeps(i) || i == r.first && r.s.Pseudo > 0 {
			return i, r.writePatches()
		}
		w, change := r.want(i)
		if !change {
			continue
		}
		hdr, err := r.header(i)
		if err != nil {
			return 0, err
		}
		out := format.Compose(hdr, w)
		if len(out) != len(hdr) {
			return i, r.writePatches()
		}
		if err := r.patch(r.s.Snap.Msgs[i].Pos, hdr, out); err != nil {
			return 0, err
		}
	}
	return -1, r.writePatches()
}

// differ returns the part in which two headers of one length differ.
func differ(hdr, out []byte) (a, b int) {
	a, b = 0, len(hdr)
	for a < b && hdr[a] == out[a] {
		a++
	}
	for b > a && hdr[b-1] == out[b-1] {
		b--
	}
	return a, b
}

// patch notes the octets of out that differ from hdr.
func (r *rewrite) patch(pos int64, hdr, out []byte) error {
	a, b := differ(hdr, out)
	if a == b {
		return nil
	}
	r.patches = append(r.patches, journal.Patch{Off: pos + int64(a), Data: out[a:b]})
	if r.held += len(out); r.held > maxHeld {
		return r.writePatches()
	}
	return nil
}

// writePatches writes what patch noted.
func (r *rewrite) writePatches() error {
	list := r.patches
	r.patches, r.held = nil, 0
	if !slices.ContainsFunc(list, journal.Patch.Torn) {
		return journal.WriteAll(r.m.sys, r.m.f, list)
	}
	j, err := journal.New(r.m.sys, r.m.path, r.m.control)
	if err != nil {
		return err
	}
	defer j.Close()
	for _, p := range list {
		if err == nil {
			err = j.Patch(p)
		}
	}
	if err == nil {
		err = j.Commit(r.m.f, journal.PatchBase)
	}
	if err != nil {
		j.Abort()
		return err
	}
	return j.Apply(r.m.f)
}

// shift writes the file anew from message from on, which stands at base.
func (r *rewrite) shift(from int, base int64) error {
	j, err := journal.New(r.m.sys, r.m.path, r.m.control)
	if err != nil {
		return err
	}
	defer j.Close()
	err = r.tail(j, from)
	if err == nil {
		err = j.Commit(r.m.f, base)
	}
	if err != nil {
		j.Abort()
		return err
	}
	return j.Apply(r.m.f)
}

// tail writes the new form of messages from on into the journal. What does not
// change is copied in long runs.
func (r *rewrite) tail(w io.Writer, from int) error {
	run, end := int64(0), int64(0) // octets of the file that wait to be copied
	flush := func() error {
		_, err := io.CopyBuffer(w, struct{ io.Reader }{io.NewSectionReader(r.m.f, run, end-run)}, r.copyBuf())
		run = end
		return err
	}
	for i := from; i < len(r.s.Recs); i++ {
		m := &r.s.Snap.Msgs[i]
		want, change := r.want(i)
		if r.keeps(i) && !change && end == m.Pos {
			end += m.Raw
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		run, end = m.Pos, m.Pos+m.Raw
		if !r.keeps(i) {
			run = end
			continue
		}
		if !change {
			continue
		}
		hdr, err := r.header(i)
		if err != nil {
			return err
		}
		if _, err := w.Write(format.Compose(hdr, want)); err != nil {
			return err
		}
		run += int64(len(hdr))
	}
	return flush()
}

func (r *rewrite) copyBuf() []byte {
	if cap(r.buf) < journal.CopyChunk {
		r.buf = make([]byte, journal.CopyChunk)
	}
	return r.buf[:journal.CopyChunk]
}

// publish makes the changed file the state. When messages moved the file is
// read again: that costs less than writing it did, and nothing can be wrong
// about positions; UIDs come out of the match with what remained.
func (r *rewrite) publish(before disk.Stat, moved bool) error {
	m := r.m
	st, err := disk.StatFile(m.f)
	if err != nil {
		return err
	}
	s := r.remaining(st.ID)
	if moved {
		err = m.scanFile(s, st)
	} else {
		m.publish(s)
	}
	m.keepTimes(before, m.state.Load())
	return err
}

// remaining returns the state after the write: without what was dropped, and
// with records that say what the own lines say now.
func (r *rewrite) remaining(id disk.ID) *known.State {
	s, n := *r.s, *r.s.Snap
	n.Msgs, s.Recs = make([]store.Msg, 0, len(n.Msgs)), make([]format.Record, 0, len(s.Recs))
	for i := range r.s.Recs {
		if !r.keeps(i) {
			continue
		}
		m, rec := r.s.Snap.Msgs[i], r.s.Recs[i]
		w, change := r.want(i)
		if change {
			rec.Uid, rec.Old, rec.Bare = w.Uid, w.Old, false
		}
		if w.Base {
			s.Base = format.Base{Found: true, Validity: w.Validity, Last: w.Last, Names: len(w.Names)}
		}
		rec.Flags, rec.Kw = m.Flags, m.Keywords
		n.Msgs, s.Recs = append(n.Msgs, m), append(s.Recs, rec)
	}
	if len(s.Recs) == 0 {
		s.Base = format.Base{}
	}
	if r.cut != nil {
		r.cut.place(&known.State{Snap: &n, Recs: s.Recs})
	}
	if len(r.drop) > 0 {
		n.ModSeq = r.s.NextModSeq()
	}
	s.Snap, s.ID, s.Saved, s.Pseudo = &n, id, false, 0
	return &s
}

// keepTimes leaves the sign of new mail, mtime > atime, as it was: set while
// there is mail that no session has seen, else not.
func (m *mailbox) keepTimes(before disk.Stat, s *known.State) {
	recent := s.Snap.FirstRecent < s.Snap.UIDNext
	if recent && before.Mtime > before.Atime {
		return // writing moved mtime on and left atime alone
	}
	disk.SetAtime(m.path, time.Now().UnixNano()) // only a sign: no reason to fail
}
