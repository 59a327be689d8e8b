package imapd

import (
	"strconv"

	"packetboat/internal/serve/imapd/reply"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
)

// multiSearch: ESEARCH, RFC 7377. Mailboxes that cannot be opened, and those without
// a match, have no answer.
func (s *session) multiSearch(args []syntax.Arg) error {
	filters, args, err := searchSources(args)
	if err != nil {
		return err
	}
	want, args, err := syntax.ParseResult(args)
	if err != nil {
		return err
	}
	if !want.Extended {
		want.Extended, want.All = true, true
	}
	if want.Update || want.Save && len(filters) > 0 {
		return syntax.Error("SAVE and UPDATE are not allowed here") // RFC 7377 section 2.2
	}
	key, err := syntax.ParseSearch(args)
	if err == syntax.ErrCharset {
		return s.failed(refusal(err.Error()), "", "")
	}
	if err == nil && key.HasNumbers() {
		err = syntax.Error("Message numbers are not allowed in ESEARCH")
	}
	if err != nil {
		return err
	}
	want.ModSeq = key.HasModSeq()
	if len(filters) == 0 {
		filters = []syntax.Filter{{Kind: syntax.Selected}}
	}
	told := map[string]bool{}
	for _, f := range filters {
		if err := s.searchChosen(f, want, key, told); err != nil {
			if bad, ok := err.(syntax.Error); ok {
				return bad
			}
			return s.failed(err, "", "")
		}
	}
	return s.done("OK Esearch completed")
}

// searchSources reads "IN (...)", where it is there.
func searchSources(args []syntax.Arg) (list []syntax.Filter, rest []syntax.Arg, err error) {
	if len(args) == 0 || !args[0].Is("IN") {
		return nil, args, nil
	}
	if len(args) < 2 || args[1].Kind != syntax.List || len(args[1].List) == 0 {
		return nil, nil, syntax.Error("Missing source mailboxes")
	}
	from := args[1].List
	for len(from) > 0 {
		var f syntax.Filter
		if f, from, err = syntax.ParseFilter(from); err != nil {
			return nil, nil, err
		}
		if f.Kind == syntax.SelectedDelayed {
			return nil, nil, syntax.Error("SELECTED-DELAYED is not allowed here")
		}
		list = append(list, f)
	}
	return list, args[2:], nil
}

// searchChosen searches the mailboxes of one filter.
func (s *session) searchChosen(f syntax.Filter, want syntax.Result, key syntax.Key, told map[string]bool) error {
	if f.Kind == syntax.Selected {
		if s.box == nil {
			return syntax.Error("No mailbox selected")
		}
		if !told[s.view.Name] {
			told[s.view.Name] = true
			return s.searchOne(&boxSearch{session: s, name: s.view.Name, box: s.box, view: &s.view, loader: &s.last}, want, key)
		}
		return nil
	}
	entries, err := s.folders.Chosen(f)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.NoSelect || told[e.Name] {
			continue
		}
		told[e.Name] = true
		if err := s.searchEntry(e, want, key); err != nil {
			return err
		}
		s.out.Flush()
	}
	return nil
}

func (s *session) searchEntry(e tree.Entry, want syntax.Result, key syntax.Key) error {
	box, err := s.tree.Open(e.Name)
	if err != nil {
		return nil // RFC 7377 section 2.2: it is passed over
	}
	defer box.Close()
	snap, err := box.Sync()
	if err != nil {
		return err
	}
	v := view.View{Name: e.Name, Snap: snap, Msgs: snap.Msgs, Modern: true}
	return s.searchOne(&boxSearch{session: s, name: e.Name, box: box, view: &v, loader: &reply.Loader{}}, want, key)
}

// boxSearch is the search of one of several mailboxes.
type boxSearch struct {
	*session
	name   string
	box    store.Mailbox
	view   *view.View
	loader *reply.Loader
}

func (s *session) searchOne(b *boxSearch, want syntax.Result, key syntax.Key) error {
	sr := s.searcherIn(b.box, b.view, b.loader)
	if sr.Prepare(key.Clone()) {
		snap, err := b.box.Look(nil)
		if err != nil {
			return err
		}
		b.view.Learn(snap)
	}
	var list []int
	for i := range b.view.Msgs {
		if sr.Match(i) {
			list = append(list, i)
		}
	}
	switch {
	case sr.Expired():
		return refusal("[LIMIT] Search takes too long")
	case len(list) == 0:
		return nil
	}
	o := &s.out
	o.Text(`* ESEARCH (TAG "`, s.cmd.tag, `" MAILBOX `)
	o.Name(b.name)
	o.Text(" UIDVALIDITY ", strconv.FormatUint(uint64(b.view.Snap.UIDValidity), 10), ") UID")
	reply.ResultData(o, b.view, want, list, true)
	o.Line()
	return nil
}
