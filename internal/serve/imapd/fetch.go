package imapd

import (
	"errors"
	"io"
	"slices"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// loaded is what FETCH knows of the message it looked at last: clients ask for
// the parts of one message in several commands.
type loaded struct {
	uid  uint32
	root *message.Part
}

// fetcher runs one FETCH.
type fetcher struct {
	*session
	items   []syntax.Item
	seen    bool  // some item marks the message as \Seen
	flags   bool  // FLAGS is among the items
	missing bool  // a message was gone already
	failure error // the first error of the store
	marked  []uint32

	index *index.File // nil where the mailbox keeps none
	wants []wanted
	held  []byte // what came out of the index last
	raw   []byte // the header that was read last
}

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
	f := &fetcher{session: s, items: s.arrange(items), index: s.index()}
	for _, it := range f.items {
		f.flags = f.flags || it.Kind == syntax.ItemFlags
		f.seen = f.seen || it.Kind == syntax.ItemSection && !it.Section.Peek && !s.view.ReadOnly
	}
	if f.needsLook() {
		err = s.know(list)
	}
	if err == nil {
		err = f.run(list)
	}
	if markErr := f.mark(); err == nil {
		err = markErr
	}
	switch {
	case s.out.Err != nil:
		return s.out.Err
	case err != nil:
		return s.failed(err, s.view.Name, "")
	case f.missing:
		return s.done("OK [EXPUNGEISSUED] Some messages were already expunged")
	}
	return s.done("OK Fetch completed")
}

// needsLook tells whether some item wants more than UIDs and flags.
func (f *fetcher) needsLook() bool {
	return slices.ContainsFunc(f.items, func(it syntax.Item) bool {
		return it.Kind != syntax.ItemUID && it.Kind != syntax.ItemFlags && it.Kind != syntax.ItemModSeq
	})
}

// arrange puts the items in the order in which Dovecot answers them: what
// costs nothing first, both halves in the client's order. UID FETCH always
// tells the UID, in front (RFC 3501 section 6.4.8).
func (s *session) arrange(items []syntax.Item) []syntax.Item {
	if s.cmd.uid {
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

// run writes an answer for each message.
func (f *fetcher) run(list []int) error {
	for _, i := range list {
		if err := f.one(i); err != nil {
			return err
		}
		if f.out.Err != nil || f.failure != nil {
			return f.failure
		}
	}
	return nil
}

// mark sets \Seen in the mailbox on all that was shown, in one go, and in the
// view, because the client has been told.
func (f *fetcher) mark() error {
	if len(f.marked) == 0 {
		return nil
	}
	snap, err := f.box.SetFlags(f.marked, store.Add, store.Seen, nil)
	if err != nil {
		return err
	}
	return f.tell(snap, false, &view.Silence{UIDs: f.marked, Op: store.Add, Flags: store.Seen})
}

// one writes the answer for message number i+1.
func (f *fetcher) one(i int) error {
	m := f.view.Msgs[i]
	o := &f.out
	if m.Size == store.Unknown {
		m.Size, f.missing = 0, f.missing || f.needsLook()
	}
	newly := f.seen && m.Flags&store.Seen == 0
	if newly {
		m.Flags |= store.Seen
		f.marked = append(f.marked, m.UID)
	}
	o.Text("* ")
	o.Num(int64(i + 1))
	o.Text(" FETCH (")
	told, first := !newly || f.flags, true
	for k := range f.items {
		it := &f.items[k]
		if it.Kind > syntax.ItemSize && !told {
			told = true
			f.space(&first)
			o.Text("FLAGS ")
			o.Buf = f.view.AppendFlags(o.Buf, &m, m.Flags, f.view.Snap.Keywords)
		}
		f.space(&first)
		if err := f.item(it, &m); err != nil {
			return err
		}
	}
	o.Text(")")
	o.Line()
	return o.Err
}

func (f *fetcher) space(first *bool) {
	if !*first {
		f.out.Buf = append(f.out.Buf, ' ')
	}
	*first = false
}

// item writes the name and the value of one item.
func (f *fetcher) item(it *syntax.Item, m *store.Msg) error {
	o := &f.out
	o.Text(it.Name, " ")
	switch it.Kind {
	case syntax.ItemUID:
		o.Num(int64(m.UID))
	case syntax.ItemFlags:
		o.Buf = f.view.AppendFlags(o.Buf, m, m.Flags, f.view.Snap.Keywords)
	case syntax.ItemDate:
		o.Buf = unixTime(m.Date).AppendFormat(append(o.Buf, '"'), "02-Jan-2006 15:04:05 -0700")
		o.Buf = append(o.Buf, '"')
	case syntax.ItemModSeq:
		o.Text("(")
		o.Num(int64(m.ModSeq))
		o.Text(")")
	case syntax.ItemSize:
		o.Num(m.Size)
	case syntax.ItemEnvelope:
		return f.kept(envelopeKind, m, func() error { return f.envelope(m) })
	case syntax.ItemBody:
		return f.kept(bodyKind, m, func() error { return f.structure(m, false) })
	case syntax.ItemBodyStructure:
		return f.kept(structureKind, m, func() error { return f.structure(m, true) })
	case syntax.ItemSection:
		return f.section(it, m)
	}
	return nil
}

func unixTime(sec int64) time.Time { return time.Unix(sec, 0) }

// nothing writes NIL for a message that is gone or cannot be read; the tagged
// answer tells of it.
func (f *fetcher) nothing(err error) error {
	f.out.Text("NIL")
	if errors.Is(err, store.ErrNoMessage) {
		f.missing = true
	} else if f.failure == nil {
		f.failure = err
	}
	return nil
}

// envelope writes ENVELOPE; only the header is read for it.
func (f *fetcher) envelope(m *store.Msg) error {
	if f.last.root != nil && f.last.uid == m.UID {
		f.out.Buf = render.Envelope(f.out.Buf, f.last.root.Envelope)
		return nil
	}
	n := int64(-1)
	if m.Header > 0 {
		n = m.Header
	}
	r, err := f.box.Read(m.UID, 0, n)
	if err != nil {
		return f.nothing(err)
	}
	defer r.Close()
	env, err := f.mime.Header(r)
	if err != nil {
		return f.nothing(err)
	}
	f.out.Buf = render.Envelope(f.out.Buf, env)
	return nil
}

// structure writes BODY, or BODYSTRUCTURE where extended is set.
func (f *fetcher) structure(m *store.Msg, extended bool) error {
	root, err := f.load(m)
	if err != nil {
		return f.nothing(err)
	}
	f.out.Buf = render.Structure(f.out.Buf, root, extended)
	return nil
}

// load returns the message's tree.
func (s *session) load(m *store.Msg) (*message.Part, error) {
	if s.last.root != nil && s.last.uid == m.UID {
		return s.last.root, nil
	}
	r, err := s.box.Read(m.UID, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	root, err := s.mime.Parse(r)
	if err != nil {
		return nil, err
	}
	s.last = loaded{m.UID, root}
	return root, nil
}

// stream writes octets pos to pos+n of a message as a literal.
func (f *fetcher) stream(m *store.Msg, pos, n int64) error {
	if n == 0 {
		f.out.LiteralHead(0)
		return nil
	}
	r, err := f.box.Read(m.UID, pos, n)
	if err != nil {
		return f.nothing(err)
	}
	defer r.Close()
	f.out.LiteralHead(n)
	return f.out.CopyN(io.LimitReader(r, n), n)
}
