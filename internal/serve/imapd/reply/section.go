package reply

import (
	"bufio"
	"io"

	"github.com/emersion/go-imap/v2"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store"
)

// span is a piece of a message.
type span struct{ pos, n int64 }

// section writes one BODY[...].
func (f *Fetcher) section(it *syntax.Item, m *store.Msg) error {
	sec := &it.Section
	if f.Index != nil && sec.HeaderFields != nil && len(sec.Part) == 0 && !it.Missing && f.keptFields(sec, m) {
		return f.Out.Err
	}
	where, err := f.find(it, m)
	if err != nil {
		return f.nothing(err)
	}
	if sec.HeaderFields != nil || sec.HeaderFieldsNot != nil {
		return f.fields(sec, m, where)
	}
	where = where.cut(sec.Partial)
	if sec.Specifier == imap.PartSpecifierHeader {
		f.Count.HdrCount++
		f.Count.HdrBytes += where.n
	} else {
		f.Count.BodyCount++
		f.Count.BodyBytes += where.n
	}
	return f.stream(m, where.pos, where.n)
}

// cut applies "<start.size>".
func (w span) cut(p *imap.SectionPartial) span {
	if p == nil {
		return w
	}
	off := min(p.Offset, w.n)
	w.pos, w.n = w.pos+off, w.n-off
	if p.Size >= 0 {
		w.n = min(w.n, p.Size)
	}
	return w
}

// find returns where a section stands. A part that is not there is empty.
func (f *Fetcher) find(it *syntax.Item, m *store.Msg) (span, error) {
	sec := &it.Section
	if it.Missing {
		return span{}, nil
	}
	if len(sec.Part) == 0 {
		return f.findTop(sec, m)
	}
	root, err := f.Loader.Load(f.Box, m)
	if err != nil {
		return span{}, err
	}
	p := findPart(root, sec.Part)
	if p == nil {
		return span{}, nil
	}
	return partSpan(p, sec.Specifier), nil
}

// partSpan returns where a piece of a part stands. HEADER and TEXT are those
// of the message inside a message/rfc822 (RFC 3501 section 6.4.5).
func partSpan(p *message.Part, what imap.PartSpecifier) span {
	switch what {
	case imap.PartSpecifierNone:
		return span{p.BodyPos(), p.BodySize}
	case imap.PartSpecifierMIME:
		return span{p.Pos, p.HeaderSize}
	}
	if !p.Message {
		return span{}
	}
	inner := p.Children[0]
	if what == imap.PartSpecifierHeader {
		return span{inner.Pos, inner.HeaderSize}
	}
	return span{inner.BodyPos(), inner.BodySize}
}

// findTop finds a section of the whole message.
func (f *Fetcher) findTop(sec *imap.FetchItemBodySection, m *store.Msg) (span, error) {
	if sec.Specifier == imap.PartSpecifierNone {
		return span{0, m.Size}, nil
	}
	header := m.Header
	if header <= 0 {
		root, err := f.Loader.Load(f.Box, m)
		if err != nil {
			return span{}, err
		}
		header = root.HeaderSize
	}
	if sec.Specifier == imap.PartSpecifierHeader {
		return span{0, header}, nil
	}
	return span{header, m.Size - header}, nil
}

// findPart follows part numbers into the tree. In a part that is no multipart
// only number 1 exists: the part itself.
func findPart(p *message.Part, nums []int) *message.Part {
	for i, n := range nums {
		switch {
		case p.Multipart:
			if n > len(p.Children) {
				return nil
			}
			p = p.Children[n-1]
		case n != 1 || i+1 < len(nums) && !p.Message:
			return nil
		}
		if i+1 < len(nums) && p.Message {
			p = p.Children[0]
		}
	}
	return p
}

// holdFields is how much of a filtered header is held. A longer one is read
// twice: once for its length, once to be sent.
const holdFields = 64 << 10

// fields writes HEADER.FIELDS or HEADER.FIELDS.NOT.
func (f *Fetcher) fields(sec *imap.FetchItemBodySection, m *store.Msg, where span) error {
	if where.n == 0 && len(sec.Part) > 0 {
		f.Out.LiteralHead(0)
		return nil
	}
	hold := &render.Held{Limit: holdFields}
	if err := f.filter(sec, m, where, hold); err != nil {
		return f.nothing(err)
	}
	if hold.Total <= holdFields {
		f.keepFields(sec, m, hold.Buf)
	}
	cut := span{0, hold.Total}.cut(sec.Partial)
	f.Count.HdrCount++
	f.Count.HdrBytes += cut.n
	f.Out.LiteralHead(cut.n)
	if hold.Total <= holdFields {
		f.Out.Write(hold.Buf[cut.pos : cut.pos+cut.n])
		return f.Out.Err
	}
	w := &render.Window{W: f.Out, Skip: cut.pos, Left: cut.n}
	if err := f.filter(sec, m, where, w); err != nil || w.Left > 0 {
		f.Out.Err = wire.ErrShort
	}
	return f.Out.Err
}

// filter writes the fields that are wanted, and the empty line.
func (f *Fetcher) filter(sec *imap.FetchItemBodySection, m *store.Msg, where span, w io.Writer) error {
	r, err := f.Box.Read(m.UID, where.pos, where.n)
	if err != nil {
		return err
	}
	defer r.Close()
	if f.Loader.lines == nil {
		f.Loader.lines = bufio.NewReaderSize(r, 4<<10)
	} else {
		f.Loader.lines.Reset(r)
	}
	return render.Fields(f.Loader.lines, sec, w)
}
