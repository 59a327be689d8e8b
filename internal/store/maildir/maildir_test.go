package maildir

import (
	"testing"

	"packetboat/internal/store"
	"packetboat/internal/store/storetest"
)

func TestStore(t *testing.T) {
	for name, tree := range map[string]bool{"maildir++": false, "tree": true} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Place {
				o := Options{Root: t.TempDir() + "/Maildir", Tree: tree}
				return storetest.Place{Open: func() (store.Store, error) { return Open(o) }}
			})
		})
	}
}
