package queue

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

// Long ids have Postfix's form: this one it gave to a file in November 2026.
func TestLongIDs(t *testing.T) {
	if got := makeLong(time.Unix(1795473631, 461087000), 10256636); got[:6] != "4jYLW3" || got[10:] != "z1VJKV" {
		t.Errorf("%s", got)
	}
	rapid.Check(t, func(rt *rapid.T) {
		inode := rapid.Uint64Min(1).Draw(rt, "inode")
		id := makeLong(time.Unix(rapid.Int64Range(1e9, 1e10).Draw(rt, "sec"), rapid.Int64Range(0, 999999999).Draw(rt, "ns")), inode)
		if !ValidID(id) || !idFits(id, inode) || idFits(id, inode+1) {
			rt.Fatalf("%s of %d", id, inode)
		}
	})
	for _, bad := range []string{"", "4jYLW33JLJz", "z1", "4jYLW33JLJz../", "4jYLW33JLJzA", "4jYLW33JLJz1VJKV4jYLW33JLJz1VJKVVVV"} {
		if ValidID(bad) {
			t.Errorf("%q is no id", bad)
		}
	}
	q, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	q.LongIDs(true)
	w, err := q.Create()
	if err == nil {
		err = w.Commit(&mail.Envelope{UID: -1, Arrived: time.Now(), Rcpts: []mail.Rcpt{{Addr: "a@b"}}})
	}
	if err != nil || !validLong(w.ID()) {
		t.Fatal(w.ID(), err)
	}
	if r, err := q.Recover(); err != nil || len(r.Ready) != 1 || len(r.Renamed) != 0 {
		t.Errorf("%+v %v", r, err)
	}
}
