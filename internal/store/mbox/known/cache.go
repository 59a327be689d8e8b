package known

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/sys/disk"
)

// A cache is a magic, the CRC-32C of the rest, one fixed head, the keywords, one
// fixed record a message; little endian. It is replaced by rename and not
// flushed: a torn one fails its checksum.

const (
	cacheMagic = "pbmbox04"
	oldMagic   = "pbmbox03" // sizes of messages with quoted lines differed
)

// cacheTable is made when it is wanted: that takes a quarter of a millisecond.
func cacheTable() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

type cacheHead struct {
	ID                     disk.ID
	Validity, Next, Recent uint32
	ModSeq                 uint64
	BaseFound              bool
	BaseValidity, BaseLast uint32
	BaseNames              uint32
	Pseudo                 int64
	Keywords, Msgs         uint32
}

// recordSize is the length of one message's record in octets.
const recordSize = 92

// appendRecord writes one record. It is spelled out, since encoding/binary
// takes a microsecond for each, and a flag that changes writes all of them.
func appendRecord(b []byte, m *store.Msg, r *format.Record) []byte {
	le := binary.LittleEndian
	b = append(le.AppendUint32(b, m.UID), uint8(m.Flags))
	b = le.AppendUint64(b, m.Keywords)
	for _, v := range [...]int64{m.Date, m.Size, m.Header, int64(m.ModSeq), m.Pos, m.Raw} {
		b = le.AppendUint64(b, uint64(v))
	}
	b = le.AppendUint32(b, uint32(r.Hdr))
	b = le.AppendUint32(b, uint32(r.Sep))
	b = le.AppendUint32(b, r.Uid)
	b = append(b, uint8(r.Flags), bit(r.Old), bit(!r.Bare)|bit(r.Quoted)<<1)
	b = le.AppendUint64(b, r.Kw)
	return le.AppendUint64(b, r.Digest)
}

// readRecord reads what appendRecord wrote; b holds it whole.
func readRecord(b []byte, m *store.Msg, r *format.Record) {
	le := binary.LittleEndian
	num := func(at int) int64 { return int64(le.Uint64(b[at:])) }
	*m = store.Msg{UID: le.Uint32(b), Flags: store.Flag(b[4]), Keywords: le.Uint64(b[5:]), Date: num(13), Size: num(21),
		Header: num(29), ModSeq: le.Uint64(b[37:]), Pos: num(45), Raw: num(53)}
	*r = format.Record{Hdr: int32(le.Uint32(b[61:])), Sep: int32(le.Uint32(b[65:])), Uid: le.Uint32(b[69:]), Flags: store.Flag(b[73]),
		Old: b[74] != 0, Bare: b[75]&1 == 0, Quoted: b[75]&2 != 0, Kw: le.Uint64(b[76:]), Digest: le.Uint64(b[84:])}
}

// Encode writes a state as it stands in the cache.
func Encode(s *State) []byte {
	n := s.Snap
	h := cacheHead{ID: s.ID, Validity: n.UIDValidity, Next: n.UIDNext, Recent: n.FirstRecent, ModSeq: n.ModSeq,
		BaseFound: s.Base.Found, BaseValidity: s.Base.Validity, BaseLast: s.Base.Last, BaseNames: uint32(s.Base.Names),
		Pseudo: s.Pseudo, Keywords: uint32(len(n.Keywords)), Msgs: uint32(len(n.Msgs))}
	b := make([]byte, len(cacheMagic)+4, 4096+len(n.Msgs)*recordSize)
	copy(b, cacheMagic)
	b, _ = binary.Append(b, binary.LittleEndian, h) // fixed-size fields cannot fail
	for _, k := range n.Keywords {
		b = append(append(b, byte(len(k))), k...)
	}
	for i := range n.Msgs {
		b = appendRecord(b, &n.Msgs[i], &s.Recs[i])
	}
	binary.LittleEndian.PutUint32(b[len(cacheMagic):], crc32.Checksum(b[len(cacheMagic)+4:], cacheTable()))
	return b
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// Decode reads a cache; nil when it is torn or of another version.
func Decode(b []byte) *State {
	start := len(cacheMagic) + 4
	if len(b) < start || !knownMagic(b) ||
		binary.LittleEndian.Uint32(b[len(cacheMagic):]) != crc32.Checksum(b[start:], cacheTable()) {
		return nil
	}
	old := string(b[:len(cacheMagic)]) == oldMagic
	var h cacheHead
	n, err := binary.Decode(b[start:], binary.LittleEndian, &h)
	if err != nil {
		return nil
	}
	b = b[start+n:]
	s := &State{Snap: &store.Snapshot{UIDValidity: h.Validity, UIDNext: h.Next, FirstRecent: h.Recent, ModSeq: h.ModSeq},
		ID: h.ID, Pseudo: h.Pseudo, Saved: true,
		Base: format.Base{Found: h.BaseFound, Validity: h.BaseValidity, Last: h.BaseLast, Names: int(h.BaseNames)}}
	for range h.Keywords {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil
		}
		s.Snap.Keywords = append(s.Snap.Keywords, string(bytes.Clone(b[1:1+b[0]])))
		b = b[1+b[0]:]
	}
	if !s.decodeRecords(b, int(h.Msgs)) {
		return nil
	}
	if old {
		s.ID, s.Saved = disk.ID{}, false // of no file: all is read again, UIDs stay
	}
	return s
}

func knownMagic(b []byte) bool {
	m := string(b[:len(cacheMagic)])
	return m == cacheMagic || m == oldMagic
}

func (s *State) decodeRecords(b []byte, n int) bool {
	if len(b) != n*recordSize {
		return false
	}
	s.Snap.Msgs, s.Recs = make([]store.Msg, n), make([]format.Record, n)
	for i := range n {
		readRecord(b[i*recordSize:(i+1)*recordSize], &s.Snap.Msgs[i], &s.Recs[i])
	}
	return true
}
