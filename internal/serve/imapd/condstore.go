package imapd

import (
	"slices"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
)

// enableCondstore: RFC 7162 section 3.1. From now on every change of flags comes
// with its modseq. The stores keep modseqs in their caches; where one is lost all
// messages get a higher one than any before, and clients ask for all flags again.
func (s *session) enableCondstore() {
	if s.condstore {
		return
	}
	s.condstore = true
	if s.box != nil {
		s.view.ModSeqs = true
		s.status1("OK [HIGHESTMODSEQ ", int64(s.view.Snap.ModSeq), "] Highest")
	}
}

// changedSince leaves the messages that have changed, and adds MODSEQ to the items
// (RFC 7162 section 3.1.4.1). VANISHED tells which of the UIDs are gone: all that
// are not there, because a client must believe it of those it never knew.
func (s *session) changedSince(items []syntax.Item, list []int, set syntax.Arg, since syntax.Since) ([]syntax.Item, []int, error) {
	modseq := slices.ContainsFunc(items, func(it syntax.Item) bool { return it.Kind == syntax.ItemModSeq })
	if !since.Given && !modseq {
		return items, list, nil
	}
	if since.Vanished && !s.qresync {
		return nil, nil, syntax.Error("QRESYNC not enabled")
	}
	s.enableCondstore()
	if !since.Given {
		return items, list, nil
	}
	if !modseq {
		items = append(items, syntax.Item{Kind: syntax.ItemModSeq, Name: "MODSEQ"})
	}
	if since.Vanished {
		known, _ := syntax.ParseSet(set.Text)
		s.tellMissing(known.Resolve(s.view.Snap.UIDNext - 1))
	}
	list = slices.DeleteFunc(list, func(i int) bool { return s.view.Msgs[i].ModSeq <= since.ModSeq })
	return items, list, nil
}

// vanished writes a VANISHED: RFC 7162 section 3.2.10.
func (s *session) vanished(when string, set syntax.Set) {
	s.out.Text("* VANISHED ", when)
	s.out.Buf = set.Append(s.out.Buf)
	s.out.Line()
}

// uidSet returns the UIDs of messages of a view.
func uidSet(v *view.View, list []int) (set syntax.Set) {
	for _, i := range list {
		set.Add(v.Msgs[i].UID)
	}
	return set
}

// tellMissing says which UIDs of known are those of no message.
func (s *session) tellMissing(known syntax.Set) {
	if gone := s.view.Missing(known); len(gone) > 0 {
		s.vanished("(EARLIER) ", gone)
	}
}

// resync tells what has changed since the client was here: RFC 7162 section 3.2.5.
func (s *session) resync(how syntax.Select) {
	known := how.Known
	if known == nil {
		known = syntax.Set{{Start: 1, Stop: s.view.Snap.UIDNext - 1}}
	}
	s.tellMissing(known)
	for i := range s.view.Msgs {
		m := &s.view.Msgs[i]
		if m.ModSeq <= how.ModSeq || how.Known != nil && !how.Known.Contains(m.UID) {
			continue
		}
		s.out.Buf = s.view.AppendFetch(s.out.Buf, i)
		if !s.uidOnly {
			s.out.Text("UID ")
			s.out.Num(int64(m.UID))
			s.out.Text(" ")
		}
		s.out.Text("FLAGS ")
		s.out.Buf = s.view.AppendFlags(s.out.Buf, m, m.Flags, s.view.Snap.Keywords)
		s.out.Text(" MODSEQ (")
		s.out.Num(int64(m.ModSeq))
		s.out.Text("))")
		s.out.Line()
	}
}

// unchanged leaves the messages whose flags nobody has changed since: RFC 7162
// section 3.1.3. The others are named in the answer.
func (s *session) unchanged(list []int, modseq uint64) (keep []int, done string, err error) {
	s.enableCondstore()
	snap, err := s.box.Sync()
	if err != nil {
		return nil, "", err
	}
	var failed syntax.Set
	k := 0
	for _, i := range list {
		uid := s.view.Msgs[i].UID
		for k < len(snap.Msgs) && snap.Msgs[k].UID < uid {
			k++
		}
		if k < len(snap.Msgs) && snap.Msgs[k].UID == uid && snap.Msgs[k].ModSeq <= modseq {
			keep = append(keep, i)
		} else {
			failed.Add(s.number(i))
		}
	}
	if len(failed) == 0 {
		return keep, "OK Store completed", nil
	}
	return keep, "OK [MODIFIED " + string(failed.Append(nil)) + "] Conditional store failed", nil
}
