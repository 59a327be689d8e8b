package imapd

import (
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/reply"
	"packetboat/internal/serve/imapd/search"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store"
)

// search: SEARCH and UID SEARCH, RFC 3501 section 6.4.4, with the results of
// RFC 4731.
func (s *session) search(args []syntax.Arg) error {
	want, args, err := syntax.ParseResult(args)
	if err != nil {
		return err
	}
	if s.modern && !want.Extended { // RFC 9051 section 6.4.4: SEARCH is answered with ESEARCH
		want.Extended, want.All = true, true
	}
	list, key, answered, err := s.matches(args, &want)
	if answered || err != nil {
		return err
	}
	if want.Update {
		s.keepContext(key, list)
	}
	if want.Extended {
		s.writeResult(want, list)
	} else {
		s.writeNumbers("* SEARCH", list, want.ModSeq)
	}
	return s.done("OK Search completed")
}

// matches returns the messages that the keys describe. answered says that the
// command has had its answer: it was refused.
func (s *session) matches(args []syntax.Arg, want *syntax.Result) (list []int, key syntax.Key, answered bool, err error) {
	if want.Update && s.hasContext(s.cmd.tag) {
		return nil, key, false, syntax.Error("Duplicate search update tag")
	}
	if s.utf8 && len(args) > 0 && args[0].Is("CHARSET") && s.cmd.name != "SORT" && s.cmd.name != "THREAD" {
		return nil, key, false, syntax.Error("CHARSET is not allowed once UTF8=ACCEPT is enabled") // RFC 6855 section 3
	}
	key, err = syntax.ParseSearch(args)
	if err == nil && s.uidOnly && key.HasNumbers() {
		s.reply("BAD [UIDREQUIRED] Message numbers are not allowed once UIDONLY is enabled")
		return nil, key, true, nil
	}
	if want.Save && err == syntax.ErrCharset {
		s.saved = nil // RFC 5182 section 2.1: a NO empties the variable
	}
	if err == syntax.ErrCharset {
		return nil, key, true, s.failed(refusal(err.Error()), "", "")
	}
	if err != nil {
		return nil, key, false, err
	}
	if want.ModSeq = key.HasModSeq(); want.ModSeq {
		s.enableCondstore()
	}
	sr := s.searcher()
	if sr.Prepare(key.Clone()) {
		if err := s.know(nil); err != nil {
			return nil, key, true, s.failed(err, s.view.Name, "")
		}
	}
	progress := wire.Progress{Every: s.opts.Progress, From: time.Now(), Tag: s.cmd.tag}
	for i := range s.view.Msgs {
		if i%64 == 63 {
			progress.Tell(&s.out, i, len(s.view.Msgs))
		}
		if sr.Match(i) {
			list = append(list, i)
		}
	}
	if sr.Expired() {
		return nil, key, true, s.failed(refusal("[LIMIT] Search takes too long"), "", "")
	}
	return list, key, false, nil
}

// searcher returns what evaluates searches over the selected mailbox.
func (s *session) searcher() *search.Searcher { return s.searcherOf(&s.view) }

func (s *session) searcherOf(v *view.View) *search.Searcher { return s.searcherIn(s.box, v, &s.last) }

// searcherIn returns what evaluates searches over a view of any mailbox.
func (s *session) searcherIn(box store.Mailbox, v *view.View, l *reply.Loader) *search.Searcher {
	load := func(m *store.Msg) (*message.Part, error) { return l.Load(box, m) }
	return &search.Searcher{View: v, Saved: s.saved, Source: search.Source{Box: box, Read: box.Read, Load: load, Index: indexOf(box)}}
}

// number returns what the client calls message i.
func (s *session) number(i int) uint32 { return reply.Number(&s.view, i, s.cmd.uid) }

// writeNumbers writes an untagged answer that is a list of numbers.
func (s *session) writeNumbers(word string, list []int, modseq bool) {
	o := &s.out
	o.Text(word)
	for _, i := range list {
		o.Text(" ")
		o.Num(int64(s.number(i)))
		if len(o.Buf) >= wire.Size {
			o.Flush()
		}
	}
	if n := reply.Highest(&s.view, list); modseq && n > 0 {
		o.Text(" (MODSEQ ")
		o.Num(int64(n))
		o.Text(")")
	}
	o.Line()
}
