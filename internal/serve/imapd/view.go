package imapd

import (
	"errors"
	"slices"
	"sort"

	"github.com/emersion/go-imap/v2"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
)

// view is the selected mailbox as the client knows it: message n is msgs[n-1],
// with the flags that the client was told. It shares the snapshot's list as
// long as no message has gone that the client still counts.
type view struct {
	name     string
	readOnly bool
	snap     *store.Snapshot // what msgs was made from
	msgs     []store.Msg
	ghosts   bool       // msgs holds messages that are gone
	recent   syntax.Set // UIDs that are \Recent in this session
	recents  int        // as told
}

// errStale is a mailbox whose UIDs mean something else now: the client must
// begin anew.
var errStale = errors.New("UIDVALIDITY changed")

// silence names the messages whose change by STORE .SILENT the client knows.
type silence struct {
	uids []uint32 // rising
	op   store.Op
	f    store.Flag
	kw   uint64
}

// expected returns the flags that the client of a silent STORE believes in.
func (q *silence) expected(m *store.Msg) (store.Flag, uint64) {
	if q == nil || !contains(q.uids, m.UID) {
		return m.Flags, m.Keywords
	}
	switch q.op {
	case store.Add:
		return m.Flags | q.f, m.Keywords | q.kw
	case store.Remove:
		return m.Flags &^ q.f, m.Keywords &^ q.kw
	}
	return q.f, q.kw
}

func contains(uids []uint32, uid uint32) bool {
	_, ok := slices.BinarySearch(uids, uid)
	return ok
}

// change is what sync found between the view and a snapshot.
type change struct {
	flags []int // indexes into msgs whose flags differ
	gone  []int // indexes into msgs of messages that are no more
	fresh int   // index into the snapshot of the first new message
}

// diff compares the view with snap. Both lists rise by UID.
func (v *view) diff(snap *store.Snapshot, quiet *silence) (c change, err error) {
	j := 0
	renamed := !isPrefix(v.snap.Keywords, snap.Keywords)
	for i := range v.msgs {
		m := &v.msgs[i]
		if j == len(snap.Msgs) || m.UID < snap.Msgs[j].UID {
			c.gone = append(c.gone, i)
			continue
		}
		now := &snap.Msgs[j]
		if now.UID < m.UID {
			return c, errStale
		}
		f, kw := quiet.expected(m)
		if f != now.Flags || kw != now.Keywords || renamed && kw != 0 {
			c.flags = append(c.flags, i)
		}
		j++
	}
	c.fresh = j
	return c, nil
}

func isPrefix(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

// take makes the view the snapshot's. Messages that are gone stay as ghosts
// unless told is set.
func (v *view) take(snap *store.Snapshot, c change, told bool) {
	v.snap = snap
	v.ghosts = len(c.gone) > 0 && !told
	if !v.ghosts {
		v.msgs = snap.Msgs
		return
	}
	merged := make([]store.Msg, 0, len(snap.Msgs)+len(c.gone))
	j, g := 0, 0
	for i := range v.msgs {
		if g < len(c.gone) && c.gone[g] == i {
			merged = append(merged, v.msgs[i])
			g++
			continue
		}
		merged = append(merged, snap.Msgs[j])
		j++
	}
	v.msgs = append(merged, snap.Msgs[j:]...)
}

// find returns the index of the first message with a UID of at least uid.
func (v *view) find(uid uint32) int {
	return sort.Search(len(v.msgs), func(i int) bool { return v.msgs[i].UID >= uid })
}

// countRecent counts the messages that are \Recent here.
func (v *view) countRecent() (n int) {
	for _, r := range v.recent {
		to := len(v.msgs)
		if r.Stop < 1<<32-1 {
			to = v.find(r.Stop + 1)
		}
		n += to - v.find(r.Start)
	}
	return n
}

// addRecent makes the messages from UID from on \Recent.
func (v *view) addRecent(msgs []store.Msg, from uint32) bool {
	i := sort.Search(len(msgs), func(i int) bool { return msgs[i].UID >= from })
	if i == len(msgs) {
		return false
	}
	v.recent = append(v.recent, imap.SeqRange{Start: msgs[i].UID, Stop: msgs[len(msgs)-1].UID})
	return true
}

// know finds sizes and dates of the messages at list where the store has not
// looked for them yet; nil stands for all. One that is gone stays unknown.
func (s *session) know(list []int) error {
	v := &s.view
	var uids []uint32
	if list == nil {
		list = allOf(v.msgs)
	}
	for _, i := range list {
		if v.msgs[i].Size == store.Unknown {
			uids = append(uids, v.msgs[i].UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	snap, err := s.box.Look(uids)
	if err != nil {
		return err
	}
	v.learn(snap)
	return nil
}

func allOf(msgs []store.Msg) []int {
	list := make([]int, len(msgs))
	for i := range list {
		list[i] = i
	}
	return list
}

// learn takes sizes and dates out of a snapshot, and nothing else: the client
// has not been told of what changed.
func (v *view) learn(snap *store.Snapshot) {
	msgs := slices.Clone(v.msgs)
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
	v.msgs = msgs
}

// sync tells the client what has changed in its mailbox since it was told last.
func (s *session) sync(expunges bool) error {
	if s.box == nil {
		return nil
	}
	snap, err := s.box.Sync()
	if err != nil {
		s.opts.Log.IMAPError(s.logName(), "Syncing mailbox "+s.view.name, err)
		return nil // the client keeps its view; the next command tries again
	}
	return s.tell(snap, expunges, nil)
}

// tell writes the differences between the view and snap. Flags come first, in
// the old numbers, then expunges from the highest number down, as Dovecot does.
func (s *session) tell(snap *store.Snapshot, expunges bool, quiet *silence) error {
	v := &s.view
	if snap == v.snap && quiet == nil && !(v.ghosts && expunges) {
		return nil
	}
	c, err := v.diff(snap, quiet)
	if err != nil || snap.UIDValidity != v.snap.UIDValidity {
		s.bye, s.reason = "Mailbox UIDVALIDITY changed", "UIDVALIDITY changed"
		return nil
	}
	if !slices.Equal(v.snap.Keywords, snap.Keywords) {
		s.writeFlagList(snap)
	}
	s.tellFlags(snap, c)
	if expunges {
		for i := len(c.gone) - 1; i >= 0; i-- {
			s.out.text("* ")
			s.out.num(int64(c.gone[i] + 1))
			s.out.text(" EXPUNGE")
			s.out.line()
		}
	}
	v.take(snap, c, expunges)
	s.tellNew(snap, c.fresh)
	return nil
}

// tellFlags writes a FETCH for each message whose flags have changed.
func (s *session) tellFlags(snap *store.Snapshot, c change) {
	gone := 0
	for _, i := range c.flags {
		for gone < len(c.gone) && c.gone[gone] < i {
			gone++
		}
		m := &snap.Msgs[i-gone]
		s.out.text("* ")
		s.out.num(int64(i + 1))
		s.out.text(" FETCH (")
		if s.cmd.uid {
			s.out.text("UID ")
			s.out.num(int64(m.UID))
			s.out.text(" ")
		}
		s.out.text("FLAGS ")
		s.out.buf = s.view.appendFlags(s.out.buf, m, m.Flags, snap.Keywords)
		s.out.text(")")
		s.out.line()
	}
}

// tellNew writes EXISTS and RECENT where they have changed.
func (s *session) tellNew(snap *store.Snapshot, fresh int) {
	v := &s.view
	if fresh < len(snap.Msgs) {
		if v.addRecent(snap.Msgs[fresh:], snap.FirstRecent) && !v.readOnly {
			s.claimRecent()
		}
		s.out.text("* ")
		s.out.num(int64(len(v.msgs)))
		s.out.text(" EXISTS")
		s.out.line()
	}
	if n := v.countRecent(); n != v.recents {
		v.recents = n
		s.out.text("* ")
		s.out.num(int64(n))
		s.out.text(" RECENT")
		s.out.line()
	}
}

// claimRecent takes \Recent from the sessions that come later.
func (s *session) claimRecent() {
	if err := s.box.ClaimRecent(); err != nil {
		s.opts.Log.IMAPError(s.logName(), "Mailbox "+s.view.name, err)
	}
}

// appendFlags writes "(\Seen kw)" in Dovecot's order.
func (v *view) appendFlags(b []byte, m *store.Msg, f store.Flag, keywords []string) []byte {
	b = append(b, '(')
	start := len(b)
	for _, x := range flagOrder {
		if f&x.bit != 0 {
			b = append(append(b, x.name...), ' ')
		}
	}
	if len(v.recent) > 0 && v.isRecent(m.UID) {
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

func (v *view) isRecent(uid uint32) bool {
	for _, r := range v.recent {
		if uid >= r.Start && uid <= r.Stop {
			return true
		}
	}
	return false
}

// flagOrder is the order in which Dovecot names the system flags.
var flagOrder = [...]struct {
	bit  store.Flag
	name imap.Flag
}{
	{store.Answered, imap.FlagAnswered},
	{store.Flagged, imap.FlagFlagged},
	{store.Deleted, imap.FlagDeleted},
	{store.Seen, imap.FlagSeen},
	{store.Draft, imap.FlagDraft},
}

// writeFlagList writes FLAGS and PERMANENTFLAGS.
func (s *session) writeFlagList(snap *store.Snapshot) {
	s.out.text("* FLAGS (")
	s.flagNames(snap)
	s.out.text(")")
	s.out.line()
	if s.view.readOnly {
		s.out.text("* OK [PERMANENTFLAGS ()] Read-only mailbox.")
		s.out.line()
		return
	}
	s.out.text("* OK [PERMANENTFLAGS (")
	s.flagNames(snap)
	if len(snap.Keywords) < 64 {
		s.out.text(` \*`) // another keyword would find room
	}
	s.out.text(")] Flags permitted.")
	s.out.line()
}

func (s *session) flagNames(snap *store.Snapshot) {
	for i, x := range flagOrder {
		if i > 0 {
			s.out.text(" ")
		}
		s.out.text(string(x.name))
	}
	for _, k := range snap.Keywords {
		s.out.text(" ", k)
	}
}

// pick turns the set of a command into indexes of the view. Sequence numbers
// must exist (RFC 3501 section 9, seq-number); UIDs need not.
func (s *session) pick(a syntax.Arg) ([]int, error) {
	set, ok := syntax.ParseSet(a.Text)
	switch {
	case a.Kind != syntax.Atom:
		return nil, syntax.Error("Invalid arguments")
	case !ok && s.cmd.uid:
		return nil, syntax.Error("Invalid uidset")
	case !ok:
		return nil, syntax.Error("Invalid messageset")
	}
	return s.view.pick(set, s.cmd.uid)
}

func (v *view) pick(set syntax.Set, uid bool) (list []int, err error) {
	count := len(v.msgs)
	last := uint32(count)
	if uid && count > 0 {
		last = v.msgs[count-1].UID
	}
	for _, r := range set.Resolve(last) {
		from, to := int(r.Start)-1, int(r.Stop)
		if uid {
			from, to = v.find(r.Start), v.after(r.Stop)
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

// after returns the index behind the last message with a UID of at most uid.
func (v *view) after(uid uint32) int {
	return sort.Search(len(v.msgs), func(i int) bool { return v.msgs[i].UID > uid })
}

// uids returns the UIDs of messages of the view.
func (v *view) uids(list []int) []uint32 {
	out := make([]uint32, len(list))
	for i, n := range list {
		out[i] = v.msgs[n].UID
	}
	return out
}
