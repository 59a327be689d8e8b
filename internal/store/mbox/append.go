package mbox

import (
	"bufio"
	"errors"
	"io"
	"os"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/known"
	"packetboat/internal/sys/disk"
)

// Append implements store.Mailbox. Lines that begin with "From " are quoted as
// in a delivery, so that every reader of the file counts the same messages.
func (m *mailbox) Append(msgs []store.New) ([]uint32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.create(); err != nil {
		return nil, err
	}
	if m.ro {
		return nil, store.ErrReadOnly
	}
	now := time.Now()
	dates := make([]int64, len(msgs))
	for i := range msgs {
		if msgs[i].Date.IsZero() {
			msgs[i].Date = now
		}
		dates[i] = msgs[i].Date.Unix()
	}
	lock, err := m.lockWith(func() string { return appendNote(m.path, m.control, m.f, dates) })
	if err != nil {
		return nil, err
	}
	uids, err := m.appendLocked(msgs)
	if uerr := lock.Unlock(); err == nil {
		err = uerr // whoever finds the lock would take the messages back
	}
	if err != nil {
		return nil, err
	}
	return uids, nil
}

// appendLocked is Append, with the locks taken.
func (m *mailbox) appendLocked(msgs []store.New) ([]uint32, error) {
	if err := sameFile(m.path, m.f); err != nil {
		return nil, err
	}
	if err := m.rescan(); err != nil {
		return nil, err
	}
	before := m.state.Load()
	if err := m.appendAll(before, msgs); err != nil {
		return nil, err
	}
	if err := m.rescan(); err != nil {
		return nil, err
	}
	keepNew(m.path, m.f)
	var uids []uint32
	for _, msg := range m.Snapshot().Msgs[len(before.Recs):] {
		uids = append(uids, msg.UID)
	}
	return uids, nil
}

// create makes the file of a mailbox that has none yet, and opens it.
func (m *mailbox) create() error {
	if err := m.refresh(); err != nil || m.f != nil {
		return err
	}
	f, err := os.OpenFile(m.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return m.refresh()
	}
	if err != nil {
		return err
	}
	f.Close()
	return m.refresh()
}

// appendAll writes the messages behind the file's end, all or none.
func (m *mailbox) appendAll(s *known.State, msgs []store.New) error {
	numbered := s.Numbered()
	if numbered && len(s.Recs) > 0 {
		var err error
		if numbered, err = m.raiseBase(s, s.Snap.UIDNext-1+uint32(len(msgs))); err != nil {
			return err
		}
	}
	a := &appender{fs: m.sys, f: m.f}
	size := s.ID.Size
	err := a.open(size)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	r := bufio.NewReaderSize(nil, readBuffer)
	for i := 0; i < len(msgs) && err == nil; i++ {
		w := m.wants(s, &msgs[i], i, len(msgs), numbered)
		err = m.appendMsg(a, r, &msgs[i], w)
	}
	if err == nil {
		err = a.flush()
	}
	if err == nil {
		err = m.sys.Sync(m.f)
	}
	if err != nil {
		err = errors.Join(err, a.rollback(size))
	}
	if disk.OverQuota(err) || disk.TooLarge(err) {
		err = errors.Join(store.ErrOverQuota, err)
	}
	return err
}

// wants returns the own lines of the i-th of n new messages. They name their
// UIDs only if all others do: else they are counted in the file's order.
func (m *mailbox) wants(s *known.State, msg *store.New, i, n int, numbered bool) format.Wanted {
	w := format.Wanted{Flags: msg.Flags, Old: true}
	for _, word := range msg.Keywords {
		w.Kw |= m.keys.Bit([]byte(word))
	}
	w.Names = m.keys.Names
	if numbered {
		w.Uid = s.Snap.UIDNext + uint32(i)
	}
	if len(s.Recs) == 0 && i == 0 && s.Pseudo == 0 {
		w.Base, w.Validity, w.Last = true, s.Snap.UIDValidity, s.Snap.UIDNext-1+uint32(n)
	}
	return w
}

func (m *mailbox) appendMsg(a *appender, r *bufio.Reader, msg *store.New, own format.Wanted) error {
	a.Write(format.AppendFrom(make([]byte, 0, 128), format.EnvelopeSender(m.store.o.Sender), msg.Date))
	r.Reset(msg.Body)
	if _, err := format.CopyMessage(a, r, true, func(w io.Writer) { w.Write(own.Block(0)) }); err != nil {
		return err
	}
	return a.err
}

// raiseBase writes the highest UID into the first message. The figure has a
// fixed width, so nothing moves; false when keywords that the file does not
// name yet leave no room.
func (m *mailbox) raiseBase(s *known.State, last uint32) (bool, error) {
	r := &rewrite{m: m, s: s, first: 0}
	hdr, err := r.header(0)
	if err != nil {
		return false, err
	}
	w, _ := r.want(0)
	rec := &s.Recs[0]
	w.Last, w.Flags, w.Kw, w.Old = last, rec.Flags, rec.Kw, rec.Old
	out := format.Compose(hdr, w)
	if len(out) != len(hdr) || s.Pseudo > 0 {
		return false, nil
	}
	m.view.Lock()
	defer m.view.Unlock()
	m.read.drop()
	err = r.patch(s.Snap.Msgs[0].Pos, hdr, out)
	if err == nil {
		err = r.writePatches()
	}
	if err != nil {
		return false, err
	}
	n := *s
	n.Base.Last, n.Base.Names = last, len(w.Names)
	m.state.Store(&n)
	return true, nil
}
