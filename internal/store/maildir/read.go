package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"packetboat/internal/store"
	"packetboat/internal/sys/disk"
)

// Read implements store.Mailbox. The file is opened at the first read.
func (m *mailbox) Read(uid uint32, off, n int64) (io.ReadCloser, error) {
	s := m.state.Load()
	i := find(s.snap, uid)
	if i >= 0 && s.snap.Msgs[i].Size == store.Unknown {
		if n, err := m.Look([]uint32{uid}); err != nil {
			return nil, err
		} else if i = find(n, uid); i >= 0 && n.Msgs[i].Size == store.Unknown {
			return nil, store.ErrNoMessage
		}
		s = m.state.Load()
		i = find(s.snap, uid)
	}
	if i < 0 {
		return nil, store.ErrNoMessage
	}
	left := s.snap.Msgs[i].Size - off
	if n >= 0 && n < left {
		left = n
	}
	return &reader{m: m, uid: uid, skip: off, left: max(left, 0), size: s.snap.Msgs[i].Size}, nil
}

// openFile opens a message's file, wherever others have moved it meanwhile.
func (m *mailbox) openFile(uid uint32) (*os.File, disk.Stat, error) {
	for range rounds {
		s := m.state.Load()
		i := find(s.snap, uid)
		if i < 0 {
			return nil, disk.Stat{}, store.ErrNoMessage
		}
		f, st, err := openMessage(m.at(&s.files[i]))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, st, err
		}
		if err := m.lookAgain(); err != nil {
			return nil, disk.Stat{}, err
		}
	}
	return nil, disk.Stat{}, store.ErrNoMessage
}

func (m *mailbox) lookAgain() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return store.ErrNoMessage
	}
	return m.scanAll()
}

// openMessage opens a regular file and no link to one. It may have several
// names: that is how messages are copied between Maildirs.
func openMessage(path string) (*os.File, disk.Stat, error) {
	f, err := disk.OpenFile(path, os.O_RDONLY|disk.NoFollow|disk.NoWait, 0)
	if err != nil {
		return nil, disk.Stat{}, err
	}
	st, err := disk.StatFile(f)
	if err == nil && !st.Regular {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, st, err
	}
	return f, st, nil
}

// reader gives a message's bytes with CRLF line ends.
type reader struct {
	m    *mailbox
	uid  uint32
	size int64 // of the CRLF form, as clients were told
	skip int64 // of the CRLF form
	left int64
	f    *os.File
	at   int64 // in the file
	out  int64 // of the CRLF form, made so far
	same bool  // the file has CRLF line ends: offsets are the file's
	bufs *store.Buffers
	raw  []byte
	text store.CRLF
	rest []byte
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.left == 0 {
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
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f = nil
	r.bufs.Out = r.text.Out[:0]
	r.m.buffers.Put(r.bufs)
	r.bufs, r.raw, r.text.Out = nil, nil, nil
	return f.Close()
}

// open finds the place to begin at: where an earlier reader of the message has
// been near the offset, that spares reading all before it again.
func (r *reader) open() error {
	f, st, err := r.m.openFile(r.uid)
	if err != nil {
		return err
	}
	r.f, r.same = f, st.Size == r.size
	if r.same {
		r.at, r.out, r.skip = r.skip, r.skip, 0
	} else if h := r.m.hint.find(r.uid); h.out <= r.skip {
		r.at, r.out, r.text.CR, r.skip = h.at, h.out, h.cr, r.skip-h.out
	}
	r.bufs = r.m.buffers.Get()
	r.raw, r.text.Out = r.bufs.Raw[:min(store.Chunk, r.left+r.skip)], r.bufs.Out[:0]
	return nil
}

// next reads and converts the next chunk.
func (r *reader) next() error {
	if r.f == nil {
		if err := r.open(); err != nil {
			return err
		}
	}
	n, err := r.f.ReadAt(r.raw, r.at)
	if n == 0 {
		return r.short(err)
	}
	r.at += int64(n)
	if r.same {
		r.rest = r.raw[:n]
	} else {
		r.text.Out = r.text.Out[:0]
		r.text.Add(r.raw[:n])
		r.rest = r.text.Out
	}
	r.out += int64(len(r.rest))
	if !r.same {
		r.m.hint.keep(place{r.uid, r.at, r.out, r.text.CR})
	}
	d := min(r.skip, int64(len(r.rest)))
	r.skip -= d
	r.rest = r.rest[d:]
	r.rest = r.rest[:min(int64(len(r.rest)), r.left)]
	return nil
}

// short: the file holds less than its name says. The client was promised more,
// so that this answer fails; the next one will be right.
func (r *reader) short(err error) error {
	if err == nil || err == io.EOF {
		r.m.distrust(r.uid)
		err = fmt.Errorf("message %d is shorter than its file name says: %w", r.uid, io.ErrUnexpectedEOF)
	}
	return err
}
