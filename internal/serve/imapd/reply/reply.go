// Package reply writes the answers of FETCH (RFC 3501 section 7.4.2) for one
// message after another. Nothing of a message is held but its structure.
package reply

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store"
	"packetboat/internal/store/index"
	"packetboat/internal/sys/maillog"
)

// Loader knows the structure of the message that was looked at last: clients ask
// for the parts of one message in several commands.
type Loader struct {
	mime  *message.Parser
	uid   uint32
	root  *message.Part
	lines *bufio.Reader // reads headers line by line
}

// Forget lets go of the message, because another mailbox is looked at.
func (l *Loader) Forget() { l.uid, l.root = 0, nil }

// Load returns the tree of a message of box.
func (l *Loader) Load(box store.Mailbox, m *store.Msg) (*message.Part, error) {
	if l.root != nil && l.uid == m.UID {
		return l.root, nil
	}
	r, err := box.Read(m.UID, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	root, err := l.parser().Parse(r)
	if err != nil {
		return nil, err
	}
	l.uid, l.root = m.UID, root
	return root, nil
}

func (l *Loader) parser() *message.Parser {
	if l.mime == nil {
		l.mime = message.NewParser()
	}
	return l.mime
}

// dateTime is RFC 3501's date-time.
const dateTime = "02-Jan-2006 15:04:05 -0700"

// Fetcher runs one FETCH.
type Fetcher struct {
	Out     *wire.Output
	View    *view.View
	Box     store.Mailbox
	Loader  *Loader
	Index   *index.File // nil where the mailbox keeps none
	Count   *maillog.IMAPCounts
	Missing bool     // a message was gone already
	Marked  []uint32 // UIDs of messages that have become \Seen by it

	items   []syntax.Item
	seen    bool  // some item marks the message as \Seen
	flags   bool  // FLAGS is among the items
	failure error // the first error of the store

	wants []wanted
	held  []byte // what came out of the index last
	raw   []byte // the header that was read last
	ids   ident.Messages
}

// Prepare takes the items, in the order in which they are answered. look says that
// sizes and dates must be known.
func (f *Fetcher) Prepare(items []syntax.Item) (look bool) {
	f.items = items
	for _, it := range items {
		f.flags = f.flags || it.Kind == syntax.ItemFlags
		f.seen = f.seen || it.Kind == syntax.ItemSection && !it.Section.Peek && !f.View.ReadOnly
	}
	return f.needsLook()
}

// needsLook tells whether some item wants more than UIDs and flags.
func (f *Fetcher) needsLook() bool {
	return slices.ContainsFunc(f.items, func(it syntax.Item) bool {
		return it.Kind != syntax.ItemUID && it.Kind != syntax.ItemFlags && it.Kind != syntax.ItemModSeq
	})
}

// Run writes an answer for each message.
func (f *Fetcher) Run(list []int) error {
	ahead := f.wantsDigests()
	for k, i := range list {
		if ahead && k%aheadBlock == 0 {
			f.lookAhead(list[k:min(k+aheadBlock, len(list))])
		}
		if err := f.one(i); err != nil {
			return err
		}
		if f.Out.Err != nil || f.failure != nil {
			return f.failure
		}
	}
	return nil
}

// one writes the answer for message number i+1.
func (f *Fetcher) one(i int) error {
	m := f.View.Msgs[i]
	o := f.Out
	if m.Size == store.Unknown {
		m.Size, f.Missing = 0, f.Missing || f.needsLook()
	}
	newly := f.seen && m.Flags&store.Seen == 0
	if newly {
		m.Flags |= store.Seen
		f.Marked = append(f.Marked, m.UID)
	}
	o.Buf = f.View.AppendFetch(o.Buf, i)
	told, first := !newly || f.flags, true
	for k := range f.items {
		it := &f.items[k]
		if it.Kind > syntax.ItemSize && !told {
			told = true
			f.space(&first)
			o.Text("FLAGS ")
			o.Buf = f.View.AppendFlags(o.Buf, &m, m.Flags, f.View.Snap.Keywords)
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

func (f *Fetcher) space(first *bool) {
	if !*first {
		f.Out.Buf = append(f.Out.Buf, ' ')
	}
	*first = false
}

// item writes the name and the value of one item.
func (f *Fetcher) item(it *syntax.Item, m *store.Msg) error {
	o := f.Out
	o.Text(it.Name, " ")
	switch it.Kind {
	case syntax.ItemUID:
		o.Num(int64(m.UID))
	case syntax.ItemFlags:
		o.Buf = f.View.AppendFlags(o.Buf, m, m.Flags, f.View.Snap.Keywords)
	case syntax.ItemDate:
		o.Buf = time.Unix(m.Date, 0).AppendFormat(append(o.Buf, '"'), dateTime)
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
		if it.Binary {
			return f.binary(it, m)
		}
		return f.section(it, m)
	case syntax.ItemBinarySize:
		return f.binarySize(it, m)
	case syntax.ItemPreview:
		return f.preview(m)
	case syntax.ItemEmailID:
		return f.emailID(m)
	case syntax.ItemThreadID:
		o.Text("NIL") // RFC 8474 section 5.2: threads have no names here
	case syntax.ItemSaveDate:
		return f.saveDate(m)
	}
	return nil
}

// nothing writes NIL for a message that is gone or cannot be read; the tagged
// answer tells of it.
func (f *Fetcher) nothing(err error) error {
	f.Out.Text("NIL")
	if errors.Is(err, store.ErrNoMessage) {
		f.Missing = true
	} else if f.failure == nil {
		f.failure = err
	}
	return nil
}

// envelope writes ENVELOPE; only the header is read for it, or its digest, which
// has all that an envelope shows.
func (f *Fetcher) envelope(m *store.Msg) error {
	if f.Loader.root != nil && f.Loader.uid == m.UID {
		f.Out.Buf = render.Envelope(f.Out.Buf, f.Loader.root.Envelope)
		return nil
	}
	var src io.Reader
	if digest, ok := f.digestOf(m); ok {
		f.raw = render.PickListed(f.raw[:0], digest, ^uint64(0))
		src = bytes.NewReader(f.raw)
	} else {
		n := int64(-1)
		if m.Header > 0 {
			n = m.Header
		}
		r, err := f.Box.Read(m.UID, 0, n)
		if err != nil {
			return f.nothing(err)
		}
		defer r.Close()
		src = r
	}
	env, err := f.Loader.parser().Header(src)
	if err != nil {
		return f.nothing(err)
	}
	f.Out.Buf = render.Envelope(f.Out.Buf, env)
	return nil
}

// structure writes BODY, or BODYSTRUCTURE where extended is set.
func (f *Fetcher) structure(m *store.Msg, extended bool) error {
	root, err := f.Loader.Load(f.Box, m)
	if err != nil {
		return f.nothing(err)
	}
	f.Out.Buf = render.Structure(f.Out.Buf, root, extended)
	return nil
}

// stream writes octets pos to pos+n of a message as a literal.
func (f *Fetcher) stream(m *store.Msg, pos, n int64) error {
	if n == 0 {
		f.Out.LiteralHead(0)
		return nil
	}
	r, err := f.Box.Read(m.UID, pos, n)
	if err != nil {
		return f.nothing(err)
	}
	defer r.Close()
	f.Out.LiteralHead(n)
	return f.Out.CopyN(io.LimitReader(r, n), n)
}
