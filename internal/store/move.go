package store

import (
	"io"
	"time"
)

// MoveAll moves every message of src to the end of dst, with flags, keywords
// and dates: what renaming INBOX is (RFC 3501 section 6.3.5). Nothing leaves
// src before all of it is in dst and on disk. The stores call it.
func MoveAll(dst, src Mailbox) error {
	if _, err := src.Sync(); err != nil {
		return err
	}
	snap, err := src.Look(nil)
	if err != nil {
		return err
	}
	var uids []uint32
	for i := range snap.Msgs {
		if snap.Msgs[i].Size != Unknown { // else another program has just taken it away
			uids = append(uids, snap.Msgs[i].UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	if err := copyAll(dst, src, snap, uids); err != nil {
		return err
	}
	_, err = src.Expunge(uids)
	return err
}

// copyAll copies the messages uids, which snap describes.
func copyAll(dst, src Mailbox, snap *Snapshot, uids []uint32) error {
	if c, ok := src.(Copier); ok {
		if _, ok, err := c.CopyTo(dst, uids); ok || err != nil {
			return err
		}
	}
	msgs := make([]New, 0, len(uids))
	for i := range snap.Msgs {
		m := &snap.Msgs[i]
		if m.Size == Unknown {
			continue
		}
		body := &body{box: src, uid: m.UID}
		defer body.end()
		msgs = append(msgs, New{Body: body, Flags: m.Flags, Keywords: snap.Words(m.Keywords), Date: time.Unix(m.Date, 0)})
	}
	_, err := dst.Append(msgs)
	return err
}

// body reads one message: it opens it when it is asked for, and closes it at
// its end, so that of a whole mailbox one message is open at a time.
type body struct {
	box Mailbox
	uid uint32
	r   io.ReadCloser
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (n int, err error) {
	if b.r == nil {
		if b.r, err = b.box.Read(b.uid, 0, -1); err != nil {
			return 0, err
		}
	}
	if n, err = b.r.Read(p); err != nil {
		b.end()
		b.r = ended{err}
	}
	return n, err
}

func (b *body) end() {
	if b.r != nil {
		b.r.Close()
	}
}

// ended is a reader that says again how it ended.
type ended struct{ err error }

func (e ended) Read([]byte) (int, error) { return 0, e.err }
func (e ended) Close() error             { return nil }
