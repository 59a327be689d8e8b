package smtpd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/receive/smtpd/stream"
	"packetboat/internal/receive/smtpd/syntax"
)

// nullMessage is a queue that forgets.
type nullMessage struct{}

func (nullMessage) ID() string                  { return "4FAAA100000" }
func (nullMessage) Start(*mail.Envelope) error  { return nil }
func (nullMessage) Write(p []byte) (int, error) { return len(p), nil }
func (nullMessage) Commit() error               { return nil }
func (nullMessage) Abort()                      {}

// benchReceive sends messages of about size octets over one connection, the
// commands pipelined; a figure is one message.
func benchReceive(b *testing.B, size int) {
	w := newWorld()
	w.opts.SizeLimit = 0
	w.start(b)
	w.srv.deps.Open = func() (Message, error) { return nullMessage{}, nil }
	c := dialFrom(b, "127.0.0.1", w.addr)
	r := bufio.NewReader(c)
	read := func(n int) {
		for range n {
			if _, err := r.ReadSlice('\n'); err != nil {
				b.Fatal(err)
			}
		}
	}
	read(1)
	io.WriteString(c, "HELO x\r\n")
	read(1)
	line := strings.Repeat("x", 76) + "\r\n"
	body := []byte("Subject: bench\r\n\r\n" + strings.Repeat(line, size/len(line)) + ".\r\n")
	head := []byte("MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		c.Write(head)
		read(3)
		c.Write(body)
		read(1)
	}
}

func BenchmarkReceive2K(b *testing.B) { benchReceive(b, 2<<10) }
func BenchmarkReceive1M(b *testing.B) { benchReceive(b, 1<<20) }

// BenchmarkSession is a whole session with one message of 2 KiB.
func BenchmarkSession2K(b *testing.B) {
	w := newWorld()
	w.start(b)
	w.srv.deps.Open = func() (Message, error) { return nullMessage{}, nil }
	body := "Subject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 26) + ".\r\nQUIT\r\n"
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReader(c)
		r.ReadSlice('\n')
		io.WriteString(c, "HELO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@localhost>\r\nDATA\r\n")
		for range 4 {
			r.ReadSlice('\n')
		}
		io.WriteString(c, body)
		io.Copy(io.Discard, r)
		c.Close()
	}
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 800))
	buf := make([]byte, len(text))
	d := stream.Decoder{W: io.Discard}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, text)
		d.Decode(buf)
	}
}

func BenchmarkCommands(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		cmd := syntax.Tokenize([]byte("MAIL FROM:<alice@example.org> SIZE=12345 BODY=8BITMIME"))
		if _, ok := syntax.ParsePath(cmd.Args[2].Text, syntax.PathRules{}); !ok {
			b.Fatal(fmt.Sprint(cmd))
		}
	}
}
