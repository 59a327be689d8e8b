package imapd

import (
	"slices"

	"packetboat/internal/serve/imapd/live"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
)

// maxContexts is the number of searches of one session that are kept up to date, as in
// Dovecot. Each holds four octets for each of its messages.
const maxContexts = 10

// hasContext tells whether a tag is that of a context.
func (s *session) hasContext(tag string) bool {
	return slices.ContainsFunc(s.contexts, func(c *live.Context) bool { return c.Tag == tag })
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
	s.contexts = append(s.contexts, &live.Context{Tag: s.cmd.tag, UID: s.cmd.uid, Key: key, UIDs: uids})
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
		s.contexts = slices.DeleteFunc(s.contexts, func(c *live.Context) bool { return c.Tag == string(args[i].Text) })
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
		x.Change(&s.out, &next, c, s.searcherOf(&next))
	}
}

// tellJoined tells which of the new messages, those from index from on, join results.
func (s *session) tellJoined(from int) {
	for _, x := range s.contexts {
		if from == len(s.view.Msgs) {
			return
		}
		sr := s.searcherOf(&s.view)
		if sr.Prepare(x.Key.Clone()) && s.know(view.All(s.view.Msgs)[from:]) != nil {
			continue
		}
		x.Join(&s.out, &s.view, from, sr)
	}
}
