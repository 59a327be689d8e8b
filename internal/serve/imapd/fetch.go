package imapd

import (
	"slices"
	"time"

	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/reply"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// fetch: FETCH and UID FETCH, RFC 3501 section 6.4.5.
func (s *session) fetch(args []syntax.Arg) error {
	if len(args) == 0 {
		return syntax.Error("Missing arguments")
	}
	list, err := s.pick(args[0])
	if err != nil {
		return err
	}
	args, since, err := syntax.ParseSince(args, s.cmd.uid)
	if err != nil {
		return err
	}
	items, err := syntax.ParseFetch(args[1:])
	if err != nil {
		return err
	}
	if items, list, err = s.changedSince(items, list, args[0], since); err != nil {
		return err
	}
	if since.Window.Partial {
		from, to := since.Window.Window(len(list))
		list = list[from:max(from, to)]
	}
	f := &reply.Fetcher{Out: &s.out, View: &s.view, Box: s.box, Loader: &s.last, Index: s.index(), Count: &s.count}
	if f.Prepare(s.arrange(items)) {
		err = s.know(list)
	}
	if err == nil {
		err = f.Run(list)
	}
	if markErr := s.mark(f.Marked); err == nil {
		err = markErr
	}
	switch {
	case s.out.Err != nil:
		return s.out.Err
	case err != nil:
		return s.failed(err, s.view.Name, "")
	case f.Missing:
		return s.done("OK [EXPUNGEISSUED] Some messages were already expunged")
	}
	return s.done("OK Fetch completed")
}

// arrange puts the items in the order in which Dovecot answers them: what
// costs nothing first, both halves in the client's order. UID FETCH always
// tells the UID, in front (RFC 3501 section 6.4.8).
func (s *session) arrange(items []syntax.Item) []syntax.Item {
	if s.cmd.uid && !s.uidOnly {
		items = slices.DeleteFunc(items, func(it syntax.Item) bool { return it.Kind == syntax.ItemUID })
		items = slices.Insert(items, 0, syntax.Item{Kind: syntax.ItemUID, Name: "UID"})
	}
	slices.SortStableFunc(items, func(a, b syntax.Item) int { return rank(a) - rank(b) })
	return items
}

func rank(it syntax.Item) int {
	if it.Kind <= syntax.ItemSize {
		return 0
	}
	return 1
}

// mark sets \Seen in the mailbox on all that was shown, in one go, and in the
// view, because the client has been told.
func (s *session) mark(marked []uint32) error {
	if len(marked) == 0 {
		return nil
	}
	snap, err := s.box.SetFlags(marked, store.Add, store.Seen, nil)
	if err != nil {
		return err
	}
	return s.tell(snap, false, &view.Silence{UIDs: marked, Op: store.Add, Flags: store.Seen})
}

// indexed is a mailbox that keeps what was worked out about its messages.
type indexed interface {
	// Index returns the index; nil where none is kept.
	Index() *index.File
}

// index returns the index of the selected mailbox, nil without one.
func (s *session) index() *index.File { return indexOf(s.box) }

func indexOf(b store.Mailbox) *index.File {
	if box, ok := b.(indexed); ok {
		return box.Index()
	}
	return nil
}

// keepSaved notes when messages came into a mailbox (RFC 8514).
func keepSaved(box store.Mailbox, uids []uint32) {
	ids := ident.Messages{Box: box, Index: indexOf(box)}
	ids.KeepSaveDate(uids, time.Now())
}
