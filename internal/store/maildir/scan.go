package maildir

import (
	"cmp"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/sys/disk"
)

// oldTmp is how old a file in tmp must be before nobody can want it any more
// (maildir(5)).
const oldTmp = 36 * time.Hour

// scan makes a new state: it reads the folders that changed, gives UIDs to
// files that have none, and looks into those that it does not know. mu is held.
func (m *mailbox) scan(old *state) error {
	if err := m.list.Load(); err != nil {
		return err
	}
	if err := m.keys.Load(); err != nil {
		return err
	}
	s := &state{}
	names, err := m.names(old, s)
	if err != nil {
		return err
	}
	files, fresh := m.number(names)
	if len(fresh) > 0 || m.list.Broken || m.list.Validity == 0 {
		if files, err = m.assign(names); err != nil {
			return err
		}
	}
	s.files, s.list, s.keys = files, m.list.ID, m.keys.ID
	m.describe(old, s)
	if m.claimed {
		return m.settleInto(s)
	}
	m.publish(s)
	return nil
}

// names lists the files of new and cur. A folder whose time has not changed is
// not read again. The time is taken first: what comes while we read is seen the
// next time.
func (m *mailbox) names(old, s *state) ([]file, error) {
	var all []file
	for i, d := range folders {
		dir := filepath.Join(m.path, d)
		st, err := disk.StatPath(dir)
		if err != nil {
			return nil, err
		}
		s.dirs[i] = st.ID
		if now := time.Now(); now.Sub(time.Unix(0, st.Mtime)) < coarse {
			s.doubt = now.Add(coarse)
		}
		if st.ID == old.dirs[i] && (old.doubt.IsZero() || time.Now().Before(old.doubt)) && old.list != (disk.ID{}) {
			for j := range old.files {
				if int(old.files[j].dir) == i {
					all = append(all, old.files[j])
				}
			}
			s.doubt = later(s.doubt, old.doubt)
			continue
		}
		if all, err = readDir(dir, uint8(i), all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// readDir adds the names in a folder. Hidden ones belong to other programs.
func readDir(path string, dir uint8, all []file) ([]file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all = slices.Grow(all, len(list))
	for _, n := range list {
		if n[0] != '.' && len(n) < uidlist.MaxLine-64 && !strings.ContainsAny(n, "\n\r\x00") {
			all = append(all, file{dir: dir, name: n})
		}
	}
	return all, nil
}

// number finds the UIDs of files, and sorts by them. Of two files with one base
// the one in cur counts: somebody moves it at this moment. fresh are the bases
// that have no UID yet.
func (m *mailbox) number(names []file) (files []file, fresh []string) {
	files = make([]file, 0, len(names))
	for _, f := range names {
		if uid, ok := m.list.UIDs[uidlist.Base(f.name)]; ok {
			f.uid = uid
			files = append(files, f)
		} else {
			fresh = append(fresh, uidlist.Base(f.name))
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		if a.uid != b.uid {
			return cmp.Compare(a.uid, b.uid)
		}
		return cmp.Compare(b.dir, a.dir)
	})
	return slices.CompactFunc(files, func(a, b file) bool { return a.uid == b.uid }), fresh
}

// assign gives UIDs to the files that have none, under the lock of the list.
func (m *mailbox) assign(names []file) ([]file, error) {
	l, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	files, fresh := m.number(names)
	slices.SortFunc(fresh, uidlist.Earlier)
	fresh = slices.Compact(fresh)
	if m.list.Validity == 0 {
		m.list.Begin(m.store.nextValidity())
	}
	err = m.list.Add(fresh, len(files)+len(fresh))
	files, _ = m.number(names)
	if errors.Is(err, uidlist.ErrRewrite) {
		err = m.list.Rewrite(named(files))
	}
	return files, err
}

// named gives the UIDs and names of files.
func named(files []file) iter.Seq2[uint32, string] {
	return func(yield func(uint32, string) bool) {
		for i := range files {
			if !yield(files[i].uid, files[i].name) {
				return
			}
		}
	}
}

// describe makes the snapshot of s.files: what is known of a message stays,
// its flags are those of its name.
func (m *mailbox) describe(old, s *state) {
	n := &store.Snapshot{UIDValidity: m.list.Validity, UIDNext: m.list.Next, Msgs: make([]store.Msg, len(s.files)),
		ModSeq: old.snap.ModSeq, FirstRecent: old.snap.FirstRecent}
	known := old.snap.UIDValidity == n.UIDValidity
	if !known {
		n.FirstRecent = 1
	}
	if !m.scanned { // what others moved to cur meanwhile they have shown
		n.FirstRecent = max(n.FirstRecent, firstNew(s.files, n.UIDNext))
	}
	seq, changed := nextModSeq(old.snap), !known || len(old.snap.Msgs) == 0 && len(s.files) > 0
	k := 0
	for i := range s.files {
		f := &s.files[i]
		for k < len(old.snap.Msgs) && old.snap.Msgs[k].UID < f.uid {
			k, changed = k+1, true
		}
		msg := &n.Msgs[i]
		if known && k < len(old.snap.Msgs) && old.snap.Msgs[k].UID == f.uid {
			*msg = old.snap.Msgs[k]
			if k < len(old.files) && old.files[k].uid == f.uid && old.files[k].name == f.name {
				k++
				continue
			}
			k++
			if m.readFlags(msg, f.name) {
				msg.ModSeq, changed = seq, true
			}
			continue
		}
		changed = true
		*msg = store.Msg{UID: f.uid, ModSeq: seq, Size: store.Unknown}
		m.readFlags(msg, f.name)
	}
	if changed || k < len(old.snap.Msgs) {
		n.ModSeq = seq
	}
	n.Keywords, s.snap = m.keys.Words, n
	if n.ModSeq == old.snap.ModSeq && n.UIDNext == old.snap.UIDNext && n.FirstRecent == old.snap.FirstRecent && len(n.Keywords) == len(old.snap.Keywords) {
		s.snap = old.snap // whoever compares snapshots sees that nothing changed
	}
	if !m.scanned {
		m.scanned = true
		m.clearTmp()
	}
}

// firstNew returns the lowest UID of what still stands in new: nobody has seen
// it, nor what came later.
func firstNew(files []file, next uint32) uint32 {
	for i := range files {
		if files[i].dir == inNew {
			return files[i].uid
		}
	}
	return next
}

// readFlags takes the flags out of a name and tells whether they changed.
// Keywords that have no letter stay as they are.
func (m *mailbox) readFlags(msg *store.Msg, name string) bool {
	f, letters, _ := uidlist.FlagsOf(name)
	kw := m.keys.Bits(letters) | msg.Keywords&m.keys.Homeless()
	same := msg.Flags == f && msg.Keywords == kw
	msg.Flags, msg.Keywords = f, kw
	return !same
}

// clearTmp removes what programs that died have left, once a mailbox is opened.
func (m *mailbox) clearTmp() {
	dir := filepath.Join(m.path, "tmp")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() && time.Since(fi.ModTime()) > oldTmp {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// settle moves what is in new to cur, for a session that shows it. mu is held.
func (m *mailbox) settle() error {
	s := *m.state.Load()
	if m.gone || s.list == (disk.ID{}) {
		return nil
	}
	return m.settleInto(&s)
}

// settleInto is settle for a state that is not published yet.
func (m *mailbox) settleInto(s *state) error {
	var fail error
	moved := false
	for i := range s.files {
		if s.files[i].dir != inNew {
			continue
		}
		if !moved { // s.files may be those of a state that others read
			s.files, moved = slices.Clone(s.files), true
		}
		f := &s.files[i]
		to := file{f.uid, inCur, f.name}
		if !strings.Contains(f.name, uidlist.Info) {
			to.name = uidlist.Base(f.name) + uidlist.Info
		}
		err := disk.Rename(m.at(f), m.at(&to))
		if err == nil {
			*f = to
		} else if !errors.Is(err, fs.ErrNotExist) { // somebody else was faster
			fail = errors.Join(fail, err)
		}
	}
	if moved {
		m.adopt(s, inNew, inCur)
	}
	m.publish(s)
	return fail
}

// adopt takes the present times of folders for those of s, which holds a change
// of ours. What others changed in the same moment is seen a second later.
func (m *mailbox) adopt(s *state, dirs ...int) {
	for _, d := range dirs {
		if st, err := disk.StatPath(filepath.Join(m.path, folders[d])); err == nil {
			s.dirs[d] = st.ID
		}
	}
	s.doubt = time.Now().Add(ours)
}
