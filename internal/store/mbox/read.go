package mbox

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/sys/disk"
)

// windowSize is how much of the file one read takes along: headers that are
// fetched one after the other come out of memory.
const windowSize = 128 << 10

// window is the part of the file that was read last, shared by all sessions.
type window struct {
	mu   sync.Mutex
	id   disk.ID
	off  int64
	buf  []byte
	hint hint
}

// hint says where in the file one offset of a message's CRLF form stands, so
// that a client that fetches a message in parts does not pay for all parts
// before at each of them.
type hint struct {
	uid      uint32
	digest   uint64
	out, raw int64
	cr, bol  bool
}

// drop forgets the window; the file changed or is about to.
func (w *window) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id, w.buf = disk.ID{}, w.buf[:0]
}

// Read implements store.Mailbox.
func (m *mailbox) Read(uid uint32, off, n int64) (io.ReadCloser, error) {
	s := m.state.Load()
	i := s.Find(uid)
	if i < 0 {
		return nil, store.ErrNoMessage
	}
	left := s.Snap.Msgs[i].Size - off
	if n >= 0 && n < left {
		left = n
	}
	r := &reader{m: m, uid: uid, digest: s.Recs[i].Digest, skip: off, left: max(left, 0), hdr: s.Recs[i].Hdr, quoted: s.Recs[i].Quoted, header: true}
	if h := m.read.find(uid, r.digest); h.out <= off && h.out >= s.Snap.Msgs[i].Header && h.out > 0 {
		r.header, r.at, r.skip, r.text.CR = false, h.raw, off-h.out, h.cr
		r.out, r.bol = h.out, h.bol
	}
	return r, nil
}

func (w *window) find(uid uint32, digest uint64) hint {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hint.uid == uid && w.hint.digest == digest {
		return w.hint
	}
	return hint{}
}

// reader gives a message's bytes with CRLF line ends, without own lines. Each
// chunk is read under the mailbox's locks and found by UID again, so that the
// message may move while a slow client takes it.
type reader struct {
	m      *mailbox
	uid    uint32
	digest uint64
	at     int64 // octets consumed, of the body once the header is done
	hdr    int32 // length of the raw header when the reader began
	out    int64 // octets of the CRLF form made
	quoted bool  // lines of the body lose a ">"
	header bool
	from   bool // the From_ line has passed
	own    bool // within an own header line
	mid    bool // within a line longer than a chunk
	bol    bool // in the body: only ">" since a line began
	skip   int64
	left   int64
	bufs   *store.Buffers
	raw    []byte
	text   store.CRLF // not yet given out
	rest   []byte     // part of text.Out
	done   bool
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.left == 0 || r.done {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.left -= int64(n)
	return n, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.left, r.rest = 0, nil
	if r.bufs != nil {
		r.bufs.Out = r.text.Out[:0]
		r.m.buffers.Put(r.bufs)
		r.bufs, r.raw, r.text.Out = nil, nil, nil
	}
	return nil
}

// next turns the next chunk into CRLF form.
func (r *reader) next() error {
	if r.raw == nil {
		r.bufs = r.m.buffers.Get()
		r.raw = r.bufs.Raw[:min(store.Chunk, r.left+r.skip+2048)] // own header lines come on top
		r.text.Out = r.bufs.Out
	}
	n, last, err := r.m.rawAt(r)
	if err != nil {
		return err
	}
	b := r.raw[:n]
	r.text.Out = r.text.Out[:0]
	used := 0
	if r.header {
		used = r.headerLines(b, last)
		r.at += int64(used)
		if !r.header {
			r.at = 0
		}
	}
	if !r.header {
		m := r.body(b[used:], last)
		r.at += int64(m)
		used += m
	}
	r.done = last && used == n
	r.out += int64(len(r.text.Out))
	r.m.read.keep(hint{r.uid, r.digest, r.out, r.at, r.text.CR, r.bol}, r.header)
	r.cut()
	return nil
}

func (w *window) keep(h hint, header bool) {
	if header {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hint = h
}

// cut drops what the caller did not ask for.
func (r *reader) cut() {
	d := min(r.skip, int64(len(r.text.Out)))
	r.skip -= d
	r.rest = r.text.Out[d:]
	if int64(len(r.rest)) > r.left {
		r.rest = r.rest[:r.left]
	}
}

// headerLines takes whole lines of the header from b and returns the octets
// used. A line that b does not hold whole waits for the next chunk, unless it
// is as long as a chunk.
func (r *reader) headerLines(b []byte, last bool) int {
	used := 0
	for used < len(b) && r.header {
		i := bytes.IndexByte(b[used:], '\n')
		if i < 0 {
			if used > 0 && !last {
				return used
			}
			i = len(b) - used - 1
		}
		r.headerLine(b[used : used+i+1])
		used += i + 1
	}
	return used
}

func (r *reader) headerLine(line []byte) {
	mid := r.mid
	r.mid = line[len(line)-1] != '\n'
	switch {
	case mid:
	case !r.from:
		r.from = true
		return
	case line[0] == '\n' || len(line) == 2 && line[0] == '\r':
		r.header, r.own, r.bol = false, false, true
	case line[0] != ' ' && line[0] != '\t':
		name := format.FieldName(line)
		r.own = name != nil && format.IsOwn(name)
	}
	if !r.own {
		r.text.Add(line)
	}
}

var newlineGt = []byte("\n>")

// body adds octets of the body to the output and returns how many it took.
// The begin of a line that b holds only in part may wait for the next chunk.
func (r *reader) body(b []byte, last bool) int {
	if !r.quoted {
		r.text.Add(b)
		return len(b)
	}
	used := 0
	for {
		if r.bol {
			show, drop, ok := format.Unquote(b[used:], !last)
			r.text.Add(b[used : used+show])
			used += show + drop
			if !ok {
				return used
			}
		}
		n := bytes.Index(b[used:], newlineGt)
		if n < 0 {
			break
		}
		r.text.Add(b[used : used+n+1])
		used += n + 1
		r.bol = true
	}
	if used < len(b) {
		r.bol = b[len(b)-1] == '\n'
	}
	r.text.Add(b[used:])
	return len(b)
}

// rawAt fills r.raw with the octets that r wants next, as they stand in the
// file; last tells that the message ends with them. Where the file was changed
// from outside, the message is looked for again first; where that happens all
// the time, the file is locked for it.
func (m *mailbox) rawAt(r *reader) (n int, last bool, err error) {
	for range 3 {
		n, last, err = m.tryRaw(r)
		if !errors.Is(err, errStale) {
			return n, last, err
		}
		if err := m.again(); err != nil {
			return 0, false, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	err = m.readLocked(func() error {
		n, last, err = m.tryRaw(r)
		return err
	})
	return n, last, err
}

// again looks at the file again, and opens it where it was closed meanwhile.
func (m *mailbox) again() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refresh()
}

// errStale says that the file is not the one that the state was made of.
var errStale = errors.New("mailbox changed while it was read")

func (m *mailbox) tryRaw(r *reader) (int, bool, error) {
	m.view.RLock()
	defer m.view.RUnlock()
	s := m.state.Load()
	i := s.Find(r.uid)
	if i >= 0 && m.f == nil {
		return 0, false, errStale
	}
	if i < 0 || s.Recs[i].Digest != r.digest || s.Recs[i].Quoted != r.quoted {
		return 0, false, store.ErrNoMessage
	}
	msg, rec := &s.Snap.Msgs[i], &s.Recs[i]
	if r.header && rec.Hdr != r.hdr {
		r.restart(rec.Hdr)
	}
	at := r.at
	if !r.header {
		at += int64(rec.Hdr)
	}
	size := msg.Raw - int64(rec.Sep)
	n := int(min(int64(len(r.raw)), size-at))
	if n <= 0 {
		return 0, true, nil
	}
	return n, at+int64(n) == size, m.read.fetch(m, s.ID, r.raw[:n], msg.Pos+at, msg.Pos+msg.Raw)
}

// restart begins anew, where own lines changed while the header was read: what
// was given out already is passed over.
func (r *reader) restart(hdr int32) {
	r.skip += r.out // what was skipped and what was given out, together
	r.hdr, r.at, r.out = hdr, 0, 0
	r.from, r.own, r.mid, r.text.CR, r.bol = false, false, false, false, false
}

// fetch reads b at off, out of memory if it can; end is where the message ends.
// No lock is taken: a lock is the open file's, and giving it up here would give
// up that of a writer of this process. Whoever writes meanwhile changes the
// file's time first, so that what was read before and after the look at it
// is of the file that the state was made of.
func (w *window) fetch(m *mailbox, id disk.ID, b []byte, off, end int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := unchanged(m.f, id); err != nil {
		return err
	}
	if w.id == id && off >= w.off && off+int64(len(b)) <= w.off+int64(len(w.buf)) {
		copy(b, w.buf[off-w.off:])
		return nil
	}
	if len(b) >= store.Chunk && end-off > windowSize {
		err := journal.ReadFull(m.f, b, off) // a long body: nobody else wants it
		return errors.Join(unchanged(m.f, id), err)
	}
	w.buf = append(w.buf[:0], make([]byte, min(windowSize, id.Size-off))...)
	w.id, w.off = id, off
	err := journal.ReadFull(m.f, w.buf, off)
	if err = errors.Join(unchanged(m.f, id), err); err != nil {
		w.id = disk.ID{}
		return err
	}
	copy(b, w.buf)
	return nil
}

// unchanged returns errStale when f is not as it was when id was taken.
func unchanged(f *os.File, id disk.ID) error {
	st, err := disk.StatFile(f)
	if err == nil && st.ID != id {
		err = errStale
	}
	return err
}
