package mbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/store/mbox/known"
	"packetboat/internal/sys/disk"
)

// The cache saves a mailbox that nobody changed from being read again, keeps
// UIDs of messages that have no X-UID while other programs delete around them,
// and UIDVALIDITY and UIDNEXT of an empty mailbox. It stands in the control
// folder (~/mail/.imap/NAME/packetboat.cache) beside Dovecot's index files.
// It can be deleted: what a session left in the mbox itself gives the same UIDs.

const (
	cacheName = "packetboat.cache"
	maxCache  = 1 << 30
)

func (m *mailbox) cachePath() string { return filepath.Join(m.control, cacheName) }

// saveCache writes the state, unless the file has it already.
func (m *mailbox) saveCache() error {
	s := m.state.Load()
	if s.Saved || m.control == "" {
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
	_, err = f.Write(known.Encode(s))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, m.cachePath())
	}
	if err != nil {
		os.Remove(tmp)
		return cacheError(err)
	}
	n := *s
	n.Saved = true
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

// loadCache returns the state that the cache holds, nil without a sound one.
func (m *mailbox) loadCache() *known.State {
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
	return known.Decode(b)
}
