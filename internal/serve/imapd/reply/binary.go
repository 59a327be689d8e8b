package reply

import (
	"io"

	"github.com/emersion/go-imap/v2"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/textsearch"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/serve/imapd/wire"
	"packetboat/internal/store"
)

// ErrEncoding is a part whose transfer encoding nobody knows: RFC 3516 section 4.3.
var ErrEncoding = error(tree.Refusal("[UNKNOWN-CTE] Unknown transfer encoding"))

// encoded returns the part that a section names, where its body has a transfer
// encoding to be undone; nil for what is sent as it stands.
func (f *Fetcher) encoded(it *syntax.Item, m *store.Msg) (*message.Part, error) {
	sec := &it.Section
	if it.Missing || sec.Specifier != imap.PartSpecifierNone || len(sec.Part) == 0 {
		return nil, nil
	}
	root, err := f.Loader.Load(f.Box, m)
	if err != nil {
		return nil, err
	}
	p := findPart(root, sec.Part)
	if p == nil || p.Multipart || p.Message || !textsearch.Encoded(p) {
		return nil, nil
	}
	if !textsearch.Decodable(p) {
		return nil, ErrEncoding
	}
	return p, nil
}

// binary writes BINARY[...]. A part is decoded twice: once for its length.
func (f *Fetcher) binary(it *syntax.Item, m *store.Msg) error {
	p, err := f.encoded(it, m)
	if err != nil {
		return f.nothing(err)
	}
	if p == nil {
		return f.section(it, m)
	}
	total, err := f.decode(p, m, io.Discard)
	if err != nil {
		return f.nothing(err)
	}
	cut := span{0, total}.cut(it.Section.Partial)
	f.Count.BodyCount++
	f.Count.BodyBytes += cut.n
	f.Out.Text("~") // literal8: there may be NULs
	f.Out.LiteralHead(cut.n)
	w := &render.Window{W: f.Out, Skip: cut.pos, Left: cut.n}
	if _, err := f.decode(p, m, w); err != nil || w.Left > 0 {
		f.Out.Err = wire.ErrShort
	}
	return f.Out.Err
}

// decode writes the decoded body of a part and returns its length.
func (f *Fetcher) decode(p *message.Part, m *store.Msg, w io.Writer) (int64, error) {
	r, err := f.Box.Read(m.UID, p.BodyPos(), p.BodySize)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(w, textsearch.DecodeTransfer(io.LimitReader(r, p.BodySize), p))
}

// binarySize writes BINARY.SIZE[...].
func (f *Fetcher) binarySize(it *syntax.Item, m *store.Msg) error {
	p, err := f.encoded(it, m)
	var n int64
	if err == nil && p != nil {
		n, err = f.decode(p, m, io.Discard)
	} else if err == nil {
		var where span
		where, err = f.find(it, m)
		n = where.n
	}
	if err != nil {
		return f.nothing(err)
	}
	f.Out.Num(n)
	return nil
}

// previewOctets is how much of a text is looked at for its preview.
const previewOctets = 16 << 10

// preview writes PREVIEW: RFC 8970. A message without text has an empty one.
func (f *Fetcher) preview(m *store.Msg) error {
	root, err := f.Loader.Load(f.Box, m)
	if err != nil {
		return f.nothing(err)
	}
	text := []byte{}
	if p := firstText(root); p != nil {
		r, err := f.Box.Read(m.UID, p.BodyPos(), p.BodySize)
		if err != nil {
			return f.nothing(err)
		}
		defer r.Close()
		plain, err := io.ReadAll(io.LimitReader(textsearch.DecodeBody(io.LimitReader(r, p.BodySize), p), previewOctets))
		if err != nil && len(plain) == 0 {
			return f.nothing(err)
		}
		text = render.Preview(plain, string(p.Subtype))
	}
	f.Out.Buf = syntax.AppendNString(f.Out.Buf, text)
	return nil
}

// firstText returns the first text part of a message that can be decoded.
func firstText(p *message.Part) *message.Part {
	if len(p.Children) == 0 && p.IsText() && textsearch.Decodable(p) {
		return p
	}
	for _, c := range p.Children {
		if found := firstText(c); found != nil {
			return found
		}
	}
	return nil
}
