// Package ident says which mailbox and which message something is, whatever they
// are called at the moment (RFC 8474), and since when a message lies where it
// does (RFC 8514). Both search and answers ask it.
package ident

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"strconv"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// Mailbox is a mailbox that has an id of its own, as Dovecot's have.
type Mailbox interface {
	// GUID returns 32 hex digits that stay with the mailbox when it is renamed.
	GUID() (string, error)
}

// Saver is a mailbox that knows since when a message is in it.
type Saver interface {
	// SaveDate returns seconds since 1970.
	SaveDate(uid uint32) (int64, error)
}

// Of returns the MAILBOXID of a mailbox. Where it has none of its own UIDVALIDITY
// has to do, which no two mailboxes of one such store share.
func Of(box store.Mailbox) string {
	if b, ok := inner(box).(Mailbox); ok {
		if id, err := b.GUID(); err == nil && id != "" {
			return id
		}
	}
	return "V" + strconv.FormatUint(uint64(box.Snapshot().UIDValidity), 10)
}

// inner returns the mailbox behind what holds it to limits or watches it.
func inner(box store.Mailbox) store.Mailbox {
	for {
		w, ok := box.(interface{ Unwrap() store.Mailbox })
		if !ok {
			return box
		}
		box = w.Unwrap()
	}
}

// The kinds of values that are kept of a message.
const (
	emailKind = "emailid.1"
	savedKind = "saved.1" // 8 octets of seconds since 1970
)

// Messages finds the ids of messages of one mailbox.
type Messages struct {
	Box   store.Mailbox
	Index *index.File // nil where nothing is kept
	buf   []byte
}

func tagOf(m *store.Msg) uint32 { return uint32(m.Size) }

// EmailID returns the EMAILID of a message: a hash of its octets, so that a copy has
// the same one and nothing else has (RFC 8474 section 5.1). It is worked out once.
func (x *Messages) EmailID(m *store.Msg) (string, error) {
	kind := x.Index.Kind(emailKind)
	if x.Index != nil {
		var ok bool
		if x.buf, ok = x.Index.Append(x.buf[:0], kind, m.UID, tagOf(m)); ok {
			return string(x.buf), nil
		}
	}
	r, err := x.Box.Read(m.UID, 0, -1)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	id := "M" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
	if x.Index != nil && m.Size > 0 {
		x.Index.Put(kind, m.UID, tagOf(m), []byte(id))
	}
	return id, nil
}

// SaveDate returns when a message came into its mailbox. A Maildir tells it; an mbox
// has the date of the delivery only, which is the same for what was delivered,
// and what KeepSaveDate has kept of the others.
func (x *Messages) SaveDate(m *store.Msg) (time.Time, error) {
	kind := x.Index.Kind(savedKind)
	if x.Index != nil {
		var ok bool
		if x.buf, ok = x.Index.Append(x.buf[:0], kind, m.UID, tagOf(m)); ok && len(x.buf) == 8 {
			return time.Unix(int64(binary.LittleEndian.Uint64(x.buf)), 0), nil
		}
	}
	s, ok := inner(x.Box).(Saver)
	if !ok {
		return time.Unix(m.Date, 0), nil
	}
	n, err := s.SaveDate(m.UID)
	if err != nil {
		return time.Time{}, err
	}
	x.put(m, n) // a change of its flags changes what the file says
	return time.Unix(n, 0), nil
}

// Kept tells whether the save date of a message was kept.
func (x *Messages) Kept(m *store.Msg) bool {
	if x.Index == nil {
		return false
	}
	b, ok := x.Index.Append(nil, x.Index.Kind(savedKind), m.UID, tagOf(m))
	return ok && len(b) == 8
}

func (x *Messages) put(m *store.Msg, seconds int64) {
	if x.Index != nil && m.Size > 0 {
		x.Index.Put(x.Index.Kind(savedKind), m.UID, tagOf(m), binary.LittleEndian.AppendUint64(nil, uint64(seconds)))
	}
}

// KeepSaveDate keeps now as the save date of messages that were just appended, where
// the mailbox does not tell it.
func (x *Messages) KeepSaveDate(uids []uint32, now time.Time) {
	if _, ok := inner(x.Box).(Saver); ok || x.Index == nil || len(uids) == 0 {
		return
	}
	want := map[uint32]bool{}
	for _, u := range uids {
		want[u] = true
	}
	msgs := x.Box.Snapshot().Msgs
	for i := len(msgs) - 1; i >= 0 && len(want) > 0; i-- {
		if m := &msgs[i]; want[m.UID] {
			x.put(m, now.Unix())
			delete(want, m.UID)
		}
	}
}
