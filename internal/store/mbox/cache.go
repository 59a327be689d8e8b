package mbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/sys/disk"
)

// The cache saves a mailbox that nobody changed from being read again, keeps
// UIDs of messages that have no X-UID while other programs delete around them,
// and UIDVALIDITY and UIDNEXT of an empty mailbox. It stands in the control
// folder (~/mail/.imap/NAME/packetboat.cache) beside Dovecot's index files.
// It can be deleted: what a session left in the mbox itself gives the same UIDs.
//
// Layout: magic, CRC-32C of the rest, one fixed head, the keywords, one fixed
// record a message; little endian. It is replaced by rename and not flushed: a
// torn one fails its checksum.

const (
	cacheName  = "packetboat.cache"
	cacheMagic = "pbmbox04"
	oldMagic   = "pbmbox03" // sizes of messages with quoted lines differed
	maxCache   = 1 << 30
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

func (m *mailbox) cachePath() string { return filepath.Join(m.control, cacheName) }

// saveCache writes the state, unless the file has it already.
func (m *mailbox) saveCache() error {
	s := m.state.Load()
	if s.saved || m.control == "" {
		return nil
	}
	if err := os.MkdirAll(m.control, 0o700); err != nil {
		return cacheError(err)
	}
	tmp := m.cachePath() + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return cacheError(err)
	}
	_, err = f.Write(encodeCache(s))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, m.cachePath())
	}
	if err != nil {
		os.Remove(tmp)
		return cacheError(err)
	}
	n := *s
	n.saved = true
	m.state.Store(&n)
	return nil
}

// cacheError forgives a disk that has no room and a folder that is not ours:
// the cache is only a cache.
func cacheError(err error) error {
	if disk.Full(err) || disk.OverQuota(err) || disk.Denied(err) {
		return nil
	}
	return err
}

func encodeCache(s *state) []byte {
	n := s.snap
	h := cacheHead{ID: s.id, Validity: n.UIDValidity, Next: n.UIDNext, Recent: n.FirstRecent, ModSeq: n.ModSeq,
		BaseFound: s.base.Found, BaseValidity: s.base.Validity, BaseLast: s.base.Last, BaseNames: uint32(s.base.Names),
		Pseudo: s.pseudo, Keywords: uint32(len(n.Keywords)), Msgs: uint32(len(n.Msgs))}
	b := make([]byte, len(cacheMagic)+4, 4096+len(n.Msgs)*recordSize)
	copy(b, cacheMagic)
	b, _ = binary.Append(b, binary.LittleEndian, h) // fixed-size fields cannot fail
	for _, k := range n.Keywords {
		b = append(append(b, byte(len(k))), k...)
	}
	for i := range n.Msgs {
		b = appendRecord(b, &n.Msgs[i], &s.recs[i])
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

// loadCache returns the state that the cache holds, nil without a sound one.
func (m *mailbox) loadCache() *state {
	if m.control == "" {
		return nil
	}
	f, err := disk.OpenTrusted(m.cachePath(), os.O_RDONLY, -1)
	if err != nil {
		return nil
	}
	defer f.Close()
	st, err := disk.StatFile(f)
	if err != nil || st.Size > maxCache {
		return nil
	}
	b := make([]byte, st.Size)
	if err := journal.ReadFull(f, b, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return decodeCache(b)
}

// decodeCache reads a cache; nil when it is torn or of another version.
func decodeCache(b []byte) *state {
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
	s := &state{snap: &store.Snapshot{UIDValidity: h.Validity, UIDNext: h.Next, FirstRecent: h.Recent, ModSeq: h.ModSeq},
		id: h.ID, pseudo: h.Pseudo, saved: true,
		base: format.Base{Found: h.BaseFound, Validity: h.BaseValidity, Last: h.BaseLast, Names: int(h.BaseNames)}}
	for range h.Keywords {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil
		}
		s.snap.Keywords = append(s.snap.Keywords, string(bytes.Clone(b[1:1+b[0]])))
		b = b[1+b[0]:]
	}
	if !s.decodeRecords(b, int(h.Msgs)) {
		return nil
	}
	if old {
		s.id, s.saved = disk.ID{}, false // of no file: all is read again, UIDs stay
	}
	return s
}

func knownMagic(b []byte) bool {
	m := string(b[:len(cacheMagic)])
	return m == cacheMagic || m == oldMagic
}

func (s *state) decodeRecords(b []byte, n int) bool {
	if len(b) != n*recordSize {
		return false
	}
	s.snap.Msgs, s.recs = make([]store.Msg, n), make([]format.Record, n)
	for i := range n {
		readRecord(b[i*recordSize:(i+1)*recordSize], &s.snap.Msgs[i], &s.recs[i])
	}
	return true
}
