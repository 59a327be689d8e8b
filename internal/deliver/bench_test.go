package deliver

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/sys/proc"
)

// BenchmarkConversation delivers one message of 2 KB after the other to one
// mailbox, as mtad's engine does: the cost of a lone message, flush included.
func BenchmarkConversation(b *testing.B) {
	for _, box := range []string{"mbox", "maildir/"} {
		b.Run(strings.TrimSuffix(box, "/"), func(b *testing.B) {
			ours, theirs, err := proc.SocketPair()
			if err != nil {
				b.Fatal(err)
			}
			conn, err1 := net.FileConn(ours)
			peer, err2 := net.FileConn(theirs)
			if err1 != nil || err2 != nil {
				b.Fatal(err1, err2)
			}
			ours.Close()
			theirs.Close()
			a := Account{User: "u", Inbox: filepath.Join(b.TempDir(), box)}
			if strings.HasSuffix(box, "/") {
				a.Inbox += "/"
			}
			done := make(chan error, 1)
			go func() { done <- lmtpd.Serve(peer, lmtpd.Options{Raw: true}, NewLMTP(Options{}, Everyone(a), nil)) }()
			body := "Subject: x\n\n" + strings.Repeat("hi there is text\n", 120)
			message := fmt.Appendf(nil, "MAIL FROM:<a@b>\r\nRCPT TO:<u> XORIG=u XDLVR=u\r\nBDAT %d LAST\r\n%s", len(body), body)
			r := bufio.NewReader(conn)
			expect := func(n int) {
				for range n {
					if line, err := r.ReadSlice('\n'); err != nil || line[0] != '2' {
						b.Fatalf("%s %v", line, err)
					}
				}
			}
			fmt.Fprintf(conn, "LHLO x\r\n")
			expect(9)
			b.ReportAllocs()
			for b.Loop() {
				conn.Write(message)
				expect(3)
			}
			conn.Close()
			<-done
		})
	}
}
