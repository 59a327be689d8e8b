package maildir

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/sys/disk"
)

// Append implements store.Mailbox: all messages are written below tmp and are
// on disk before the first one is renamed.
func (m *mailbox) Append(msgs []store.New) ([]uint32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return nil, store.ErrNoMailbox
	}
	if err := m.refresh(); err != nil {
		return nil, err
	}
	a := &addition{m: m}
	err := a.writeAll(msgs)
	if err == nil {
		err = a.moveAll()
	}
	var uids []uint32
	if err == nil {
		uids, err = a.number()
	}
	if err != nil {
		a.undo()
		if disk.OverQuota(err) || disk.TooLarge(err) {
			err = errors.Join(store.ErrOverQuota, err)
		}
		return nil, err
	}
	m.count(a.octets, int64(len(uids)))
	return uids, nil
}

// addition is messages on their way into a mailbox.
type addition struct {
	m       *mailbox
	files   []added
	octets  int64
	touched [2]bool // new, cur
}

// added is one of them.
type added struct {
	f    *os.File // still to be flushed
	path string   // where it stands now
	name string   // where it is to stand
	dir  uint8
	date time.Time // wanted; zero = now
	msg  store.Msg // sizes and date
}

// writeAll writes the messages below tmp and flushes them side by side, which
// lets them share the journal of the disk.
func (a *addition) writeAll(msgs []store.New) error {
	w := newLFWriter()
	var errs []error
	for len(msgs) > 0 && errs == nil {
		n := min(len(msgs), flushes)
		first := len(a.files)
		for i := range msgs[:n] {
			if err := a.write(w, &msgs[i]); err != nil {
				errs = append(errs, err)
				break
			}
		}
		errs = append(errs, flushFiles(a.files[first:])...)
		msgs = msgs[n:]
	}
	return errors.Join(errs...)
}

// flushes is how many files are open, and flushed, at a time.
const flushes = 16

func flushFiles(files []added) []error {
	if len(files) == 1 {
		if err := files[0].flush(); err != nil {
			return []error{err}
		}
		return nil
	}
	errs := make(chan error, len(files))
	var wg sync.WaitGroup
	for i := range files {
		wg.Go(func() { errs <- files[i].flush() })
	}
	wg.Wait()
	close(errs)
	var failed []error
	for err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// flush brings the file to disk, with the message's date as its time.
func (f *added) flush() error {
	err := f.f.Sync()
	st, serr := disk.StatFile(f.f)
	f.msg.Date = st.Mtime / 1e9
	if err = errors.Join(err, serr, f.f.Close()); err == nil && !f.date.IsZero() {
		err = os.Chtimes(f.path, time.Time{}, f.date)
		f.msg.Date = f.date.Unix()
	}
	return err
}

func (a *addition) write(w *lfWriter, msg *store.New) error {
	kw, err := a.m.keys.Claim(msg.Keywords, disk.LockOptions{Wait: a.m.store.o.LockTimeout, Stale: uidlist.StaleLock})
	if err != nil {
		return err
	}
	name := uidlist.Unique()
	path := filepath.Join(a.m.path, "tmp", name)
	f, err := disk.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	a.files = append(a.files, added{f: f, path: path, date: msg.Date})
	w.reset(f)
	_, err = io.Copy(w, msg.Body)
	if err = errors.Join(err, w.flush()); err != nil {
		return err
	}
	t := &a.files[len(a.files)-1]
	t.name = fmt.Sprintf("%s,S=%d,W=%d", name, w.size, w.size+w.bare)
	t.msg = store.Msg{Raw: w.size, Size: w.size + w.bare, Header: w.head}
	if a.inCur(msg.Flags, kw) {
		t.name, t.dir = uidlist.WithFlags(t.name, msg.Flags, a.m.keys.Letters(kw), ""), inCur
	}
	t.msg.Keywords = kw // those without a letter stand nowhere else
	a.octets += w.size
	return nil
}

// inCur tells whether a message goes to cur: new is for what has no flags, and
// that no session shows.
func (a *addition) inCur(f store.Flag, kw uint64) bool { return f != 0 || kw != 0 || a.m.claimed }

// moveAll renames the messages to where readers find them.
func (a *addition) moveAll() error {
	for i := range a.files {
		f := &a.files[i]
		to := filepath.Join(a.m.path, folders[f.dir], f.name)
		if err := disk.Rename(f.path, to); err != nil {
			return err
		}
		f.path, a.touched[f.dir] = to, true
	}
	return nil
}

// number has UIDs given to the messages, and returns them.
func (a *addition) number() ([]uint32, error) {
	before := a.m.list.Flushed
	uids, ok, err := a.numberOwn()
	if !ok && err == nil {
		if err = a.m.scan(a.m.state.Load()); err == nil {
			uids, err = a.numbered()
		}
	}
	if err == nil {
		err = a.settle(before)
	}
	return uids, err
}

// numberOwn gives the next UIDs to the messages without a look into the folders:
// what we knew of them before is still so, apart from our own files. ok is false,
// and nothing was done, where a look is due, or others have changed the list.
func (a *addition) numberOwn() (uids []uint32, ok bool, err error) {
	m := a.m
	old := m.state.Load()
	if old.list == (disk.ID{}) || !old.doubt.IsZero() && !time.Now().Before(old.doubt) {
		return nil, false, nil
	}
	l, err := m.lock()
	if err != nil {
		return nil, false, err
	}
	defer l.Unlock()
	if m.list.ID != old.list || m.list.Broken || m.list.Validity != old.snap.UIDValidity || m.list.Next != old.snap.UIDNext {
		return nil, false, nil
	}
	bases := make([]string, len(a.files))
	for i := range a.files {
		bases[i] = uidlist.Base(a.files[i].name)
	}
	err = m.list.Add(bases, len(old.files)+len(bases))
	s := a.grown(old)
	if errors.Is(err, uidlist.ErrRewrite) {
		err = m.list.Rewrite(named(s.files))
	}
	if err != nil {
		return nil, false, err
	}
	s.list, s.keys = m.list.ID, m.keys.ID
	m.adopt(s, inNew, inCur)
	if !old.doubt.IsZero() {
		s.doubt = old.doubt // who appends all the time must not put off the look for others
	}
	m.publish(s)
	for i := range bases {
		uids = append(uids, m.list.UIDs[bases[i]])
	}
	return uids, true, nil
}

// grown is the state with the messages at its end. It may share its arrays with
// old, which is the newest state, so that nobody else has appended to them; what
// is behind its own length old never looks at.
func (a *addition) grown(old *state) *state {
	m, s, n := a.m, *old, *old.snap
	n.ModSeq, n.Keywords = nextModSeq(old.snap), m.keys.Words
	for i := range a.files {
		f := &a.files[i]
		msg := f.msg
		msg.UID, msg.ModSeq = m.list.UIDs[uidlist.Base(f.name)], n.ModSeq
		m.readFlags(&msg, f.name)
		n.Msgs, s.files = append(n.Msgs, msg), append(s.files, file{msg.UID, f.dir, f.name})
	}
	n.UIDNext = m.list.Next
	s.snap = &n
	return &s
}

// numbered returns the UIDs that a scan has given to the messages, and says what
// is known of them.
func (a *addition) numbered() ([]uint32, error) {
	m := a.m
	uids := make([]uint32, len(a.files))
	s := *m.state.Load()
	n := *s.snap
	n.Msgs = append([]store.Msg(nil), n.Msgs...)
	for i := range a.files {
		uid := m.list.UIDs[uidlist.Base(a.files[i].name)]
		k := find(&n, uid)
		if k < 0 {
			return nil, store.ErrNoMessage // somebody deleted it already
		}
		msg, known := &n.Msgs[k], &a.files[i].msg
		uids[i] = uid
		msg.Date, msg.Raw, msg.Size, msg.Header = known.Date, known.Raw, known.Size, known.Header
		msg.Keywords |= known.Keywords & m.keys.Homeless()
	}
	s.snap = &n
	m.state.Store(&s)
	return uids, nil
}

// settle makes the new names durable. The list of UIDs has been flushed after
// the renames: on file systems whose journal is in order they went along.
func (a *addition) settle(before int) error {
	m := a.m
	if m.list.Flushed > before && m.control == m.path && m.store.ordered(m.path) {
		return nil
	}
	return m.syncDirs(a.touched)
}

// undo removes what there is of the messages.
func (a *addition) undo() {
	for i := range a.files {
		os.Remove(a.files[i].path)
	}
	a.m.scanAll() // what cannot be read now is read the next time
}

// lfWriter writes a message with LF line ends and counts it. A CR without LF stays.
type lfWriter struct {
	w    *bufio.Writer
	size int64 // octets written
	bare int64 // of these, line ends, each of which is CRLF on the wire
	head int64 // octets of the header with CRLF; 0 while it goes on
	cr   bool  // a CR waits for what comes
	last byte
}

func newLFWriter() *lfWriter { return &lfWriter{w: bufio.NewWriterSize(nil, 32<<10)} }

func (l *lfWriter) reset(w io.Writer) {
	l.w.Reset(w)
	l.size, l.bare, l.head, l.cr, l.last = 0, 0, 0, false, '\n'
}

// Write implements io.Writer.
func (l *lfWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.text(p)
			break
		}
		l.text(p[:i])
		l.lineEnd()
		p = p[i+1:]
	}
	return n, nil // what failed shows at flush
}

// text writes what holds no LF; a CR at its end may belong to one.
func (l *lfWriter) text(p []byte) {
	if len(p) == 0 {
		return
	}
	if l.cr {
		l.put('\r')
	}
	if l.cr = p[len(p)-1] == '\r'; l.cr {
		p = p[:len(p)-1]
	}
	if len(p) > 0 {
		l.w.Write(p)
		l.size += int64(len(p))
		l.last = p[len(p)-1]
	}
}

func (l *lfWriter) put(c byte) {
	l.w.WriteByte(c)
	l.size++
	l.last = c
}

// lineEnd ends a line. Where a second CR stood before it, both stay: else the
// one that is left would be taken for the line end's when it is read.
func (l *lfWriter) lineEnd() {
	empty := l.last == '\n'
	if l.cr && l.last == '\r' {
		l.put('\r')
	}
	l.cr = false
	if l.last != '\r' {
		l.bare++
	}
	l.put('\n')
	if empty && l.head == 0 {
		l.head = l.size + l.bare
	}
}

func (l *lfWriter) flush() error {
	if l.cr {
		l.put('\r')
	}
	return l.w.Flush()
}
