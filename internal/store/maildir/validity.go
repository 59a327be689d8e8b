package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// UIDVALIDITY of a user's mailboxes comes from one counter, Dovecot's: the file
// dovecot-uidvalidity.HEX, which is empty and has the last value in its name,
// and dovecot-uidvalidity, which holds it too and says where to look first. A
// value is taken by renaming the first one, so that no two mailboxes get the
// same, nor one that was deleted and made again.
const (
	validityName  = "dovecot-uidvalidity"
	validityTries = 10
)

// nextValidity takes the next value. Where the counter cannot be kept, the
// clock has to do.
func (s *Store) nextValidity() uint32 {
	root := s.o.Root
	if s.o.Control != "" {
		root = s.o.Control
	}
	path := filepath.Join(root, validityName)
	last := lastValidity(path)
	for range validityTries {
		if last == 0 {
			break
		}
		next := last + 1
		err := os.Rename(numbered(path, last), numbered(path, next))
		if err == nil {
			disk.WriteFile(path, fmt.Appendf(nil, "%08x", next), 0o600) // only says where to look first
			return next
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		last = scanValidity(path) // another program was faster
	}
	next := max(uint32(time.Now().Unix()), last+1)
	if f, err := os.OpenFile(numbered(path, next), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444); err == nil {
		f.Close()
		disk.WriteFile(path, fmt.Appendf(nil, "%08x", next), 0o600)
	}
	return next
}

func numbered(path string, v uint32) string { return fmt.Sprintf("%s.%08x", path, v) }

// lastValidity returns the last value that was given, 0 when none was.
func lastValidity(path string) uint32 {
	b, err := disk.ReadFile(path)
	if err == nil && len(b) == 8 {
		if v, err := strconv.ParseUint(string(b), 16, 32); err == nil && exists(numbered(path, uint32(v))) {
			return uint32(v)
		}
	}
	return scanValidity(path)
}

// scanValidity finds the highest value by the names in the folder.
func scanValidity(path string) uint32 {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0
	}
	var last uint32
	for _, e := range entries {
		if hex, ok := strings.CutPrefix(e.Name(), validityName+"."); ok {
			if v, err := strconv.ParseUint(hex, 16, 32); err == nil && len(hex) == 8 {
				last = max(last, uint32(v))
			}
		}
	}
	return last
}
