package reply

import (
	"io"
	"math"

	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
)

// CopyTo writes what a section of a message holds to w: for CATENATE. The size of the
// message must be known.
func (f *Fetcher) CopyTo(w io.Writer, it *syntax.Item, m *store.Msg) error {
	if n := it.Section.Part; len(n) > 0 {
		root, err := f.Loader.Load(f.Box, m)
		if err != nil {
			return err
		}
		if it.Missing || findPart(root, n) == nil {
			return store.ErrNoMessage
		}
	}
	where, err := f.find(it, m)
	if err != nil {
		return err
	}
	sec := &it.Section
	if sec.HeaderFields != nil || sec.HeaderFieldsNot != nil {
		if where.n == 0 {
			return nil
		}
		if p := sec.Partial; p != nil {
			left := p.Size
			if left < 0 {
				left = math.MaxInt64
			}
			w = &render.Window{W: w, Skip: p.Offset, Left: left}
		}
		return f.filter(sec, m, where, w)
	}
	if where = where.cut(sec.Partial); where.n == 0 {
		return nil
	}
	r, err := f.Box.Read(m.UID, where.pos, where.n)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, io.LimitReader(r, where.n))
	return err
}
