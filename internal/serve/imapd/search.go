package imapd

import (
	"packetboat/internal/serve/imapd/search"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/wire"
)

// search: SEARCH and UID SEARCH, RFC 3501 section 6.4.4.
func (s *session) search(args []syntax.Arg) error {
	key, err := syntax.ParseSearch(args)
	if err == syntax.ErrCharset {
		return s.failed(refusal(err.Error()), "", "")
	}
	if err != nil {
		return err
	}
	sr := s.searcher()
	if sr.Prepare(key) {
		if err := s.know(nil); err != nil {
			return s.failed(err, s.view.Name, "")
		}
	}
	return s.runSearch(sr)
}

// searcher returns what evaluates searches over the selected mailbox.
func (s *session) searcher() *search.Searcher {
	return &search.Searcher{View: &s.view, Source: search.Source{Read: s.box.Read, Load: s.load}}
}

// runSearch looks at every message and writes the numbers of those that match.
func (s *session) runSearch(sr *search.Searcher) error {
	o := &s.out
	o.Text("* SEARCH")
	for i := range s.view.Msgs {
		if !sr.Match(i) {
			continue
		}
		o.Text(" ")
		if s.cmd.uid {
			o.Num(int64(s.view.Msgs[i].UID))
		} else {
			o.Num(int64(i + 1))
		}
		if len(o.Buf) >= wire.Size {
			o.Flush()
		}
		if o.Err != nil {
			return o.Err
		}
	}
	o.Line()
	return s.done("OK Search completed")
}
