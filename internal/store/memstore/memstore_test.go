package memstore_test

import (
	"testing"

	"packetboat/internal/store"
	"packetboat/internal/store/memstore"
	"packetboat/internal/store/storetest"
)

// TestStore holds the store in memory to the contract of those on disk. It
// stays the same store when it is opened again, as a folder would.
func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Place {
		s := memstore.New()
		return storetest.Place{Open: func() (store.Store, error) { return s, nil }}
	})
}
