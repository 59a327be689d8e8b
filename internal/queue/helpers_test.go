package queue

import (
	"bufio"
	"bytes"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"packetboat/internal/mail"
)

func records(env *mail.Envelope) []byte {
	b := appendHead(nil, env)
	for i := range env.Rcpts {
		b = appendRcpt(b, &env.Rcpts[i])
	}
	return b
}

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// serve returns what ServeShowq says.
func serve(t *testing.T, q *Queue) []byte {
	t.Helper()
	a, b := net.Pipe()
	go ServeShowq(a, q, nil)
	out, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestShowqGolden: the reader understands a real showq(8), and writing what was
// read gives its bytes back.
func TestShowqGolden(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "golden", "showq.bin"))
	if err != nil {
		t.Skip("../shared/golden/showq.bin is absent: ", err)
	}
	var list []*Listing
	if err := ReadShowq(bytes.NewReader(want), func(l *Listing) error { list = append(list, l); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(list) != 9 || list[0].ID != "33FAFCE" || len(list[0].Rcpts) != 2 || list[8].Queue != "hold" {
		t.Fatalf("%+v", list)
	}
	var got bytes.Buffer
	writeAll(&got, list)
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("got  %q\nwant %q", got.Bytes(), want)
	}
}

// TestShowq lists a queue of ours.
func TestShowq(t *testing.T) {
	q := open(t)
	env := simple("a@refuse.test", "b@x", "c d@slow.test")
	env.Rcpts[1].State = mail.Done
	id := put(t, q, env, "hello\n")
	held := simple("x@y")
	held.Sender = ""
	w, _ := q.Create()
	w.CommitHold(held)
	q.Move(id, Incoming, Active)
	q.Defer(loaded(t, q, id), time.Now(), map[int]string{0: "connect to x: refused\x00z", 2: ""})
	os.WriteFile(q.Path("00000AAAAAA", Hold), []byte("garbage"), 0o600)
	var got []*Listing
	out := serve(t, q)
	if err := ReadShowq(bytes.NewReader(out), func(l *Listing) error { got = append(got, l); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Fatalf("%q", out)
	}
	d, h := got[0], got[1]
	if d.Queue != "deferred" || d.ID != id || d.Size != 6 || d.Arrived != 1795442791 || len(d.Rcpts) != 2 ||
		d.Rcpts[0].Reason != "connect to x: refused?z" || d.Rcpts[1].Addr != `"c d"@slow.test` || d.Rcpts[1].Reason != "" {
		t.Errorf("%+v", d)
	}
	if h.Queue != "hold" || h.Sender != "MAILER-DAEMON" {
		t.Errorf("%+v", h)
	}
	for n := range out {
		if ReadShowq(bytes.NewReader(out[:n]), func(*Listing) error { return nil }) == nil {
			t.Fatalf("cut at %d unnoticed", n)
		}
	}
}

// FuzzShowq: the reader of the listing takes any bytes, and what it takes comes
// back when it is written again.
func FuzzShowq(f *testing.F) {
	f.Add([]byte("protocol\x00mail_queue_list_protocol\x00\x00queue_name\x00hold\x00recipient\x00a\x00reason\x00\x00\x00\x00"))
	f.Add([]byte("protocol\x00x\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(b []byte) (list []*Listing, err error) {
			err = ReadShowq(bytes.NewReader(b), func(l *Listing) error { list = append(list, l); return nil })
			return list, err
		}
		list, err := read(b)
		if err != nil {
			return
		}
		var out bytes.Buffer
		writeAll(&out, list)
		again, err := read(out.Bytes())
		if err != nil || !reflect.DeepEqual(list, again) {
			t.Fatalf("%v\n%+v\n%+v", err, list, again)
		}
	})
}

func BenchmarkCommit1(b *testing.B)  { benchCommit(b, 1) }
func BenchmarkCommit10(b *testing.B) { benchCommit(b, 10) }

func benchCommit(b *testing.B, parallel int) {
	q := open(b)
	env, body := simple("a@b"), []byte(strings.Repeat("0123456789abcde\n", 128))
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.SetParallelism(parallel)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w, err := q.Create()
			if err != nil {
				b.Error(err)
				return
			}
			w.Write(body)
			if err := w.Commit(env); err != nil {
				b.Error(err)
				return
			}
			q.Remove(w.ID(), Incoming)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	q := open(b)
	id := put(b, q, simple("a@b", "c@d"), strings.Repeat("x", 2048))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.Load(id, Incoming); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMark(b *testing.B) {
	q := open(b)
	id := put(b, q, simple("a@b", "c@d"), strings.Repeat("x", 2048))
	q.Move(id, Incoming, Active)
	b.ReportAllocs()
	for b.Loop() {
		if err := q.Mark(id, 1, mail.Done); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScan reads the folders of 10,000 deferred messages.
func BenchmarkScan10000(b *testing.B) {
	q := open(b)
	for i := range 10000 {
		id := makeID(time.Unix(0, int64(i)*97000), uint64(i)+1<<20)
		makeDir(filepath.Dir(q.Path(id, Deferred)))
		os.WriteFile(q.Path(id, Deferred), []byte("x"), 0o600)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		q.Scan(Deferred, func(string, Info) error { n++; return nil })
		if n != 10000 {
			b.Fatal(n)
		}
	}
}

// writeAll writes listings as ServeShowq does.
func writeAll(out *bytes.Buffer, list []*Listing) {
	w := bufio.NewWriter(out)
	w.WriteString("protocol\x00mail_queue_list_protocol\x00\x00")
	for _, l := range list {
		l.write(w)
	}
	w.WriteByte(0)
	w.Flush()
}

// loaded reads an active message.
func loaded(t *testing.T, q *Queue, id string) *Message {
	t.Helper()
	m, err := q.Load(id, Active)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
