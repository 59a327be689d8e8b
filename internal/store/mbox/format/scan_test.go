package format

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store"
)

func scanAll(t testing.TB, data []byte) ([]store.Msg, []Record, *Scanner) {
	t.Helper()
	var msgs []store.Msg
	var recs []Record
	s := NewScanner(bytes.NewReader(data), int64(len(data)), &Keywords{}, func(c *Scanned) {
		msgs = append(msgs, c.Msg)
		recs = append(recs, c.Rec)
	})
	if err := s.Run(0); err != nil {
		t.Fatal(err)
	}
	return msgs, recs, s
}

func TestParseFrom(t *testing.T) {
	utc := time.Date(2026, 11, 23, 14, 3, 58, 0, time.UTC).Unix()
	local := time.Date(2026, 11, 23, 14, 3, 58, 0, time.Local).Unix()
	for line, want := range map[string]int64{
		"From a@b  Mon Nov 23 14:03:58 2026":                                  local,
		"From a@b Mon Nov 23 14:03:58 2026\n":                                 local,
		"From a@b Mon Nov 23 14:03:58 2026\r\n":                               local,
		"From a b c Mon Nov 23 14:03:58 2026":                                 local,
		"From ???@??? Mon Nov 23 14:03:58 2026":                               local,
		"From MAILER-DAEMON Mon Nov 23 14:03:58 2026":                         local,
		"From a@b Mon Nov 23 14:03:58 UTC 2026":                               utc,
		"From a@b Mon Nov 23 15:03:58 +0100 2026":                             utc,
		"From a@b Mon Nov 23 15:03:58 2026 +0100":                             utc,
		"From a@b Mon, 23 Nov 2026 15:03:58 +0100":                            utc,
		"From a@b Mon Nov 23 14:03:58 2026 remote from uucp":                  local,
		"From a@b Mon Nov 23 14:03 2026":                                      local - 58,
		"From Mon Nov 23 14:03:58 2026":                                       local,
		`From "a Mon b"@c Mon Nov 23 14:03:58 2026`:                           local,
		"From here to there":                                                  -1,
		"From a@b":                                                            -1,
		"From ":                                                               -1,
		"From a@b Mon Nov 32 14:03:58 2026":                                   -1,
		"From a@b Mon Nov 23 24:03:58 2026":                                   -1,
		"From a@b Mon Xyz 23 14:03:58 2026":                                   -1,
		"From a@b Mon Nov 23 14:03:58":                                        -1,
		"From a@b Nov 23 14:03:58 2026":                                       -1,
		"from a@b Mon Nov 23 14:03:58 2026":                                   -1,
		"From a@b " + strings.Repeat("x", 5000) + " Mon Nov 23 14:03:58 2026": -1,
	} {
		_, got, ok := ParseFrom([]byte(line))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%.60q: %d, want %d", line, got, want)
		}
	}
}

func TestScanGoldenShape(t *testing.T) {
	data := "From pre@existing Mon Jan  1 00:00:00 2024\nFrom: p@e\nSubject: preexisting\nStatus: RO\n" +
		"X-IMAPbase: 1795445461 0000000006 $Label1 Junk\nX-UID: 1                                     \n\nhello\n\n" +
		"From alice@mail.example.org  Mon Nov 23 14:51:01 2026\nFrom: x@y\nSubject: m1\nMessage-ID: <1@y>\nX-UID: 2\nStatus: O\n" +
		"X-Keywords:          \nContent-Length: 19\n\nbody 1\nFrom quoted\n\n"
	msgs, recs, s := scanAll(t, []byte(data))
	if len(msgs) != 2 || msgs[0].Size != 42 || msgs[1].Size != 66 {
		t.Fatalf("sizes: %+v", msgs)
	}
	if msgs[0].Flags != store.Seen || !recs[0].Old || recs[0].Uid != 1 || recs[1].Uid != 2 {
		t.Errorf("flags: %+v %+v", msgs, recs)
	}
	if !s.Base.Found || s.Base.Validity != 1795445461 || s.Base.Last != 6 || len(s.keys.Names) != 2 {
		t.Errorf("base: %+v %v", s.Base, s.keys.Names)
	}
}

func bigMbox(n, body int) []byte {
	var b bytes.Buffer
	line := "The quick brown fox jumps over the lazy dog; From time to time, and so on and on.\n"
	for i := range n {
		fmt.Fprintf(&b, "From a%d@example.org  Mon Nov 23 14:03:58 2026\n", i)
		for j := range 12 {
			fmt.Fprintf(&b, "X-Header-%d: some value of usual length for a header line %d\n", j, i)
		}
		fmt.Fprintf(&b, "Message-ID: <%d@example.org>\nSubject: message %d\n\n", i, i)
		for k := 0; k < body; k += len(line) {
			b.WriteString(line)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func BenchmarkScan87MB(b *testing.B) {
	data := bigMbox(10000, 7900)
	path := b.TempDir() + "/m"
	os.WriteFile(path, data, 0o600)
	f, _ := os.Open(path)
	defer f.Close()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		s := NewScanner(f, int64(len(data)), &Keywords{}, func(*Scanned) { n++ })
		if err := s.Run(0); err != nil || n != 10000 {
			b.Fatal(err, n)
		}
	}
}
