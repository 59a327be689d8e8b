package imapd

import (
	"slices"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
)

// know finds sizes and dates of the messages at list where the store has not
// looked for them yet; nil stands for all. One that is gone stays unknown.
func (s *session) know(list []int) error {
	v := &s.view
	var uids []uint32
	if list == nil {
		list = view.All(v.Msgs)
	}
	for _, i := range list {
		if v.Msgs[i].Size == store.Unknown {
			uids = append(uids, v.Msgs[i].UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	snap, err := s.box.Look(uids)
	if err != nil {
		return err
	}
	v.Learn(snap)
	return nil
}

// sync tells the client what has changed in its mailbox since it was told last.
func (s *session) sync(expunges bool) error {
	if s.box == nil {
		return nil
	}
	snap, err := s.box.Sync()
	if err != nil {
		s.opts.Log.IMAPError(s.logName(), "Syncing mailbox "+s.view.Name, err)
		return nil // the client keeps its view; the next command tries again
	}
	return s.tell(snap, expunges, nil)
}

// tell writes the differences between the view and snap. Flags come first, in
// the old numbers, then expunges from the highest number down, as Dovecot does.
func (s *session) tell(snap *store.Snapshot, expunges bool, quiet *view.Silence) error {
	v := &s.view
	if s.holdsBack() {
		// Dovecot holds expunges back as well: they break such a client as badly.
		snap, expunges = v.Told(snap), false
	}
	if snap == v.Snap && quiet == nil && !(v.Ghosts && expunges) {
		return nil
	}
	c, err := v.Diff(snap, quiet)
	if err != nil || snap.UIDValidity != v.Snap.UIDValidity {
		s.bye, s.reason = "Mailbox UIDVALIDITY changed", "UIDVALIDITY changed"
		return nil
	}
	if !slices.Equal(v.Snap.Keywords, snap.Keywords) {
		s.writeFlagList(snap)
	}
	s.tellFlags(snap, c)
	s.tellContexts(snap, expunges)
	if expunges && (s.qresync || s.uidOnly) && len(c.Gone) > 0 {
		s.vanished("", uidSet(v, c.Gone))
		s.gone = true
	} else if expunges {
		for i := len(c.Gone) - 1; i >= 0; i-- {
			s.out.Text("* ")
			s.out.Num(int64(c.Gone[i] + 1))
			s.out.Text(" EXPUNGE")
			s.out.Line()
		}
	}
	fresh := len(v.Msgs) - len(c.Gone)
	v.Take(snap, c, expunges)
	if v.Ghosts {
		fresh += len(c.Gone)
	}
	s.tellNew(snap, c.Fresh)
	s.tellJoined(fresh)
	s.fetchNew(fresh)
	return nil
}

// tellFlags writes a FETCH for each message whose flags have changed.
func (s *session) tellFlags(snap *store.Snapshot, c view.Change) {
	gone := 0
	for _, i := range c.Flags {
		for gone < len(c.Gone) && c.Gone[gone] < i {
			gone++
		}
		m := &snap.Msgs[i-gone]
		s.out.Buf = s.view.AppendFetch(s.out.Buf, i)
		if (s.cmd.uid || s.qresync) && !s.uidOnly {
			s.out.Text("UID ")
			s.out.Num(int64(m.UID))
			s.out.Text(" ")
		}
		only := false
		if s.view.ModSeqs {
			_, only = slices.BinarySearch(c.Only, i)
			s.out.Text("MODSEQ (")
			s.out.Num(int64(m.ModSeq))
			s.out.Text(map[bool]string{true: ")", false: ") "}[only])
		}
		if !only {
			s.out.Text("FLAGS ")
			s.out.Buf = s.view.AppendFlags(s.out.Buf, m, m.Flags, snap.Keywords)
		}
		s.out.Text(")")
		s.out.Line()
	}
}

// tellNew writes EXISTS and RECENT where they have changed.
func (s *session) tellNew(snap *store.Snapshot, fresh int) {
	v := &s.view
	if fresh < len(snap.Msgs) {
		if v.AddRecent(snap.Msgs[fresh:], snap.FirstRecent) && !v.ReadOnly {
			s.claimRecent()
		}
		s.out.Text("* ")
		s.out.Num(int64(len(v.Msgs)))
		s.out.Text(" EXISTS")
		s.out.Line()
	}
	if n := v.CountRecent(); n != v.Recents && !v.Modern {
		v.Recents = n
		s.out.Text("* ")
		s.out.Num(int64(n))
		s.out.Text(" RECENT")
		s.out.Line()
	}
}

// claimRecent takes \Recent from the sessions that come later.
func (s *session) claimRecent() {
	if err := s.box.ClaimRecent(); err != nil {
		s.opts.Log.IMAPError(s.logName(), "Mailbox "+s.view.Name, err)
	}
}

// writeFlagList writes FLAGS and PERMANENTFLAGS.
func (s *session) writeFlagList(snap *store.Snapshot) {
	s.out.Text("* FLAGS (")
	s.flagNames(snap)
	s.out.Text(")")
	s.out.Line()
	if s.view.ReadOnly {
		s.out.Text("* OK [PERMANENTFLAGS ()] Read-only mailbox.")
		s.out.Line()
		return
	}
	s.out.Text("* OK [PERMANENTFLAGS (")
	s.flagNames(snap)
	if len(snap.Keywords) < 64 {
		s.out.Text(` \*`) // another keyword would find room
	}
	s.out.Text(")] Flags permitted.")
	s.out.Line()
}

func (s *session) flagNames(snap *store.Snapshot) {
	for i, x := range view.FlagOrder {
		if i > 0 {
			s.out.Text(" ")
		}
		s.out.Text(string(x.Name))
	}
	for _, k := range snap.Keywords {
		s.out.Text(" ", k)
	}
}

// pick turns the set of a command into indexes of the view. Sequence numbers
// must exist (RFC 3501 section 9, seq-number); UIDs need not.
func (s *session) pick(a syntax.Arg) ([]int, error) {
	if a.Is("$") { // RFC 5182: the saved result; what is gone stands for nothing
		return s.view.Pick(s.saved, true)
	}
	set, ok := syntax.ParseSet(a.Text)
	switch {
	case a.Kind != syntax.Atom:
		return nil, syntax.Error("Invalid arguments")
	case !ok && s.cmd.uid:
		return nil, syntax.Error("Invalid uidset")
	case !ok:
		return nil, syntax.Error("Invalid messageset")
	}
	return s.view.Pick(set, s.cmd.uid)
}
