package imapd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"packetboat/internal/mail/message"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store"
	"packetboat/internal/store/memstore"
)

// many returns a store with n messages.
func many(b *testing.B, n, size int) *memstore.Store {
	body := append([]byte("From: Fred Foo <foo@example.org>\r\nTo: a@b.example, \"C D\" <c@d.example>\r\nSubject: afternoon meeting\r\n"+
		"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-Id: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"),
		bytes.Repeat([]byte("0123456789 0123456789 0123456789 0123456789 0123456789\r\n"), size/56+1)...)
	st := memstore.New()
	box, err := st.Open("INBOX")
	if err != nil {
		b.Fatal(err)
	}
	msgs := make([]store.New, n)
	for i := range msgs {
		msgs[i] = store.New{Body: bytes.NewReader(body), Date: time.Unix(1700000000, 0)}
	}
	if _, err := box.Append(msgs); err != nil {
		b.Fatal(err)
	}
	return st
}

// benchCommand measures one command on a session that has INBOX selected.
func benchCommand(b *testing.B, st store.Store, command string) {
	p := startOurs(b, st, Options{})
	p.do(b, "s SELECT INBOX")
	buf := make([]byte, 64<<10)
	end := []byte("x OK ")
	var tail []byte
	b.ReportAllocs()
	for b.Loop() {
		fmt.Fprintf(p, "x %s\r\n", command)
		tail = tail[:0]
		for total := 0; ; {
			n, err := p.r.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			total += n
			tail = append(tail[:copy(tail, tail[max(0, len(tail)-300):])], buf[:n]...)
			if bytes.Contains(tail, end) && bytes.HasSuffix(tail, []byte("\r\n")) {
				b.SetBytes(int64(total))
				break
			}
		}
	}
}

func BenchmarkFetchFlags10000(b *testing.B) {
	benchCommand(b, many(b, 10000, 100), "FETCH 1:* (FLAGS)")
}

func BenchmarkFetchEnvelope1000(b *testing.B) {
	benchCommand(b, many(b, 1000, 2000), "FETCH 1:* (ENVELOPE)")
}

func BenchmarkFetchStructure1000(b *testing.B) {
	benchCommand(b, many(b, 1000, 2000), "FETCH 1:* (BODYSTRUCTURE)")
}

func BenchmarkFetchBody10M(b *testing.B) { benchCommand(b, many(b, 1, 10<<20), "FETCH 1 BODY.PEEK[]") }

func BenchmarkSearchBody1000(b *testing.B) {
	benchCommand(b, many(b, 1000, 2000), "SEARCH BODY nowhere")
}

func BenchmarkNoop(b *testing.B) { benchCommand(b, many(b, 1000, 100), "NOOP") }

func BenchmarkParseCommand(b *testing.B) {
	in := []byte("a1 UID FETCH 1:100,200:* (UID FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (From To Subject Date)])\r\n")
	r := bytes.NewReader(in)
	var p syntax.Parser
	br := bufio.NewReader(r)
	p.R = br
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(in)
		br.Reset(r)
		p.Start()
		p.Word()
		p.Word()
		args, err := p.Args(false)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := syntax.ParseFetch(args[1:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMIME(b *testing.B) {
	var m bytes.Buffer
	m.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range 10 {
		m.WriteString("--b\r\nContent-Type: text/plain\r\n\r\n")
		m.Write(bytes.Repeat([]byte("0123456789 0123456789 0123456789 0123456789 0123456789\r\n"), 2000))
	}
	m.WriteString("--b--\r\n")
	ps := message.NewParser()
	b.SetBytes(int64(m.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ps.Parse(io.NewSectionReader(bytes.NewReader(m.Bytes()), 0, int64(m.Len()))); err != nil {
			b.Fatal(err)
		}
	}
}
