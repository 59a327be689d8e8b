package known

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/sys/disk"
)

// TestCacheRoundTrip: a state comes back from the cache as it went in, and a
// torn cache is none.
func TestCacheRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &State{Saved: true, Pseudo: rapid.Int64().Draw(t, "pseudo"),
			ID:   rapid.Make[disk.ID]().Draw(t, "id"),
			Base: format.Base{Found: rapid.Bool().Draw(t, "base"), Validity: 7, Last: 9, Names: 2},
			Recs: rapid.SliceOfN(rapid.Make[format.Record](), 0, 5).Draw(t, "recs"),
			Snap: &store.Snapshot{UIDValidity: rapid.Uint32().Draw(t, "validity"), UIDNext: 4, ModSeq: 5, FirstRecent: 6,
				Keywords: rapid.SliceOfN(rapid.StringN(1, 20, 200), 1, 3).Draw(t, "keywords")}}
		s.Snap.Msgs = make([]store.Msg, len(s.Recs))
		for i := range s.Snap.Msgs {
			s.Snap.Msgs[i] = rapid.Make[store.Msg]().Draw(t, "msg")
		}
		b := Encode(s)
		if got := Decode(b); !reflect.DeepEqual(got, s) {
			t.Fatalf("got  %+v %+v\nwant %+v %+v", got, got.Snap, s, s.Snap)
		}
		if cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut"); Decode(b[:cut]) != nil {
			t.Fatalf("a cache of %d octets is believed at %d", len(b), cut)
		}
	})
}
