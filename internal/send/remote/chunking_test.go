package remote

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"packetboat/internal/mail"
)

// chunky is a host with CHUNKING: it takes chunks until one is refused.
type chunky struct {
	ext    string // more of EHLO's lines
	lmtp   bool
	refuse int    // this chunk, counted from 1
	rcpt   string // the answer to recipients; empty = 250

	mu   sync.Mutex
	body strings.Builder
	said []string
}

func (h *chunky) serve(c net.Conn) {
	r := bufio.NewReader(c)
	io.WriteString(c, "220 x\r\n")
	rcpts, chunks := 0, 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		h.mu.Lock()
		h.said = append(h.said, strings.TrimSpace(line))
		h.mu.Unlock()
		f := strings.Fields(line)
		switch f[0] {
		case "EHLO", "LHLO":
			io.WriteString(c, "250-x\r\n"+h.ext+"250 CHUNKING\r\n")
		case "RCPT":
			if h.rcpt != "" {
				io.WriteString(c, h.rcpt+"\r\n")
				continue
			}
			rcpts++
			io.WriteString(c, "250 ok\r\n")
		case "BDAT":
			var n int64
			fmt.Sscan(f[1], &n)
			h.mu.Lock()
			io.CopyN(&h.body, r, n)
			h.mu.Unlock()
			chunks++
			switch {
			case chunks == h.refuse:
				io.WriteString(c, "552 5.3.4 too much\r\n")
			case len(f) < 3:
				io.WriteString(c, "250 more\r\n")
			case h.lmtp:
				for i := range rcpts {
					fmt.Fprintf(c, "250 2.0.0 taken %d\r\n", i)
				}
			default:
				io.WriteString(c, "250 2.0.0 taken\r\n")
			}
		case "QUIT":
			return
		default:
			io.WriteString(c, "250 ok\r\n")
		}
	}
}

// TestChunking: a host that offers it gets messages in chunks, whole, without DATA and
// without dots.
func TestChunking(t *testing.T) {
	big := "Subject: x\n\n.a line\n..\n.\n" + strings.Repeat("many lines of some length\n", 50_000) + "no end"
	for name, c := range map[string]struct {
		host    *chunky
		body    string
		chunks  int
		outcome mail.Outcome
		text    string
	}{
		"small":            {&chunky{}, "a\n.\nb\n", 1, mail.Sent, "250 2.0.0 taken"},
		"pipelined":        {&chunky{ext: "250-PIPELINING\r\n"}, "a\n.\nb\n", 1, mail.Sent, "250 2.0.0 taken"},
		"empty":            {&chunky{}, "", 1, mail.Sent, "250 2.0.0 taken"},
		"large":            {&chunky{ext: "250-PIPELINING\r\n"}, big, 6, mail.Sent, "250 2.0.0 taken"},
		"LMTP":             {&chunky{lmtp: true}, big, 6, mail.Sent, "250 2.0.0 taken 0"},
		"refused":          {&chunky{refuse: 2}, big, 0, mail.Bounced, "552 5.3.4 too much (in reply to BDAT command)"},
		"refused, last":    {&chunky{refuse: 1}, "x\n", 1, mail.Bounced, "552 5.3.4 too much (in reply to BDAT command)"},
		"nobody":           {&chunky{rcpt: "550 5.1.1 unknown"}, "x\n", 0, mail.Bounced, "550 5.1.1 unknown (in reply to RCPT TO command)"},
		"nobody, in a row": {&chunky{rcpt: "550 5.1.1 unknown", ext: "250-PIPELINING\r\n"}, "x\n", 0, mail.Bounced, "550 5.1.1 unknown (in reply to RCPT TO command)"},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.host
			at := hostile(t, h.serve)
			if h.lmtp {
				at = "inet:" + strings.Trim(at, "[]")
				at = strings.Replace(at, "]", "", 1)
			}
			rs := send(t, Options{LMTP: h.lmtp}, at, c.body, mail.Envelope{}, "a@b.test", "c@d.test")
			for _, r := range rs[:1] {
				if r.Status.Outcome != c.outcome || !strings.Contains(r.Status.Text, c.text) {
					t.Errorf("%+v", r.Status)
				}
			}
			if h.lmtp && !strings.Contains(rs[1].Status.Text, "taken 1") {
				t.Errorf("%+v", rs[1].Status)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if n := count(h.said, "BDAT"); c.chunks > 0 && n != c.chunks || c.chunks == 0 && n > 4 || count(h.said, "DATA") > 0 {
				t.Errorf("%d chunks; %.300q", n, h.said)
			}
			want := strings.ReplaceAll(c.body, "\n", "\r\n")
			if !strings.HasSuffix(want, "\r\n") && want != "" {
				want += "\r\n"
			}
			if c.outcome == mail.Sent && h.body.String() != want {
				t.Errorf("%d octets, not %d", h.body.Len(), len(want))
			}
		})
	}
	// With smtp_discard_ehlo_keywords it is as if it were not offered.
	h := &chunky{}
	at := hostile(t, h.serve)
	if r := send(t, Options{Discard: []string{"chunking"}}, at, "x\n", mail.Envelope{}, "a@b.test"); r[0].Status.Outcome == mail.Sent || count(h.said, "DATA") != 1 {
		t.Errorf("%+v %q", r[0].Status, h.said)
	}
}
