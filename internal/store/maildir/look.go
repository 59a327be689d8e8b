package maildir

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/sys/disk"
)

// lookers is how many files are looked at side by side.
const lookers = 4

// Look implements store.Mailbox.
func (m *mailbox) Look(uids []uint32) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := *m.state.Load()
	var list []int
	if uids == nil {
		list = unknown(s.snap.Msgs)
	}
	for _, uid := range uids {
		if i := find(s.snap, uid); i >= 0 && s.snap.Msgs[i].Size == store.Unknown {
			list = append(list, i)
		}
	}
	if len(list) == 0 || m.gone {
		return s.snap, nil
	}
	if err := m.list.Load(); err != nil { // it may tell sizes
		return nil, err
	}
	n := *s.snap
	n.Msgs, s.snap = slices.Clone(n.Msgs), &n
	m.lookAt(&s, list)
	m.state.Store(&s)
	return &n, nil
}

func unknown(msgs []store.Msg) (list []int) {
	for i := range msgs {
		if msgs[i].Size == store.Unknown {
			list = append(list, i)
		}
	}
	return list
}

// lookAt finds date and sizes of the messages in list.
func (m *mailbox) lookAt(s *state, list []int) {
	if len(list) < 64 {
		for _, i := range list {
			m.lookOne(s, i)
		}
		return
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range lookers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				m.lookOne(s, list[i])
			}
		})
	}
	wg.Wait()
}

// lookOne fills in date and sizes: out of the name, out of the list of UIDs,
// else by reading the file. What vanishes meanwhile stays unknown; the next
// scan finds it gone, or under another name.
func (m *mailbox) lookOne(s *state, i int) {
	f, msg := &s.files[i], &s.snap.Msgs[i]
	size, virtual := uidlist.Sizes(uidlist.Base(f.name))
	if virtual < 0 {
		virtual = m.list.Size(f.uid)
	}
	if virtual >= 0 {
		st, err := disk.StatPath(m.at(f))
		if err != nil || !st.Regular {
			return
		}
		if virtual >= st.Size && (size < 0 || size == st.Size) {
			msg.Date, msg.Raw, msg.Size = st.Mtime/1e9, st.Size, virtual
			return
		}
	}
	measure(m.at(f), msg) // what cannot be read stays unknown
}

// measure reads a file for the sizes that its name does not tell, and its date.
func measure(path string, msg *store.Msg) error {
	f, st, err := openMessage(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, min(store.Chunk, max(st.Size, 1)))
	var size, lines int64
	last := byte(0)
	for size < st.Size {
		n, err := f.Read(buf)
		b := buf[:n]
		size += int64(n)
		if n > 0 {
			lines += bareEnds(b)
			if last == '\r' && b[0] == '\n' {
				lines--
			}
			last = b[n-1]
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	msg.Raw, msg.Size, msg.Date = size, size+lines, st.Mtime/1e9
	return nil
}

// bareEnds counts the line ends that have no CR.
func bareEnds(b []byte) int64 {
	n := bytes.Count(b, []byte{'\n'})
	if bytes.IndexByte(b, '\r') >= 0 {
		n -= bytes.Count(b, []byte("\r\n"))
	}
	return int64(n)
}

// distrust measures a message whose name lies about its size.
func (m *mailbox) distrust(uid uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := *m.state.Load()
	i := find(s.snap, uid)
	if i < 0 {
		return
	}
	msg := s.snap.Msgs[i]
	if measure(m.at(&s.files[i]), &msg) != nil {
		return
	}
	n := *s.snap
	n.Msgs = slices.Clone(n.Msgs)
	n.Msgs[i] = msg
	s.snap = &n
	m.state.Store(&s)
}
