package mbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/store"
	"packetboat/internal/store/mbox/known"
)

// genQuoted makes a body of pieces of From_ lines, shifted so that the chunks
// of reader and scanner cut it anywhere.
func genQuoted(t *rapid.T) string {
	pieces := []string{">", ">", "From ", "From ", "Fro", "m ", "\n", "\n", "\n>From ", "\nFrom a@b Mon Jan  1 00:00:00 2024\n", "x", "\rx", "\r\n"}
	pad := rapid.SampledFrom([]int{0, 0, 0, store.Chunk, 2 * store.Chunk, store.Chunk, 2 * store.Chunk, 512 << 10}).Draw(t, "pad")
	if pad > 0 {
		pad -= rapid.IntRange(0, 400).Draw(t, "short")
	}
	fill := rapid.SampledFrom([]string{"x", "x\n", ">", ">x\n"}).Draw(t, "fill")
	s := strings.Repeat(fill, pad/len(fill)) + strings.Repeat("y", pad%len(fill))
	return s + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 60).Draw(t, "pieces"), "")
}

// TestQuoteRoundTrip: whatever a body holds, it comes back, whole and in
// parts, with the size that was promised, through a delivery and an APPEND.
func TestQuoteRoundTrip(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		defer os.Remove(path)
		msg := "Subject: x\n\n" + genQuoted(t)
		want := stored(msg)
		two := []Delivery{{Body: strings.NewReader(msg), CRLF: true}, {Body: strings.NewReader("Subject: next\n\n")}}
		if errs := Deliver(path, DeliverOptions{}, two); errs[0] != nil || errs[1] != nil {
			t.Fatal(errs)
		}
		s, _ := Open(Options{Inbox: path})
		m, err := s.Open("INBOX")
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.Append([]store.New{{Body: strings.NewReader(msg)}}); err != nil {
			t.Fatal(err)
		}
		snap := m.Snapshot()
		if len(snap.Msgs) != 3 {
			t.Fatalf("%d messages", len(snap.Msgs))
		}
		for _, i := range []int{0, 2} {
			part(t, m, snap.Msgs[i], want, 0, -1)
			step := rapid.IntRange(max(100, len(want)/30), 40000).Draw(t, "step")
			for off := 0; off < len(want); off += step {
				part(t, m, snap.Msgs[i], want, off, step)
			}
			part(t, m, snap.Msgs[i], want, rapid.IntRange(0, len(want)).Draw(t, "off"), rapid.IntRange(0, 100).Draw(t, "n"))
		}
	})
}

func part(t *rapid.T, m store.Mailbox, msg store.Msg, want string, off, n int) {
	t.Helper()
	r, err := m.Read(msg.UID, int64(off), int64(n))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	end := len(want)
	if n >= 0 {
		end = min(end, off+n)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != want[off:end] || msg.Size != int64(len(want)) {
		at := 0
		for at < len(got) && at < end-off && got[at] == want[off+at] {
			at++
		}
		t.Fatalf("%v: %d octets from %d, want %d; size %d, want %d; differ at %d: %.40q, want %.40q", err, len(got), off, end-off, msg.Size, len(want), at, got[at:], want[off+at:end])
	}
}

// TestWhoQuoted: what other programs write is unquoted only where they quoted.
func TestWhoQuoted(t *testing.T) {
	const from = "From a@b  Mon Nov 23 14:03:58 2026\nSubject: x\n"
	for name, c := range map[string]struct{ file, want string }{
		"Postfix, procmail, Python":    {from + "\na\n>From me\n>>From you\n\n", "a\r\nFrom me\r\n>From you\r\n"},
		"CRLF":                         {strings.ReplaceAll(from+"\na\n>From me\n\n", "\n", "\r\n"), "a\r\nFrom me\r\n"},
		"Dovecot":                      {from + "Status: O\nContent-Length: 11\n\na\n>From me\n\n", "a\r\n>From me\r\n"},
		"Dovecot, a message follows":   {from + "Content-Length: 20\n\nFrom you\na\n>From me\n\n" + from + "\nb\n\n", "From you\r\na\r\n>From me\r\n"},
		"mutt, of what others quoted":  {from + "Status: RO\nContent-Length: 11\nLines: 2\n\na\n>From me\n\n", "a\r\nFrom me\r\n"},
		"mutt, of what others did not": {from + "Content-Length: 20\nLines: 3\n\nFrom you\na\n>From me\n\n", "From you\r\na\r\n>From me\r\n"},
		"Content-Length is wrong":      {from + "Content-Length: 5\n\na\n>From me\n\n", "a\r\nFrom me\r\n"},
		"no quotes at all":             {from + "\nFrom here to there\n>From me\n\n", "From here to there\r\n>From me\r\n"},
		"header":                       {from + ">From old\n\n>From me\n\n", "From me\r\n"},
		"no body":                      {from + "\n", ""},
		"end of file in the line":      {from + "\n>From ", "From "},
		"nearly":                       {from + "\n>From\n> From \n>from x\n\n", ">From\r\n> From \r\n>from x\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m")
			os.WriteFile(path, []byte(c.file), 0o600)
			s, _ := Open(Options{Inbox: path})
			m, err := s.Open("INBOX")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			msg := m.Snapshot().Msgs[0]
			got := readAll(t, m, msg.UID)
			if got[msg.Header:] != c.want || int64(len(got)) != msg.Size {
				t.Errorf("%q, size %d; want %q", got[msg.Header:], msg.Size, c.want)
			}
		})
	}
}

// TestOldCache: a cache of the version that did not unquote gives UIDs, and
// nothing else is believed.
func TestOldCache(t *testing.T) {
	dir := t.TempDir()
	o := Options{Inbox: dir + "/spool", Folders: dir + "/mail"}
	Deliver(o.Inbox, DeliverOptions{}, []Delivery{{Body: strings.NewReader("S: 1\n\nFrom a\n")}, {Body: strings.NewReader("S: 2\n\nb\n")}})
	s, _ := Open(o)
	b, _ := s.Open("INBOX")
	m := b.(*mailbox)
	st := *m.state.Load()
	snap := *st.Snap
	snap.UIDValidity, snap.UIDNext = 77, 10
	snap.Msgs = []store.Msg{snap.Msgs[0], snap.Msgs[1]}
	snap.Msgs[0].UID, snap.Msgs[1].UID = 7, 9
	snap.Msgs[0].Size = 99
	st.Snap = &snap
	cache := known.Encode(&st)
	copy(cache, "pbmbox03")
	b.Close()
	os.MkdirAll(filepath.Dir(m.cachePath()), 0o700)
	if err := os.WriteFile(m.cachePath(), cache, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ = Open(o)
	b, err := s.Open("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	n := b.Snapshot()
	if n.UIDValidity != 77 || n.UIDNext != 10 || len(n.Msgs) != 2 || n.Msgs[0].UID != 7 || n.Msgs[1].UID != 9 || n.Msgs[0].Size != 16 {
		t.Errorf("%+v", n)
	}
	b.Flush()
	if c, _ := os.ReadFile(m.cachePath()); !bytes.HasPrefix(c, []byte("pbmbox04")) {
		t.Errorf("the cache is still %.8q", c)
	}
}
