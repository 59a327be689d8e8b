package maildir

import (
	"reflect"
	"testing"

	"packetboat/internal/store"
	"packetboat/internal/sys/disk"
)

func someState() *state {
	return &state{
		snap: &store.Snapshot{UIDValidity: 7, UIDNext: 12, FirstRecent: 3, ModSeq: 99, Keywords: []string{"Work", "$Label1"}, Msgs: []store.Msg{
			{UID: 2, Flags: store.Seen, Keywords: 3, Date: 1, Size: 20, Header: 10, ModSeq: 98, Raw: 18},
			{UID: 11, Size: store.Unknown, ModSeq: 99},
		}},
		files: []file{{2, inCur, "1.a.b:2,Sab"}, {11, inNew, "2.a.b"}},
		dirs:  [2]disk.ID{{Ino: 1, Size: 2}, {Ino: 3}}, list: disk.ID{Ino: 4},
	}
}

func TestCacheRoundTrip(t *testing.T) {
	s := someState()
	if got := decodeCache(encodeCache(s)); !reflect.DeepEqual(got, s) {
		t.Errorf("got  %+v\nwant %+v", got, s)
	}
	b := encodeCache(s)
	for i := range b {
		b[i] ^= 0x10
		if decodeCache(b) != nil {
			t.Errorf("octet %d can change unseen", i)
		}
		b[i] ^= 0x10
		if decodeCache(b[:i]) != nil {
			t.Errorf("a cache of %d octets of %d is believed", i, len(b))
		}
	}
}

// FuzzCache: a cache with a right checksum may still hold nonsense.
func FuzzCache(f *testing.F) {
	f.Add(encodeCache(someState()))
	f.Add(encodeCache(&state{snap: &store.Snapshot{}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > len(cacheMagic)+4 {
			copy(b, cacheMagic)
			sign(b)
		}
		s := decodeCache(b)
		if s == nil {
			return
		}
		for i := range s.snap.Msgs {
			if s.files[i].uid != s.snap.Msgs[i].UID || int(s.files[i].dir) >= len(folders) {
				t.Fatalf("message %d: %+v", i, s.files[i])
			}
		}
	})
}
