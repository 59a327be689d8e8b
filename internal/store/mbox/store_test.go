package mbox

import (
	"path/filepath"
	"testing"

	"packetboat/internal/store"
	"packetboat/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		dir := t.TempDir()
		return storetest.Place{Open: func() (store.Store, error) {
			return Open(Options{Inbox: filepath.Join(dir, "spool"), Folders: filepath.Join(dir, "mail")})
		}}
	})
}
