package mbox

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"packetboat/internal/sys/disk"
)

// guidName is the file beside the cache that holds a mailbox's id: an mbox file has
// no place for it. It is renamed with the mailbox and goes with it.
const guidName = "packetboat.guid"

// GUID returns the mailbox's id, 32 hex digits, which it gets when somebody asks for
// it first. It is empty where nothing can be kept.
func (m *mailbox) GUID() (string, error) {
	if id := m.guid.Load(); id != nil {
		return *id, nil // SELECT asks: it must not wait for a flush
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.control == "" {
		return "", nil
	}
	id, err := m.takeGUID(filepath.Join(m.control, guidName))
	if id != "" {
		m.guid.Store(&id)
	}
	return id, err
}

// takeGUID reads the id, or makes one.
func (m *mailbox) takeGUID(path string) (string, error) {
	if id, err := readGUID(path); id != "" || err != nil {
		return id, err
	}
	if err := os.MkdirAll(m.control, 0o700); err != nil {
		return "", err
	}
	var g [16]byte
	rand.Read(g[:]) // never fails
	if err := disk.WriteFile(path, []byte(hex.EncodeToString(g[:])+"\n"), 0o600); err != nil {
		return "", err
	}
	return readGUID(path) // another process may have been faster
}

// readGUID returns the id in a file; empty where there is none.
func readGUID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	id := strings.TrimSpace(string(b))
	if _, bad := hex.DecodeString(id); bad != nil || len(id) != 32 {
		id = ""
	}
	return id, err
}
