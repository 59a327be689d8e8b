package imapd

import (
	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
)

// selectBox: SELECT and EXAMINE, RFC 3501 sections 6.3.1 and 6.3.2.
func (s *session) selectBox(args []syntax.Arg) error {
	if len(args) == 0 || !args[0].IsString() {
		return syntax.Error("Invalid arguments")
	}
	if s.box != nil {
		s.closeBox()
		s.out.Text("* OK [CLOSED] Previous mailbox closed.")
		s.out.Line()
	}
	how, err := syntax.ParseSelect(args[1:])
	if err != nil {
		return err
	}
	if how.QResync && !s.qresync {
		return syntax.Error("QRESYNC not enabled")
	}
	s.condstore = s.condstore || how.CondStore
	name, err := s.mailboxName(args[0])
	if err == nil {
		err = s.open(name, s.cmd.name == "EXAMINE")
	}
	if err != nil {
		return s.failed(err, name, "")
	}
	s.describe()
	if how.QResync && how.Validity == s.view.Snap.UIDValidity {
		s.resync(how)
	}
	if s.view.ReadOnly {
		s.reply("OK [READ-ONLY] Examine completed")
	} else {
		s.reply("OK [READ-WRITE] Select completed")
	}
	return nil
}

// open opens a mailbox and makes the session's view of it.
func (s *session) open(name string, readOnly bool) error {
	box, err := s.tree.Open(name)
	if err != nil {
		return err
	}
	snap, err := box.Sync()
	if err != nil {
		box.Close()
		return err
	}
	s.box = box
	s.view = view.View{Name: name, ReadOnly: readOnly, ModSeqs: s.condstore, Modern: s.modern, UIDOnly: s.uidOnly, Snap: snap, Msgs: snap.Msgs}
	if s.view.AddRecent(snap.Msgs, snap.FirstRecent) && !readOnly {
		s.claimRecent()
	}
	s.view.Recents = s.view.CountRecent()
	s.watchSelected()
	return nil
}

// describe writes what SELECT tells of a mailbox.
func (s *session) describe() {
	snap := s.view.Snap
	s.writeFlagList(snap)
	s.status1("", int64(len(snap.Msgs)), " EXISTS")
	if s.modern { // RFC 9051 section 6.3.2: no RECENT and no UNSEEN, but the name
		s.out.Text(`* LIST () "`, string(s.tree.Separator()), `" `)
		s.out.Name(s.view.Name)
		s.out.Line()
	} else {
		s.status1("", int64(s.view.Recents), " RECENT")
		s.firstUnseen()
	}
	s.status1("OK [UIDVALIDITY ", int64(snap.UIDValidity), "] UIDs valid")
	s.status1("OK [UIDNEXT ", int64(snap.UIDNext), "] Predicted next UID")
	s.status1("OK [HIGHESTMODSEQ ", int64(snap.ModSeq), "] Highest")
	s.out.Text("* OK [MAILBOXID (", ident.Of(s.box), ")] Ok") // RFC 8474 section 4.2
	s.out.Line()
}

// firstUnseen tells the number of the first message that is not \Seen.
func (s *session) firstUnseen() {
	for i := range s.view.Snap.Msgs {
		if s.view.Snap.Msgs[i].Flags&store.Seen == 0 && !s.uidOnly {
			s.status1("OK [UNSEEN ", int64(i+1), "] First unseen.")
			return
		}
	}
}

// status1 writes an untagged answer with a number in it.
func (s *session) status1(before string, n int64, after string) {
	s.out.Text("* ", before)
	s.out.Num(n)
	s.out.Text(after)
	s.out.Line()
}

// closeBox gives the selected mailbox back.
func (s *session) closeBox() {
	if s.box == nil {
		return
	}
	if err := s.box.Close(); err != nil {
		s.opts.Log.IMAPError(s.logName(), "Closing mailbox "+s.view.Name, err)
	}
	s.box, s.view, s.saved, s.contexts = nil, view.View{}, nil, nil
	s.last.Forget()
	s.watchSelected()
}

// closeCommand: CLOSE expunges and says nothing of it (RFC 3501 section 6.4.2).
func (s *session) closeCommand([]syntax.Arg) error {
	if uids := s.deleted(nil); len(uids) > 0 {
		if _, err := s.box.Expunge(uids); err != nil {
			return s.failed(err, s.view.Name, "")
		}
		s.count.Expunged += len(uids)
	}
	s.closeBox()
	s.reply("OK Close completed")
	return nil
}

// unselect: RFC 3691.
func (s *session) unselect([]syntax.Arg) error {
	s.closeBox()
	s.reply("OK Unselect completed")
	return nil
}

// deleted returns the UIDs of the messages marked \Deleted, of those in set
// where it is given. A read-only mailbox has none.
func (s *session) deleted(set syntax.Set) (uids []uint32) {
	if s.view.ReadOnly {
		return nil
	}
	snap, err := s.box.Sync()
	if err != nil {
		snap = s.box.Snapshot()
	}
	for i := range snap.Msgs {
		m := &snap.Msgs[i]
		if m.Flags&store.Deleted != 0 && (set == nil || set.Contains(m.UID)) {
			uids = append(uids, m.UID)
		}
	}
	return uids
}

// expunge: RFC 3501 section 6.4.3.
func (s *session) expunge([]syntax.Arg) error { return s.expungeSet(nil) }

// uidExpunge: RFC 4315 section 2.1.
func (s *session) uidExpunge(args []syntax.Arg) error {
	if len(args) == 0 {
		return syntax.Error("Missing arguments")
	}
	set, ok := syntax.ParseSet(args[0].Text)
	if !ok || args[0].Kind != syntax.Atom {
		return syntax.Error("Invalid uidset")
	}
	last := uint32(0)
	if n := len(s.view.Msgs); n > 0 {
		last = s.view.Msgs[n-1].UID
	}
	return s.expungeSet(set.Resolve(last))
}

func (s *session) expungeSet(set syntax.Set) error {
	if uids := s.deleted(set); len(uids) > 0 {
		if _, err := s.box.Expunge(uids); err != nil {
			return s.failed(err, s.view.Name, "")
		}
		s.count.Expunged += len(uids)
	}
	return s.done("OK Expunge completed")
}
