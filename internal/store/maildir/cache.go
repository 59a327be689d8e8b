package maildir

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"packetboat/internal/store"
	"packetboat/internal/store/maildir/uidlist"
	"packetboat/internal/sys/disk"
)

// The cache saves reading folders that nobody changed, and looking into files
// again: names, dates, sizes, mod-sequences, and keywords beyond 26. It can be
// deleted. A message's record belongs to its UID under one UIDVALIDITY, and what
// the files' names say comes before it.
//
// Layout: magic, CRC-32C of the rest, one fixed head, the keywords, one record
// a message with the file's name behind it; little endian. It is replaced by
// rename and not flushed: a torn one fails its checksum.
const (
	cacheName  = "packetboat.cache"
	cacheMagic = "pbmdir02"
	maxCache   = 1 << 30
	recordSize = 56 // without the name
)

type cacheHead struct {
	Validity, Next, Recent uint32
	ModSeq                 uint64
	Dirs                   [2]disk.ID
	List, Keys             disk.ID
	Doubt                  bool // the folders' times may hide a change
	Keywords, Msgs         uint32
}

// castagnoli is made when it is wanted: that takes a quarter of a millisecond.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// saveCache writes what a look into the files has found, unless it stands there.
// mu is held.
func (m *mailbox) saveCache() error {
	s := m.unsaved()
	if s == nil {
		return nil
	}
	ok, err := m.writeCache(s)
	if ok {
		m.saved = s
	}
	return err
}

// unsaved returns the state where the cache is to be written. mu is held.
func (m *mailbox) unsaved() *state {
	s := m.state.Load()
	if m.cache == "" || m.gone || m.saved == s || s.snap.UIDValidity == 0 {
		return nil
	}
	return s
}

// writeCache writes s, and tells whether it stands there now.
func (m *mailbox) writeCache(s *state) (bool, error) {
	m.saving.Lock()
	defer m.saving.Unlock()
	if m.cache == "" {
		return false, nil // deleted meanwhile
	}
	if err := os.MkdirAll(m.cache, 0o700); err != nil {
		return false, forgive(err)
	}
	path := filepath.Join(m.cache, cacheName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|disk.NoFollow, 0o600)
	if err != nil {
		return false, forgive(err)
	}
	_, err = f.Write(encodeCache(s))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		os.Remove(path + ".new")
		return false, forgive(err)
	}
	return true, nil
}

// forgive passes over a disk that has no room and a folder that is not ours: the
// cache is only a cache.
func forgive(err error) error {
	if disk.Full(err) || disk.OverQuota(err) || disk.Denied(err) {
		return nil
	}
	return err
}

func encodeCache(s *state) []byte {
	n := s.snap
	h := cacheHead{n.UIDValidity, n.UIDNext, n.FirstRecent, n.ModSeq, s.dirs, s.list, s.keys, !s.doubt.IsZero(), uint32(len(n.Keywords)), uint32(len(n.Msgs))}
	b := make([]byte, len(cacheMagic)+4, 4096+len(n.Msgs)*(recordSize+64))
	copy(b, cacheMagic)
	le := binary.LittleEndian
	b, _ = binary.Append(b, le, h) // fixed-size fields cannot fail
	for _, k := range n.Keywords {
		b = append(append(b, byte(len(k))), k...)
	}
	for i := range n.Msgs {
		m, f := &n.Msgs[i], &s.files[i]
		b = append(le.AppendUint32(b, m.UID), byte(m.Flags), f.dir)
		for _, v := range [...]uint64{m.Keywords, uint64(m.Date), uint64(m.Size), uint64(m.Header), m.ModSeq, uint64(m.Raw)} {
			b = le.AppendUint64(b, v)
		}
		b = append(le.AppendUint16(b, uint16(len(f.name))), f.name...) // uidlist.MaxLine bounds names
	}
	sign(b)
	return b
}

// sign writes the checksum into a cache.
func sign(b []byte) {
	binary.LittleEndian.PutUint32(b[len(cacheMagic):], crc32.Checksum(b[len(cacheMagic)+4:], castagnoli()))
}

// loadCache returns what the cache holds, nil without a sound one.
func (m *mailbox) loadCache() *state {
	if m.cache == "" {
		return nil
	}
	f, st, err := disk.OpenStat(filepath.Join(m.cache, cacheName), os.O_RDONLY, -1)
	if err != nil {
		return nil
	}
	defer f.Close()
	if st.Size > maxCache {
		return nil
	}
	b := make([]byte, st.Size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil
	}
	return decodeCache(b)
}

// decodeCache reads a cache; nil when it is torn, of another version, or
// its records do not rise.
func decodeCache(b []byte) *state {
	le, start := binary.LittleEndian, len(cacheMagic)+4
	if len(b) < start || string(b[:len(cacheMagic)]) != cacheMagic ||
		le.Uint32(b[len(cacheMagic):]) != crc32.Checksum(b[start:], castagnoli()) {
		return nil
	}
	var h cacheHead
	k, err := binary.Decode(b[start:], le, &h)
	if err != nil || h.Keywords > uidlist.MaxKeywords {
		return nil
	}
	b = b[start+k:]
	n := &store.Snapshot{UIDValidity: h.Validity, UIDNext: h.Next, FirstRecent: h.Recent, ModSeq: h.ModSeq}
	for range h.Keywords {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil
		}
		n.Keywords = append(n.Keywords, string(b[1:1+b[0]]))
		b = b[1+b[0]:]
	}
	if int(h.Msgs) > len(b)/recordSize {
		return nil
	}
	s := &state{snap: n, files: make([]file, h.Msgs), dirs: h.Dirs, list: h.List, keys: h.Keys}
	if h.Doubt {
		s.doubt = time.Unix(0, 1) // long ago: all is read again
	}
	n.Msgs = make([]store.Msg, h.Msgs)
	for i := range n.Msgs {
		if b = decodeRecord(b, &n.Msgs[i], &s.files[i]); b == nil || i > 0 && n.Msgs[i].UID <= n.Msgs[i-1].UID {
			return nil
		}
	}
	if len(b) > 0 {
		return nil
	}
	return s
}

// decodeRecord reads one record and returns what stands behind it.
func decodeRecord(b []byte, m *store.Msg, f *file) []byte {
	le := binary.LittleEndian
	if len(b) < recordSize {
		return nil
	}
	num := func(at int) int64 { return int64(le.Uint64(b[at:])) }
	*m = store.Msg{UID: le.Uint32(b), Flags: store.Flag(b[4]), Keywords: uint64(num(6)), Date: num(14), Size: num(22),
		Header: num(30), ModSeq: uint64(num(38)), Raw: num(46)}
	size := int(le.Uint16(b[54:]))
	if len(b) < recordSize+size || b[5] >= uint8(len(folders)) {
		return nil
	}
	*f = file{m.UID, b[5], string(b[recordSize : recordSize+size])}
	return b[recordSize+size:]
}
