package reply

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"packetboat/internal/serve/imapd/render"
	"packetboat/internal/store"
	"packetboat/internal/store/index"
)

// The kinds of values that FETCH keeps. Who changes what render writes gives
// them another number.
const (
	envelopeKind  = "envelope.1"
	bodyKind      = "body.1"
	structureKind = "bodystructure.1"
	listKind      = "list.1" // and the names of fields behind it
)

// tagOf says that a message is the one that a value was kept for, as far as
// UIDVALIDITY and UID do not.
func tagOf(m *store.Msg) uint32 { return uint32(m.Size) }

// kept writes a value out of the index, or what write makes, which is kept.
func (f *Fetcher) kept(kind string, m *store.Msg, write func() error) error {
	if f.Index == nil || m.Size <= 0 {
		return write()
	}
	k := f.Index.Kind(kind)
	out, ok := f.Index.Append(f.Out.Buf, k, m.UID, tagOf(m))
	if ok {
		f.Out.Buf = out
		return nil
	}
	start, missing, failure := len(f.Out.Buf), f.Missing, f.failure
	if err := write(); err != nil || f.Missing != missing || f.failure != failure {
		return err
	}
	f.Index.Put(k, m.UID, tagOf(m), f.Out.Buf[start:])
	return nil
}

// wanted is a list of header fields, as FETCH looks for it in the index.
type wanted struct {
	sec  *imap.FetchItemBodySection
	set  uint64     // of a digest's fields, which has all that are wanted, or
	kind index.Kind // the kind that keeps this very list
}

// wantedOf finds out once how the fields of an item are kept.
func (f *Fetcher) wantedOf(sec *imap.FetchItemBodySection) *wanted {
	for i := range f.wants {
		if f.wants[i].sec == sec {
			return &f.wants[i]
		}
	}
	w := wanted{sec: sec, kind: index.None}
	set, ok := render.ListedFields(sec.HeaderFields)
	if ok {
		w.set = set
	} else if f.Index != nil {
		names := strings.Fields(strings.ToUpper(strings.Join(sec.HeaderFields, " ")))
		slices.Sort(names)
		w.kind = f.Index.Kind(listKind + " " + strings.Join(names, " "))
	}
	f.wants = append(f.wants, w)
	return &f.wants[len(f.wants)-1]
}

// keptFields answers HEADER.FIELDS of a whole message out of the index; false
// when it cannot.
func (f *Fetcher) keptFields(sec *imap.FetchItemBodySection, m *store.Msg) bool {
	if m.Size <= 0 {
		return false // it is empty, or gone
	}
	w := f.wantedOf(sec)
	if w.set == 0 {
		out, ok := f.Index.Append(f.held[:0], w.kind, m.UID, tagOf(m))
		if f.held = out; ok {
			f.sendFields(sec, out)
		}
		return ok
	}
	digest, ok := f.digest(m)
	if !ok {
		return false
	}
	if sec.Partial == nil {
		n := int64(render.PickedSize(digest, w.set))
		f.Count.HdrCount++
		f.Count.HdrBytes += n
		f.Out.LiteralHead(n)
		f.Out.Buf = render.PickListed(f.Out.Buf, digest, w.set)
		f.Out.FlushFull()
		return true
	}
	f.sendFields(sec, render.PickListed(nil, digest, w.set))
	return true
}

// sendFields writes fields that are at hand.
func (f *Fetcher) sendFields(sec *imap.FetchItemBodySection, fields []byte) {
	cut := span{0, int64(len(fields))}.cut(sec.Partial)
	f.Count.HdrCount++
	f.Count.HdrBytes += cut.n
	f.Out.LiteralHead(cut.n)
	f.Out.Write(fields[cut.pos : cut.pos+cut.n])
}

// keepFields keeps a list of fields that no digest answers.
func (f *Fetcher) keepFields(sec *imap.FetchItemBodySection, m *store.Msg, fields []byte) {
	if f.Index != nil && len(sec.Part) == 0 && sec.HeaderFields != nil {
		f.Index.Put(f.wantedOf(sec).kind, m.UID, tagOf(m), fields)
	}
}

// digestOf is digest, where digests are kept.
func (f *Fetcher) digestOf(m *store.Msg) ([]byte, bool) {
	if f.Index == nil || m.Size <= 0 {
		return nil, false
	}
	return f.digest(m)
}

// digest returns the digest of a message's header, out of the index or out of
// the message; false for one that has none.
func (f *Fetcher) digest(m *store.Msg) ([]byte, bool) {
	k := f.Index.Kind(render.DigestKind)
	out, ok := f.Index.Append(f.held[:0], k, m.UID, tagOf(m))
	if f.held = out; ok {
		return out, true
	}
	header, ok := f.wholeHeader(m)
	if !ok {
		return nil, false
	}
	if f.held, ok = render.Digest(f.held[:0], header); ok {
		f.Index.Put(k, m.UID, tagOf(m), f.held)
	}
	return f.held, ok
}

// maxHeld is the longest header that a digest is made of.
const maxHeld = 64 << 10

// wholeHeader reads a header with its empty line; false where it is too long,
// or cannot be read: whoever asked then goes the long way, and says so.
func (f *Fetcher) wholeHeader(m *store.Msg) ([]byte, bool) {
	if m.Header == 0 && m.Size > shortHeader { // most are short: what lies behind need not be read
		if b, ok := f.readHeader(m, shortHeader); ok {
			return b, true
		}
	}
	n := min(m.Size, maxHeld)
	if m.Header > 0 {
		n = min(n, m.Header)
	}
	return f.readHeader(m, n)
}

// shortHeader is how much of a message is read first where nobody knows how long
// its header is.
const shortHeader = 4 << 10

// readHeader is wholeHeader that reads n octets.
func (f *Fetcher) readHeader(m *store.Msg, n int64) ([]byte, bool) {
	r, err := f.Box.Read(m.UID, 0, n)
	if err != nil {
		return nil, false
	}
	defer r.Close()
	b := f.raw[:0]
	for {
		b = slices.Grow(b, 4<<10)
		k, err := r.Read(b[len(b):cap(b)])
		from := max(len(b)-3, 0)
		b = b[:len(b)+k]
		f.raw = b
		if i := bytes.Index(b[from:], []byte("\r\n\r\n")); i >= 0 {
			return b[:from+i+4], true
		}
		if err == io.EOF {
			return b, int64(len(b)) == m.Size || bytes.HasPrefix(b, []byte("\r\n"))
		}
		if err != nil {
			return nil, false
		}
	}
}
