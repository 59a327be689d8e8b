package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

// TestLedgerLine: what is written is read again, whatever strangers put into it, and
// a line that is damaged anywhere is none.
func TestLedgerLine(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Just("said\n%= \t\x00"), rapid.Just(""))
	rapid.Check(t, func(t *rapid.T) {
		m := &Message{ID: "00F1C2345", Size: rapid.Int64Min(0).Draw(t, "size"), Env: &mail.Envelope{
			Sender: mail.Address(text.Draw(t, "sender")), Arrived: time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "at"), 0)}}
		reasons := map[int]string{}
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			m.Env.Rcpts = append(m.Env.Rcpts, mail.Rcpt{Addr: mail.Address(text.Draw(t, "rcpt"))})
			reasons[i] = text.Draw(t, "reason")
		}
		line := appendLine(nil, m, reasons)
		if id, ok := lineID(line); !ok || id != m.ID || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("%q", line)
		}
		w, ok := parseLine(line[9 : len(line)-1])
		if !ok || w.id != m.ID || w.arrived != m.Env.Arrived.Unix() || w.size != m.Size || w.sender != m.Env.Sender || len(w.rcpts) != len(reasons) {
			t.Fatalf("%q gave %+v", line, w)
		}
		for i, r := range w.rcpts {
			if r.index != i || r.addr != m.Env.Rcpts[i].Addr || r.reason != reasons[i] {
				t.Fatalf("%q gave %+v", line, r)
			}
		}
		line[rapid.IntRange(0, len(line)-1).Draw(t, "torn")] ^= 1
		if _, ok := lineID(line); ok {
			t.Fatalf("%q was taken", line)
		}
	})
}

// TestLedgerAgrees: a listing from the ledger is the listing from the queue files,
// also in another process, after a restart, and with lines torn off the file.
func TestLedgerAgrees(t *testing.T) {
	q := open(t)
	var ids []string
	for i := range 20 {
		env := simple(mail.Address(fmt.Sprintf("u%d@x.test", i)), "done@y", "odd name@z")
		env.Rcpts[1].State = mail.Done
		id := put(t, q, env, "hello\n")
		q.Move(id, Incoming, Active)
		if i%2 == 0 {
			q.Mark(id, 1, mail.Done)
		}
		reasons := map[int]string{0: "host said: 450 wait", 2: "host said: 450 wait"}
		if err := q.Defer(loaded(t, q, id), time.Now().Add(time.Hour), reasons); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	q.Expire(ids[3])
	q.NextTry(ids[3]) // as the scheduler does when postsuper tells it
	fromFiles := func(id string) *Listing {
		m, err := q.Load(id, Deferred)
		if err != nil {
			t.Fatal(err)
		}
		return q.listing(m)
	}
	agree := func(q *Queue, lines int) {
		t.Helper()
		n := 0
		err := q.List(func(l *Listing) error {
			if want := fromFiles(l.ID); !reflect.DeepEqual(strip(l), strip(want)) {
				t.Errorf("%+v\nnot %+v", l, want)
			}
			if len(l.Rcpts) > 0 && l.Rcpts[0].Reason != "" {
				n++
			}
			return nil
		})
		if err != nil || n != lines {
			t.Errorf("%d with reasons, not %d: %v", n, lines, err)
		}
	}
	agree(q, 20)
	expired := func(q *Queue) {
		t.Helper()
		q.List(func(l *Listing) error {
			if l.Expire != (l.ID == ids[3]) {
				t.Errorf("%+v", l)
			}
			return nil
		})
	}
	expired(q)
	other, err := Use(q.root)
	if err != nil {
		t.Fatal(err)
	}
	agree(other, 20)
	expired(other)
	other.Close()
	b, err := os.ReadFile(q.ledger.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[4][20] = 0
	torn := bytes.Join(append(lines[:19:19], lines[19][:9]), nil)
	if err := os.WriteFile(q.ledger.path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Use(q.root)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	q.Delete(ids[0])
	if _, err := again.Recover(); err != nil {
		t.Fatal(err)
	}
	agree(again, 17)
	expired(again)
	if got := len(again.ledger.at); got != 17 {
		t.Errorf("%d places, not 17", got)
	}
}

// strip leaves what both ways know.
func strip(l *Listing) Listing {
	c := *l
	c.Rcpts = nil
	for _, r := range l.Rcpts {
		if r.Addr != "done@y" { // its mark may stand behind the line
			c.Rcpts = append(c.Rcpts, ListedRcpt{Addr: r.Addr})
		}
	}
	return c
}

// TestLedgerRenewed: the file stays in proportion to what waits, and no line of a
// message that waits is lost when it is written anew.
func TestLedgerRenewed(t *testing.T) {
	l := &ledger{path: filepath.Join(t.TempDir(), ledgerName)}
	l.take()
	defer l.close()
	long := strings.Repeat("waits and waits ", 100)
	at := map[string]string{}
	for i := range 5000 {
		m := &Message{ID: fmt.Sprintf("00001A%d", i%100), Env: simple("a@b")}
		reason := fmt.Sprint(i, " ", long)
		if err := l.put(m.ID, appendLine(nil, m, map[int]string{0: reason})); err != nil {
			t.Fatal(err)
		}
		if at[m.ID] = reason; i%7 == 0 {
			l.forget(m.ID)
			delete(at, m.ID)
		}
	}
	fi, err := os.Stat(l.path)
	if err != nil || fi.Size() != l.size || fi.Size() > 2*minLedger {
		t.Fatalf("%d bytes, %d counted: %v", fi.Size(), l.size, err)
	}
	fresh := &ledger{path: l.path}
	for id, reason := range at {
		for _, from := range []*ledger{l, fresh} {
			if w, ok := parseLine(from.line(id, nil)); !ok || w.rcpts[0].reason != reason {
				t.Fatalf("%s: %+v", id, w)
			}
		}
	}
	fresh.close()
}

// TestLedgerFull: a message of which nothing could be written is told from its file.
func TestLedgerFull(t *testing.T) {
	q := open(t)
	id := put(t, q, simple("a@b"), "x\n")
	q.Move(id, Incoming, Active)
	m := loaded(t, q, id)
	if err := q.Defer(m, time.Now(), map[int]string{0: "old"}); err != nil {
		t.Fatal(err)
	}
	q.Move(id, Deferred, Active)
	q.ledger.f.Close() // no write succeeds any more, as on a full disk
	if err := q.Defer(m, time.Now(), map[int]string{0: "new"}); err == nil {
		t.Fatal("the loss was not told")
	}
	var got []*Listing
	q.List(func(l *Listing) error { got = append(got, l); return nil })
	if len(got) != 1 || got[0].Queue != "deferred" || len(got[0].Rcpts) != 1 || got[0].Rcpts[0].Reason != "" {
		t.Fatalf("%+v", got)
	}
	q.ledger.f = nil
}

// TestLedgerMemory: what the place of a line costs.
func TestLedgerMemory(t *testing.T) {
	const n = 100000
	l := &ledger{loaded: true, at: map[string]span{}}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		l.set(fmt.Sprintf("%05X%07X", i*7919%1000000, i), span{off: int64(i), n: 200})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / n
	t.Logf("%.0f bytes a waiting message", each)
	if each > 130 {
		t.Errorf("%.0f bytes a waiting message", each)
	}
	runtime.KeepAlive(l)
}

// FuzzLedgerLine: no line of a damaged file does harm.
func FuzzLedgerLine(f *testing.F) {
	f.Add([]byte("00F1C\t1\t2\ta@b\t0\tc@d\twhy\t1\te@f\t%="))
	f.Add([]byte("\t\t\t"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lineID(b)
		if w, ok := parseLine(b); ok && strings.Count(string(b), "\t") < 3*len(w.rcpts) {
			t.Fatal(errors.New("more recipients than fields"))
		}
	})
}
