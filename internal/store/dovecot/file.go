package dovecot

import "slices"

// open reads dovecot.index (mail-index.h): a head, extensions with heads of
// their own, and one record of fixed size a message.
func (t *table) open(b []byte) error {
	if len(b) < headSize || b[0] != 7 || b[12]&1 == 0 { // another version, or big endian
		return errBroken
	}
	copy(t.head[:], b)
	base, size, record := int(le.Uint16(b[2:])), int64(t.get(atHeaderSize)), int64(t.get(atRecordSize))
	count := int64(t.get(atCount))
	if base < headSize || size < int64(base) || size > int64(len(b)) || record < 5 || count > maxMessages || size+count*record > int64(len(b)) {
		return errBroken
	}
	t.id, t.logSeq, t.logPos = t.get(atID), t.get(atLogSeq), t.get(atLogHead)
	places, err := t.readExts(b[:size], base)
	if err != nil {
		return err
	}
	t.rows = make([]row, count)
	for i := range t.rows {
		r := b[size+int64(i)*record:][:record]
		t.rows[i] = row{uid: le.Uint32(r), flags: r[4], offset: -1}
		if i > 0 && t.rows[i].uid <= t.rows[i-1].uid {
			return errBroken
		}
		for k, e := range t.exts {
			t.value(&t.rows[i], e.name, r[places[k]:places[k]+e.record])
		}
	}
	return nil
}

// readExts reads the heads of extensions, and returns where in a record the
// value of each stands.
func (t *table) readExts(b []byte, at int) (places []int, err error) {
	record := int(t.get(atRecordSize))
	for at < len(b) {
		if len(b)-at < 16 || len(t.exts) >= maxExts {
			return nil, errBroken
		}
		h := b[at:]
		size, place, octets, name := int(le.Uint32(h)), int(le.Uint16(h[8:])), int(le.Uint16(h[10:])), int(le.Uint16(h[14:]))
		data := aligned(at+16+name, 8)
		if size > len(b) || name > maxName || data+size > len(b) || octets > 0 && place+octets > record {
			return nil, errBroken
		}
		if octets == 0 {
			place = 0
		}
		e := &ext{string(h[16 : 16+name]), le.Uint32(h[4:]), slices.Clone(b[data : data+size]), octets}
		t.exts, places = append(t.exts, e), append(places, place)
		t.readHead(e)
		at = aligned(data+size, 8)
	}
	return places, nil
}

func aligned(n, to int) int { return (n + to - 1) &^ (to - 1) }

// readHead takes what the head of an extension says: the words for keywords,
// and the highest mod-sequence.
func (t *table) readHead(e *ext) {
	h := e.head
	switch {
	case e.name == "keywords" && len(h) >= 4:
		n := int(le.Uint32(h))
		if n > (len(h)-4)/8 {
			return
		}
		names := h[4+n*8:]
		for i := range min(n, maxKeywords) {
			off := int(le.Uint32(h[4+i*8+4:]))
			if off < 0 || off > len(names) {
				return
			}
			end := slices.Index(names[off:], 0)
			if end < 0 {
				return
			}
			t.names = append(t.names, string(names[off:off+end]))
		}
	}
}

// value takes what an extension keeps of a message.
func (t *table) value(r *row, name string, b []byte) {
	switch {
	case name == "keywords":
		for i, c := range b[:min(len(b), maxKeywords/8)] {
			r.kw |= uint64(c) << (8 * i)
		}
	case name == "modseq" && len(b) == 8:
		r.modseq = le.Uint64(b)
	case name == "mbox" && len(b) == 8:
		r.offset = int64(le.Uint64(b))
	}
}
