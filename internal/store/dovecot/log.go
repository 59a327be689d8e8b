package dovecot

import (
	"slices"
	"strings"
)

// logHead is the head of a log (mail-transaction-log.h).
type logHead struct {
	size          int
	id, seq, prev uint32
	initial       uint64 // mod-sequence at its begin
	minor         uint8
}

func readLogHead(b []byte) (h logHead, err error) {
	if len(b) < 24 || b[0] != 1 {
		return h, errBroken
	}
	h = logHead{size: int(le.Uint16(b[2:])), id: le.Uint32(b[4:]), seq: le.Uint32(b[8:]), prev: le.Uint32(b[12:]), minor: b[1]}
	if h.size < 24 || h.size > len(b) || h.seq == 0 {
		return h, errBroken
	}
	if h.size >= 32 && len(b) >= 32 {
		h.initial = le.Uint64(b[24:])
	}
	return h, nil
}

// Kinds of records in a log.
const (
	kindExpunge       = 0x1
	kindAppend        = 0x2
	kindFlags         = 0x4
	kindHeader        = 0x20
	kindExtIntro      = 0x40
	kindExtReset      = 0x80
	kindExtHeader     = 0x100
	kindExtRecord     = 0x200
	kindKeyword       = 0x400
	kindKeywordReset  = 0x800
	kindExpungeGUID   = 0x2000
	kindModSeq        = 0x8000
	kindExtHeader32   = 0x10000
	kindDeleted       = 0x20000
	kindAttribute     = 0x100000
	kindMask          = 0x0fffffff
	kindExternal      = 0x10000000 // has happened in the mailbox, too
	protectionExpunge = 0xcd90     // bits that every record of an expunge has
)

// replay applies what a log says behind the part that the table holds already.
func (t *table) replay(b []byte) error {
	h, err := readLogHead(b)
	if err != nil || t.id != 0 && h.id != t.id {
		return errBroken
	}
	l := &replayer{t: t, minor: h.minor}
	t.id = h.id
	known := uint32(0)
	if h.seq == t.logSeq {
		known = t.logPos
	}
	// Mod-sequences count all records from the log's begin on.
	t.modseq = max(h.initial, 1)
	for at := h.size; at+8 <= len(b); {
		size := offset(b[at:])
		if size == 0 {
			return nil // nothing was written behind this, or not to its end
		}
		if size < 8 || size > len(b)-at {
			return nil
		}
		l.record(le.Uint32(b[at+4:]), b[at+8:at+size], uint32(at) >= known)
		if l.broken {
			return errBroken
		}
		at += size
	}
	return nil
}

// offset reads a length as Dovecot writes it last of all: big endian, seven
// bits an octet, in units of four; 0 = not written to the end.
func offset(b []byte) int {
	n := 0
	for _, c := range b[:4] {
		if c < 0x80 {
			return 0
		}
		n = n<<7 | int(c&0x7f)
	}
	return n << 2
}

// replayer goes through the records of one log. A record that does not read to
// its end makes it broken.
type replayer struct {
	t      *table
	minor  uint8 // of the log's version
	cur    *ext  // that the next records of extensions speak of; nil = of none
	stale  bool  // they were written for an older form of it
	broken bool
}

func (l *replayer) record(typ uint32, b []byte, apply bool) {
	kind := typ & kindMask
	if kind == kindExpunge|protectionExpunge || kind == kindExpungeGUID|protectionExpunge {
		if typ&kindExternal == 0 {
			return // somebody asked for it; when it is done it is said again
		}
		kind &^= protectionExpunge
	}
	switch kind {
	case kindFlags:
		if l.counts(b) {
			l.t.modseq++
		}
	case kindExpunge, kindExpungeGUID, kindAppend, kindKeyword, kindKeywordReset, kindAttribute:
		l.t.modseq++
	case kindExtIntro:
		l.intro(b, apply)
	}
	if !apply {
		return
	}
	switch kind {
	case kindExpunge:
		l.each(b, 8, func(b []byte) { l.expunge(le.Uint32(b), le.Uint32(b[4:])) })
	case kindExpungeGUID:
		l.each(b, 20, func(b []byte) { l.expunge(le.Uint32(b), le.Uint32(b)) })
	case kindAppend:
		l.each(b, 8, func(b []byte) { l.add(le.Uint32(b), b[4]) })
	case kindFlags:
		l.each(b, 12, l.flags)
	case kindHeader:
		l.patch(b, 2, l.t.head[:])
	case kindKeyword:
		l.keyword(b)
	case kindKeywordReset:
		l.each(b, 8, func(b []byte) { l.words(b, func(r *row) { r.kw = 0 }) })
	case kindModSeq:
		l.each(b, 12, l.modseq)
	case kindDeleted:
		l.broken = true // the mailbox is no more
	default:
		l.extension(kind, b)
	}
}

// each calls fn for every part of n octets.
func (l *replayer) each(b []byte, n int, fn func([]byte)) {
	if len(b)%n != 0 {
		l.broken = true
		return
	}
	for ; len(b) > 0; b = b[n:] {
		fn(b[:n])
	}
}

func (l *replayer) expunge(from, to uint32) {
	for i, list := 0, l.t.span(from, to); i < len(list); i++ {
		list[i].gone = true
	}
}

func (l *replayer) add(uid uint32, flags uint8) {
	t := l.t
	if n := len(t.rows); n >= maxMessages || n > 0 && t.rows[n-1].uid >= uid {
		l.broken = true
		return
	}
	t.rows = append(t.rows, row{uid: uid, flags: flags, offset: -1, modseq: t.modseq})
	le.PutUint32(t.head[atNext:], max(t.get(atNext), uid+1))
}

// counts tells whether a change of flags is one that clients see. Logs before
// version 1.2 count all.
func (l *replayer) counts(b []byte) bool {
	for l.minor >= 2 && len(b) >= 12 {
		if (b[8]|b[9])&0x1f != 0 || b[10] != 0 {
			return true
		}
		b = b[12:]
	}
	return l.minor < 2
}

func (l *replayer) flags(b []byte) {
	add, remove := b[8], b[9]
	list := l.t.span(le.Uint32(b), le.Uint32(b[4:]))
	for i := range list {
		list[i].flags = list[i].flags&^remove | add
		if l.counts(b) {
			list[i].modseq = l.t.modseq
		}
	}
}

// keyword: how, 0, length of the name, name, ranges of UIDs.
func (l *replayer) keyword(b []byte) {
	if len(b) < 4 {
		l.broken = true
		return
	}
	how, n := b[0], int(le.Uint16(b[2:]))
	if n == 0 || n > maxName || aligned(4+n, 4) > len(b) {
		l.broken = true
		return
	}
	bit := l.t.bit(string(b[4 : 4+n]))
	l.each(b[aligned(4+n, 4):], 8, func(b []byte) {
		l.words(b, func(r *row) {
			switch how {
			case 1:
				r.kw &^= bit
			case 2:
				r.kw = bit
			default:
				r.kw |= bit
			}
		})
	})
}

// words changes the keywords of a range.
func (l *replayer) words(b []byte, fn func(*row)) {
	list := l.t.span(le.Uint32(b), le.Uint32(b[4:]))
	for i := range list {
		fn(&list[i])
		list[i].modseq = l.t.modseq
	}
}

// bit returns that of a keyword, 0 when there is no room for another one.
func (t *table) bit(name string) uint64 {
	i := slices.IndexFunc(t.names, func(n string) bool { return strings.EqualFold(n, name) })
	if i < 0 && len(t.names) >= maxKeywords {
		return 0
	}
	if i < 0 {
		t.names, i = append(t.names, name), len(t.names)
	}
	return 1 << i
}

func (l *replayer) modseq(b []byte) {
	n := uint64(le.Uint32(b[4:])) | uint64(le.Uint32(b[8:]))<<32
	l.t.modseq = max(l.t.modseq, n)
	if i, ok := l.t.at(le.Uint32(b)); ok {
		l.t.rows[i].modseq = max(l.t.rows[i].modseq, n)
	}
}

// patch writes changes of a head, each with its offset and size in two or four
// octets, into it.
func (l *replayer) patch(b []byte, width int, head []byte) {
	for len(b) > 0 {
		if len(b) < 2*width {
			l.broken = true
			return
		}
		at, n := int(le.Uint16(b)), int(le.Uint16(b[2:]))
		if width == 4 {
			at, n = int(le.Uint32(b)), int(le.Uint32(b[4:]))
		}
		if b = b[2*width:]; n > len(b) || at > len(head) || n > len(head)-at {
			l.broken = true
			return
		}
		copy(head[at:], b[:n])
		b = b[min(aligned(n, 4), len(b)):]
	}
}

// intro: number, reset id, octets of the head, of a record, its alignment, 0,
// length of the name, name. A name stands there where the extension is new.
func (l *replayer) intro(b []byte, apply bool) {
	l.cur = nil
	if len(b) < 20 {
		l.broken = true
		return
	}
	num, n := le.Uint32(b), int(le.Uint16(b[18:]))
	if n > maxName || 20+n > len(b) {
		l.broken = true
		return
	}
	e := l.t.ext(string(b[20 : 20+n]))
	switch {
	case n == 0 && int64(num) < int64(len(l.t.exts)):
		e = l.t.exts[num]
	case n == 0 || e == nil && (len(l.t.exts) >= maxExts || !apply):
		return
	case e == nil:
		e = &ext{name: string(b[20 : 20+n]), reset: le.Uint32(b[4:])}
		l.t.exts = append(l.t.exts, e)
		l.t.begun(e)
	}
	if !apply {
		return
	}
	l.cur, l.stale = e, e.reset != le.Uint32(b[4:])
	if l.stale {
		return
	}
	if size := int(le.Uint32(b[8:])); size > len(e.head) && size <= 1<<20 {
		e.head = append(e.head, make([]byte, size-len(e.head))...)
	}
	e.record = int(le.Uint16(b[12:]))
}

// begun: once mod-sequences are kept, all messages have the present one.
func (t *table) begun(e *ext) {
	if e.name != "modseq" {
		return
	}
	for i := range t.rows {
		t.rows[i].modseq = t.modseq
	}
}

// extension applies a record about the extension that the last intro named.
func (l *replayer) extension(kind uint32, b []byte) {
	e := l.cur
	if e == nil || l.stale && kind != kindExtReset {
		return
	}
	switch kind {
	case kindExtReset:
		if len(b) >= 5 {
			l.reset(e, le.Uint32(b), b[4] != 0)
		}
	case kindExtHeader:
		l.patch(b, 2, e.head)
	case kindExtHeader32:
		l.patch(b, 4, e.head)
	case kindExtRecord:
		l.each(b, aligned(4+e.record, 4), func(b []byte) {
			if i, ok := l.t.at(le.Uint32(b)); ok {
				l.t.value(&l.t.rows[i], e.name, b[4:4+e.record])
			}
		})
	}
}

// reset begins an extension anew.
func (l *replayer) reset(e *ext, id uint32, keep bool) {
	e.reset, l.stale = id, false
	if keep {
		return
	}
	clear(e.head)
	if e.name == "mbox" {
		for i := range l.t.rows {
			l.t.rows[i].offset = -1
		}
	}
}
