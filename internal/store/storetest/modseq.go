package storetest

import (
	"errors"
	"testing"

	"packetboat/internal/store"
)

// testModSeq: RFC 7162 section 3.1. Every change gets a modseq above all before,
// its message and nobody else; the highest never falls, also not when the store
// is opened again.
func testModSeq(t *testing.T, p Place) {
	s := open(t, p)
	m := box(t, s, "INBOX")
	uids := add(t, m, 0, 3)
	was := sync1(t, m)
	if was.ModSeq == 0 {
		t.Fatal("HIGHESTMODSEQ is 0")
	}
	now, err := m.SetFlags(uids[1:2], store.Add, store.Flagged, nil)
	if err != nil {
		t.Fatal(err)
	}
	if now.ModSeq <= was.ModSeq || now.Msgs[1].ModSeq != now.ModSeq {
		t.Errorf("modseq of the mailbox %d, then %d, of the message %d", was.ModSeq, now.ModSeq, now.Msgs[1].ModSeq)
	}
	for _, i := range []int{0, 2} {
		if now.Msgs[i].ModSeq != was.Msgs[i].ModSeq || now.Msgs[i].ModSeq == 0 || now.Msgs[i].ModSeq > was.ModSeq {
			t.Errorf("message %d: modseq %d, then %d, highest was %d", i, was.Msgs[i].ModSeq, now.Msgs[i].ModSeq, was.ModSeq)
		}
	}
	same, err := m.SetFlags(uids[1:2], store.Add, store.Flagged, nil)
	if err != nil || same.Msgs[1].ModSeq != now.Msgs[1].ModSeq {
		t.Errorf("flags that were there already: %v, modseq %d, then %d", err, now.Msgs[1].ModSeq, same.Msgs[1].ModSeq)
	}
	gone, err := m.Expunge(uids[:1])
	if err != nil || gone.ModSeq <= now.ModSeq {
		t.Errorf("expunge: %v, highest %d, then %d", err, now.ModSeq, gone.ModSeq)
	}
	add(t, m, 3, 1)
	more := sync1(t, m)
	if n := len(more.Msgs); more.ModSeq <= gone.ModSeq || more.Msgs[n-1].ModSeq <= gone.ModSeq || more.Msgs[0].ModSeq != gone.Msgs[0].ModSeq {
		t.Errorf("append: highest %d, then %d; the message has %d", gone.ModSeq, more.ModSeq, more.Msgs[n-1].ModSeq)
	}
	m.Close()
	s.Close()
	again := sync1(t, box(t, open(t, p), "INBOX"))
	if again.ModSeq < more.ModSeq {
		t.Errorf("opened again: highest %d, then %d", more.ModSeq, again.ModSeq)
	}
	for i := range again.Msgs {
		if again.Msgs[i].ModSeq < more.Msgs[i].ModSeq || again.Msgs[i].ModSeq > again.ModSeq {
			t.Errorf("opened again: message %d has %d, then %d, highest %d", i, more.Msgs[i].ModSeq, again.Msgs[i].ModSeq, again.ModSeq)
		}
	}
}

// testNothingLeft: asking for a mailbox that is not there makes none, and no
// folder on the way to it.
func testNothingLeft(t *testing.T, p Place) {
	s := open(t, p)
	for _, name := range []string{"nope", "a/b"} {
		if m, err := s.Open(name); !errors.Is(err, store.ErrNoMailbox) {
			t.Fatalf("%s: %v %v", name, m, err)
		}
	}
	box(t, s, "INBOX") // whatever is kept of the last mailbox is written by now
	list, err := s.List()
	if err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
}
