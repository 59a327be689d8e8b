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

var cacheTable = crc32.MakeTable(crc32.Castagnoli)

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

type cacheRecord struct {
	UID                   uint32
	Flags                 uint8
	Keywords              uint64
	Date, Size, Header    int64
	ModSeq                uint64
	Pos, Raw              int64
	Hdr, Sep              int32
	FileUID               uint32
	FileFlags, Old, Lines uint8
	FileKw, Digest        uint64
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
	b := make([]byte, len(cacheMagic)+4, 256+len(n.Msgs)*binary.Size(cacheRecord{}))
	copy(b, cacheMagic)
	b, _ = binary.Append(b, binary.LittleEndian, h) // fixed-size fields cannot fail
	for _, k := range n.Keywords {
		b = append(append(b, byte(len(k))), k...)
	}
	for i := range n.Msgs {
		m, r := &n.Msgs[i], &s.recs[i]
		b, _ = binary.Append(b, binary.LittleEndian, cacheRecord{
			UID: m.UID, Flags: uint8(m.Flags), Keywords: m.Keywords, Date: m.Date, Size: m.Size, Header: m.Header,
			ModSeq: m.ModSeq, Pos: m.Pos, Raw: m.Raw, Hdr: r.Hdr, Sep: r.Sep, FileUID: r.Uid,
			FileFlags: uint8(r.Flags), Old: bit(r.Old), Lines: bit(!r.Bare) | bit(r.Quoted)<<1, FileKw: r.Kw, Digest: r.Digest})
	}
	binary.LittleEndian.PutUint32(b[len(cacheMagic):], crc32.Checksum(b[len(cacheMagic)+4:], cacheTable))
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
		binary.LittleEndian.Uint32(b[len(cacheMagic):]) != crc32.Checksum(b[start:], cacheTable) {
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
	var c cacheRecord
	size := binary.Size(c)
	if len(b) != n*size {
		return false
	}
	s.snap.Msgs, s.recs = make([]store.Msg, n), make([]format.Record, n)
	for i := range n {
		if _, err := binary.Decode(b[i*size:], binary.LittleEndian, &c); err != nil {
			return false
		}
		s.snap.Msgs[i] = store.Msg{UID: c.UID, Flags: store.Flag(c.Flags), Keywords: c.Keywords, Date: c.Date,
			Size: c.Size, Header: c.Header, ModSeq: c.ModSeq, Pos: c.Pos, Raw: c.Raw}
		s.recs[i] = format.Record{Hdr: c.Hdr, Sep: c.Sep, Uid: c.FileUID, Flags: store.Flag(c.FileFlags), Old: c.Old != 0,
			Bare: c.Lines&1 == 0, Quoted: c.Lines&2 != 0, Kw: c.FileKw, Digest: c.Digest}
	}
	return true
}
