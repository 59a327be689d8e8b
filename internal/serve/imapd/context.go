package imapd

import (
	"slices"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
)

// maxContexts is the number of searches of one session that are kept up to date, as in
// Dovecot. Each holds four octets for each of its messages.
const maxContexts = 10

// context is a search whose result is kept up to date: RFC 5267 section 4.3.
type context struct {
	tag  string
	uid  bool
	key  syntax.Key
	uids []uint32 // its messages, rising
}

// hasContext tells whether a tag is that of a context.
func (s *session) hasContext(tag string) bool {
	return slices.ContainsFunc(s.contexts, func(c *context) bool { return c.tag == tag })
}

// keepContext begins to keep the result of the search that runs up to date, or says
// that it will not be.
func (s *session) keepContext(key syntax.Key, list []int) {
	if len(s.contexts) >= maxContexts {
		s.out.Text(`* NO [NOUPDATE "`, s.cmd.tag, `"]`)
		s.out.Line()
		return
	}
	uids := s.view.UIDs(list)
	slices.Sort(uids) // a SORT gives them in its own order
	s.contexts = append(s.contexts, &context{tag: s.cmd.tag, uid: s.cmd.uid, key: key, uids: uids})
}

// cancelUpdate: RFC 5267 section 4.3.5.
func (s *session) cancelUpdate(args []syntax.Arg) error {
	if len(args) == 0 {
		return syntax.Error("Invalid parameters")
	}
	for i := range args {
		if k := args[i].Kind; k != syntax.String && k != syntax.Literal {
			return syntax.Error("Invalid parameters")
		}
		if !s.hasContext(string(args[i].Text)) {
			s.reply("NO Unknown tag")
			return nil
		}
		s.contexts = slices.DeleteFunc(s.contexts, func(c *context) bool { return c.tag == string(args[i].Text) })
	}
	return s.done("OK Updates cancelled")
}

// tellContexts tells what leaves and joins the results when the view becomes that of
// snap: in the numbers that hold before an expunge is told.
func (s *session) tellContexts(snap *store.Snapshot, expunges bool) {
	if len(s.contexts) == 0 {
		return
	}
	c, err := s.view.Diff(snap, nil)
	if err != nil {
		return
	}
	next := s.view // with the flags of snap, and the messages that have gone
	next.Snap, next.Msgs = snap, slices.Clone(s.view.Msgs)
	gone := 0
	for _, i := range c.Flags {
		for gone < len(c.Gone) && c.Gone[gone] < i {
			gone++
		}
		next.Msgs[i] = snap.Msgs[i-gone]
	}
	if !expunges {
		c.Gone = nil
	}
	for _, x := range s.contexts {
		sr := s.searcherOf(&next)
		sr.Prepare(x.key.Clone())
		var left, joined []int
		for _, i := range c.Gone {
			if x.drop(next.Msgs[i].UID) {
				left = append(left, i)
			}
		}
		for _, i := range c.Flags {
			switch uid := next.Msgs[i].UID; {
			case !sr.Match(i):
				if x.drop(uid) {
					left = append(left, i)
				}
			case x.add(uid):
				joined = append(joined, i)
			}
		}
		slices.Sort(left)
		s.writeContext(x, &next, left, joined)
	}
}

// tellJoined tells which of the new messages, those from index from on, join results.
func (s *session) tellJoined(from int) {
	for _, x := range s.contexts {
		if from == len(s.view.Msgs) {
			return
		}
		sr := s.searcherOf(&s.view)
		if sr.Prepare(x.key.Clone()) && s.know(view.All(s.view.Msgs)[from:]) != nil {
			continue
		}
		var joined []int
		for i := from; i < len(s.view.Msgs); i++ {
			if sr.Match(i) && x.add(s.view.Msgs[i].UID) {
				joined = append(joined, i)
			}
		}
		s.writeContext(x, &s.view, nil, joined)
	}
}

// drop takes a UID out, and tells whether it was there.
func (x *context) drop(uid uint32) bool {
	i, ok := slices.BinarySearch(x.uids, uid)
	if ok {
		x.uids = slices.Delete(x.uids, i, i+1)
	}
	return ok
}

// add puts a UID in, and tells whether it was not there.
func (x *context) add(uid uint32) bool {
	i, ok := slices.BinarySearch(x.uids, uid)
	if !ok {
		x.uids = slices.Insert(x.uids, i, uid)
	}
	return !ok
}

// writeContext writes an update. Its position is always 0: the result of a SEARCH has
// no order of its own.
func (s *session) writeContext(x *context, v *view.View, left, joined []int) {
	if len(left)+len(joined) == 0 {
		return
	}
	s.out.Text(`* ESEARCH (TAG "`, x.tag, `")`)
	if x.uid {
		s.out.Text(" UID")
	}
	for k, list := range [][]int{left, joined} {
		if len(list) == 0 {
			continue
		}
		s.out.Text([]string{" REMOVEFROM (0 ", " ADDTO (0 "}[k])
		var set syntax.Set
		for _, i := range list {
			if x.uid {
				set.Add(v.Msgs[i].UID)
			} else {
				set.Add(uint32(i + 1))
			}
		}
		s.out.Buf = set.Append(s.out.Buf)
		s.out.Text(")")
	}
	s.out.Line()
}
