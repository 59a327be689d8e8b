// Package view keeps a selected mailbox as one client knows it: message n is
// the nth of a list that changes only when the client has been told, however
// the mailbox goes on. It finds the differences; session writes them.
package view

import (
	"errors"
	"slices"
	"sort"
	"strconv"

	"github.com/emersion/go-imap/v2"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
)

// View is the selected mailbox as the client knows it: message n is msgs[n-1],
// with the flags that the client was told. It shares the snapshot's list as
// long as no message has gone that the client still counts.
type View struct {
	Name     string
	ReadOnly bool
	Snap     *store.Snapshot // what msgs was made from
	Msgs     []store.Msg
	ModSeqs  bool       // the client wants to hear of modseqs (RFC 7162)
	Modern   bool       // nothing is \Recent: IMAP4rev2 has dropped it
	UIDOnly  bool       // messages have no numbers (RFC 9586)
	Ghosts   bool       // msgs holds messages that are gone
	Recent   syntax.Set // UIDs that are \Recent in this session
	Recents  int        // as told
}

// ErrStale is a mailbox whose UIDs mean something else now: the client must
// begin anew.
var ErrStale = errors.New("UIDVALIDITY changed")

// Silence names the messages whose change by STORE .SILENT the client knows.
type Silence struct {
	UIDs     []uint32 // rising
	Op       store.Op
	Flags    store.Flag
	Keywords uint64
}

// expected returns the flags that the client of a silent STORE believes in.
func (q *Silence) expected(m *store.Msg) (store.Flag, uint64) {
	if q == nil || !contains(q.UIDs, m.UID) {
		return m.Flags, m.Keywords
	}
	switch q.Op {
	case store.Add:
		return m.Flags | q.Flags, m.Keywords | q.Keywords
	case store.Remove:
		return m.Flags &^ q.Flags, m.Keywords &^ q.Keywords
	}
	return q.Flags, q.Keywords
}

func contains(uids []uint32, uid uint32) bool {
	_, ok := slices.BinarySearch(uids, uid)
	return ok
}

// Change is what sync found between the view and a snapshot.
type Change struct {
	Flags []int // indexes into msgs whose flags differ
	Gone  []int // indexes into msgs of messages that are no more
	Fresh int   // index into the snapshot of the first new message
	Only  []int // those of Flags where nothing but the modseq has changed
}

// Diff compares the view with snap. Both lists rise by UID.
func (v *View) Diff(snap *store.Snapshot, quiet *Silence) (c Change, err error) {
	j := 0
	renamed := !isPrefix(v.Snap.Keywords, snap.Keywords)
	for i := range v.Msgs {
		m := &v.Msgs[i]
		if j == len(snap.Msgs) || m.UID < snap.Msgs[j].UID {
			c.Gone = append(c.Gone, i)
			continue
		}
		now := &snap.Msgs[j]
		if now.UID < m.UID {
			return c, ErrStale
		}
		f, kw := quiet.expected(m)
		if f != now.Flags || kw != now.Keywords || renamed && kw != 0 {
			c.Flags = append(c.Flags, i)
		} else if v.ModSeqs && m.ModSeq != now.ModSeq {
			c.Flags, c.Only = append(c.Flags, i), append(c.Only, i)
		}
		j++
	}
	c.Fresh = j
	return c, nil
}

func isPrefix(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

// Take makes the view the snapshot's. Messages that are gone stay as ghosts
// unless told is set.
func (v *View) Take(snap *store.Snapshot, c Change, told bool) {
	v.Snap = snap
	v.Ghosts = len(c.Gone) > 0 && !told
	if !v.Ghosts {
		v.Msgs = snap.Msgs
		return
	}
	merged := make([]store.Msg, 0, len(snap.Msgs)+len(c.Gone))
	j, g := 0, 0
	for i := range v.Msgs {
		if g < len(c.Gone) && c.Gone[g] == i {
			merged = append(merged, v.Msgs[i])
			g++
			continue
		}
		merged = append(merged, snap.Msgs[j])
		j++
	}
	v.Msgs = append(merged, snap.Msgs[j:]...)
}

// Find returns the index of the first message with a UID of at least uid.
func (v *View) Find(uid uint32) int {
	return sort.Search(len(v.Msgs), func(i int) bool { return v.Msgs[i].UID >= uid })
}

// CountRecent counts the messages that are \Recent here.
func (v *View) CountRecent() (n int) {
	for _, r := range v.Recent {
		to := len(v.Msgs)
		if r.Stop < 1<<32-1 {
			to = v.Find(r.Stop + 1)
		}
		n += to - v.Find(r.Start)
	}
	return n
}

// AddRecent makes the messages from UID from on \Recent.
func (v *View) AddRecent(msgs []store.Msg, from uint32) bool {
	i := sort.Search(len(msgs), func(i int) bool { return msgs[i].UID >= from })
	if i == len(msgs) {
		return false
	}
	v.Recent = append(v.Recent, imap.SeqRange{Start: msgs[i].UID, Stop: msgs[len(msgs)-1].UID})
	return true
}

// All returns the indexes of all messages.
func All(msgs []store.Msg) []int {
	list := make([]int, len(msgs))
	for i := range list {
		list[i] = i
	}
	return list
}

// Learn takes sizes and dates out of a snapshot, and nothing else: the client
// has not been told of what changed.
func (v *View) Learn(snap *store.Snapshot) {
	msgs := slices.Clone(v.Msgs)
	j := 0
	for i := range msgs {
		for j < len(snap.Msgs) && snap.Msgs[j].UID < msgs[i].UID {
			j++
		}
		if j < len(snap.Msgs) && snap.Msgs[j].UID == msgs[i].UID {
			now := &snap.Msgs[j]
			msgs[i].Date, msgs[i].Size, msgs[i].Header, msgs[i].Raw = now.Date, now.Size, now.Header, now.Raw
		}
	}
	v.Msgs = msgs
}

// AppendFlags writes "(\Seen kw)" in Dovecot's order.
func (v *View) AppendFlags(b []byte, m *store.Msg, f store.Flag, keywords []string) []byte {
	b = append(b, '(')
	start := len(b)
	for _, x := range FlagOrder {
		if f&x.Bit != 0 {
			b = append(append(b, x.Name...), ' ')
		}
	}
	if len(v.Recent) > 0 && !v.Modern && v.IsRecent(m.UID) {
		b = append(b, `\Recent `...)
	}
	if m.Keywords != 0 {
		for i, k := range keywords {
			if m.Keywords&(1<<i) != 0 {
				b = append(append(b, k...), ' ')
			}
		}
	}
	if len(b) > start {
		b = b[:len(b)-1]
	}
	return append(b, ')')
}

// AppendFetch writes the beginning of an answer that tells of message i: with its
// number, or with its UID alone (RFC 9586 section 3.5).
func (v *View) AppendFetch(b []byte, i int) []byte {
	b = append(b, "* "...)
	if v.UIDOnly {
		b = strconv.AppendUint(b, uint64(v.Msgs[i].UID), 10)
		return append(b, " UIDFETCH ("...)
	}
	b = strconv.AppendInt(b, int64(i+1), 10)
	return append(b, " FETCH ("...)
}

// IsRecent tells whether a message is \Recent in this session.
func (v *View) IsRecent(uid uint32) bool {
	for _, r := range v.Recent {
		if uid >= r.Start && uid <= r.Stop {
			return true
		}
	}
	return false
}

// FlagOrder is the order in which Dovecot names the system flags.
var FlagOrder = [...]struct {
	Bit  store.Flag
	Name imap.Flag
}{
	{store.Answered, imap.FlagAnswered},
	{store.Flagged, imap.FlagFlagged},
	{store.Deleted, imap.FlagDeleted},
	{store.Seen, imap.FlagSeen},
	{store.Draft, imap.FlagDraft},
}

// Pick returns the indexes of a set, of UIDs or of numbers; numbers must exist.
func (v *View) Pick(set syntax.Set, uid bool) (list []int, err error) {
	count := len(v.Msgs)
	last := uint32(count)
	if uid && count > 0 {
		last = v.Msgs[count-1].UID
	}
	for _, r := range set.Resolve(last) {
		from, to := int(r.Start)-1, int(r.Stop)
		if uid {
			from, to = v.Find(r.Start), v.After(r.Stop)
		} else if from < 0 || to > count {
			return nil, syntax.Error("Invalid messageset")
		}
		list = slices.Grow(list, max(to-from, 0))
		for i := from; i < to; i++ {
			list = append(list, i)
		}
	}
	return list, nil
}

// After returns the index behind the last message with a UID of at most uid.
func (v *View) After(uid uint32) int {
	return sort.Search(len(v.Msgs), func(i int) bool { return v.Msgs[i].UID > uid })
}

// UIDs returns the UIDs of messages of the view.
func (v *View) UIDs(list []int) []uint32 {
	out := make([]uint32, len(list))
	for i, n := range list {
		out[i] = v.Msgs[n].UID
	}
	return out
}

// Missing returns which UIDs of a resolved set are below UIDNEXT and those of no
// message. It takes time in proportion to messages and ranges, not to UIDs.
func (v *View) Missing(known syntax.Set) (gone syntax.Set) {
	add := func(from, to uint32) {
		if from <= to {
			gone = append(gone, imap.SeqRange{Start: from, Stop: to})
		}
	}
	for _, r := range known {
		from, to := max(r.Start, 1), min(r.Stop, v.Snap.UIDNext-1)
		for i := v.Find(from); i < len(v.Msgs) && v.Msgs[i].UID <= to; i++ {
			add(from, v.Msgs[i].UID-1)
			from = v.Msgs[i].UID + 1
		}
		add(from, to)
	}
	return gone
}
